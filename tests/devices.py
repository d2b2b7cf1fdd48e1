"""Devices in this process: Flower's ClientApp behind a grid, each node with a config and a file of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid

from edgefed.config import FederationConfig, read_settings
from edgefed.data.device_file import write_shards
from edgefed.data.shards import federate
from edgefed.engines.grid import _claim_identity
from edgefed.federation.client_app import app as client_app
from edgefed.federation.server_app import app as server_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from edgefed.data.device_file import ShardFiles


@dataclass
class DeviceGrid(Grid):
    """A grid whose nodes are ClientApps with node configs; they come and go as ``connected`` says."""

    run_config: dict[str, Any]
    node_configs: dict[int, dict[str, Any]]
    connected: Callable[[], Iterable[int]] | None = None
    answers_at_once = True
    asked: list[tuple[int, str]] = field(default_factory=list)
    states: dict[int, RecordDict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _claim_identity()

    def get_node_ids(self) -> Iterable[int]:
        """Return who is there at this look."""
        return list(self.node_configs) if self.connected is None else list(self.connected())

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Answer each message by the app that Flower would start."""
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        self.asked.append((node, message.metadata.message_type))
        context = Context(1, node, self.node_configs[node], self._state(node), self.run_config)
        try:
            reply = client_app(message, context)
        except Exception as error:
            return Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node  # every node has the identity of this process
        return reply

    def _state(self, node: int) -> RecordDict:
        """Return what a node kept, as Flower does: it lasts from message to message."""
        return self.states.setdefault(node, RecordDict())

    def set_run(self, run: Any) -> None:
        """Refuse."""
        raise RuntimeError

    @property
    def run(self) -> Any:
        """Refuse."""
        raise RuntimeError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Refuse."""
        raise RuntimeError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: answers come at once."""
        raise RuntimeError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse."""
        raise RuntimeError


def settings(**changes: Any) -> FederationConfig:
    """Return settings of a short federation on three devices, which waits for nobody."""
    few = {"num_clients": 3, "num_server_rounds": 3, "alpha": 1.0, "local_epochs": 2, "wait_for_clients": 0.005}
    return FederationConfig(**(few | changes))


def carried(config: FederationConfig, folder: Path) -> ShardFiles:
    """Write a simulation's shards into a new folder."""
    folder.mkdir()
    return write_shards(*federate(config), folder)


def node_configs(files: Iterable[Path]) -> dict[int, dict[str, Any]]:
    """Return a node's config for each file; node ids are not partition ids."""
    return {
        100 + place: {"partition-id": place, "data-path": str(path), "device-name": f"device-{place}"}
        for place, path in enumerate(files)
    }


def fleet_of(files: ShardFiles, folder: Path, **changes: Any) -> DeviceGrid:
    """Return a grid of devices that hold these files, with the settings that lie beside them."""
    given = read_settings(files.settings) | {"test-path": str(files.test), "run-folder": str(folder)} | changes
    return DeviceGrid(FederationConfig.from_mapping(given).to_mapping(), node_configs(files.clients))


def launch(grid: DeviceGrid) -> None:
    """Run the ServerApp over the devices."""
    server_app(grid, Context(1, 0, {}, RecordDict(), grid.run_config))


def spoiled(files: ShardFiles, client: int, change: Callable[[str], str]) -> None:
    """Change a device's file."""
    text = files.clients[client].read_text()
    changed = change(text)
    assert changed != text
    files.clients[client].write_text(changed)


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "another column": (
        lambda text: text.replace("petal width (cm)", "petal area"),
        r"device device-2: its feature columns differ: it lacks 'petal width \(cm\)' and has 'petal area' as well",
    ),
    "a label nobody knows": (
        lambda text: text.replace("virginica", "tulip"),
        r"^device device-2: row \d+, column 'label': a label that is not in classes=setosa,versicolor,virginica$",
    ),
    "text in a number": (
        lambda text: text.replace("\n", "\nabc,1,1,1,setosa\n", 1),
        r"^device device-2: row 2, column 'sepal length \(cm\)': not a number; to leave out every column like it",
    ),
    "another label column": (lambda text: text.replace("label", "kind"), r"device-2: .*label-column=label.*kind"),
}
"""Changes of the last device's file, and what refuses each."""
