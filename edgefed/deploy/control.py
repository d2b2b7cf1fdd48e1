"""The SuperLink's control interface, over Flower's own client: keys, nodes and runs."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from edgefed.config import app_config_table
from edgefed.deploy.addresses import joined
from edgefed.deploy.certificates import as_flower_keeps_it
from edgefed.errors import FederationError, SettingsError
from edgefed.federation.introduction import this_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgefed.deploy.folder import Device

_LICENSE = "edgefed is installed on every machine that takes part; this bundle names it and holds no code.\n"


class NoServerError(SettingsError):
    """Nobody serves on the port, or not yet."""


class Control:
    """A connection to the control interface of the SuperLink on this machine.

    Parameters
    ----------
    port : int
    authority : Path or None
        The certificate by which it is known; None in the clear.
    host : str
        A loopback address that it serves (:attr:`Deployment.loopback`).

    Raises
    ------
    SettingsError
        Where that is not there, or is none.
    """

    def __init__(self, port: int, authority: Path | None, host: str = "127.0.0.1") -> None:
        self.port = port
        try:
            self._client = ControlHttpClient.from_server_address(
                server_address=joined(host, port),
                insecure=authority is None,
                root_certificates=None if authority is None else authority.read_bytes(),
                interceptors=[RuntimeVersionHttpInterceptor(component_name="edgefed")],
            )
        except (FileNotFoundError, ssl.SSLError, UnicodeDecodeError) as error:
            what = "no such file" if isinstance(error, FileNotFoundError) else "not a certificate"
            raise SettingsError(f"{authority}: {what}; copy the deployment's ca/ca.crt there again") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def nodes(self) -> list[dict[str, Any]]:
        """Return each node: id, public key, status, until when it counts as online, its heartbeat's seconds."""
        with self._answering():
            found = self._client.ListNodes(ListNodesRequest()).nodes_info
        return [
            {
                "node": node.node_id,
                "public-key": bytes(node.public_key),
                "status": node.status,
                "online-until": node.online_until,
                "heartbeat": node.heartbeat_interval,
            }
            for node in found
        ]

    def register(self, device: Device) -> None:
        """Register a device's key."""
        with self._answering():
            self._client.RegisterNode(
                RegisterNodeRequest(public_key=as_flower_keeps_it(device.public_key), name=device.name)
            )

    def unregister(self, node: int) -> None:
        """Take a node out: it is refused from now on."""
        with self._answering():
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def start(self, settings: Mapping[str, Any]) -> int:
        """Submit a run of the installed app under these settings, and return its id."""
        bundle = app_bundle()
        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        request = StartRunRequest(fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(settings)))
        with self._answering():
            answer = self._client.StartRun(request)
        if not answer.HasField("run_id"):
            raise FederationError("the server did not take the run; see server/logs")
        return int(answer.run_id)

    def stop(self, run: int) -> None:
        """Stop a run."""
        with self._answering():
            self._client.StopRun(StopRunRequest(run_id=run))

    def status(self, run: int) -> tuple[str, str, str]:
        """Return a run's status (``pending``, ``starting``, ``running``, ``finished``), how it finished, and why.

        Raises
        ------
        KeyError
            Where the server knows no such run: it was started again since.
        """
        with self._answering():
            found = self._client.ListRuns(ListRunsRequest(run_id=run)).run_dict[run].status
        return found.status, found.sub_status, found.details

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn what goes wrong on the way into one line."""
        try:
            yield
        except httpx.HTTPStatusError as error:
            told = FlowerError.from_json(error.response.text)
            if told and told.code == ApiErrorCode.RUN_ID_NOT_FOUND:
                raise KeyError(told.message) from None
            why = told.message if told else f"status {error.response.status_code}"
            raise FederationError(f"the server on port {self.port} refuses: {why}") from None
        except httpx.TransportError as error:
            trusted = "CERTIFICATE" not in str(error)
            why = "not running" if trusted else "not trusted"
            line = f"no server on port {self.port} of this machine ({why}): edgefed launch-server FOLDER starts it"
            # Only where no connection came about: what was cut later may have reached the server, a run twice.
            absent = trusted and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise (NoServerError if absent else SettingsError)(line) from None


def app_bundle() -> bytes:
    """Return the Flower app that is submitted: it names the installed edgefed and holds no code."""
    project = f"""[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "edgefed"
version = "{this_version()}"
description = "The edgefed that is installed"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41,<1.42"]

[tool.flwr.app]
publisher = "edgefed"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "edgefed.federation.server_app:app"
clientapp = "edgefed.federation.client_app:app"

{app_config_table()}"""
    files = {"pyproject.toml": project.encode(), "LICENSE": _LICENSE.encode(), "README.md": _LICENSE.encode()}
    return build_fab_from_files(files)[0]
