"""A masked round that was summed before its run was stopped is summed again over the same clients or not at all."""

import json

import pytest
from devices import DeviceGrid, carried, launch, node_configs
from drop_outs import TYPES
from flwr.app import Error, Message

from edgefed.config import FederationConfig, SettingsError
from edgefed.runs import Run, RunWriter

CONFIG = FederationConfig(num_clients=4, alpha=5.0, num_server_rounds=3, privacy="secagg", local_epochs=1)


class Stopping(DeviceGrid):
    """Devices whose server is killed in its second round, when all shares have come back and nothing is committed."""

    def send_and_receive(self, messages, *, timeout=None):
        replies = super().send_and_receive(messages, timeout=timeout)
        if self.asked[-1][1] == TYPES["unmask"] and sum(kind == TYPES["unmask"] for _, kind in self.asked) == 8:
            raise KeyboardInterrupt
        return replies


class Losing(DeviceGrid):
    """Devices of which one does not answer the first message of secure aggregation that it gets."""

    def _answer(self, message):
        first = (103, TYPES["keys"])
        if (message.metadata.dst_node_id, message.metadata.message_type) == first and first not in self.asked:
            self.asked.append(first)
            return Message(Error(5, "the node is gone"), reply_to=message)
        return super()._answer(message)


@pytest.fixture
def stopped(tmp_path):
    """A run that was stopped in its second round, after it was summed; its settings and its devices."""
    files = carried(CONFIG, tmp_path / "shards")
    run_config = CONFIG.replace(run_folder=str(tmp_path / "run")).to_mapping() | {"test-path": str(files.test)}
    nodes = node_configs(files.clients)
    with pytest.raises(KeyboardInterrupt):
        launch(Stopping(run_config, nodes))
    return tmp_path / "run", run_config, nodes


def test_the_clients_of_a_round_are_on_the_disk_before_a_share_is_asked_for(stopped):
    folder, _, _ = stopped

    lines = [json.loads(line) for line in (folder / "opened.jsonl").read_text().splitlines()]

    assert lines == [{"round": number, "clients": [0, 1, 2, 3]} for number in (1, 2)]
    assert len((folder / "history.jsonl").read_text().splitlines()) == 1


def test_over_the_same_clients_the_run_ends_as_if_nothing_had_been(stopped, tmp_path):
    folder, run_config, nodes = stopped
    whole = DeviceGrid(run_config | {"run-folder": str(tmp_path / "whole")}, nodes)
    launch(whole)

    launch(DeviceGrid(run_config, nodes))

    ended, uninterrupted = Run.read(folder), Run.read(tmp_path / "whole")
    assert ended.summary["model_sha256"] == uninterrupted.summary["model_sha256"]
    assert not (folder / "opened.jsonl").exists()


def test_over_other_clients_nothing_is_unmasked_and_the_run_goes_on(stopped):
    """The two sums would differ by the update of the device that is away, and by nothing else."""
    folder, run_config, nodes = stopped
    grid = Losing(run_config, nodes)

    launch(grid)

    ended = Run.read(folder)
    assert [row["clients"] for row in ended.rounds] == [4, 0, 4]
    assert ended.rounds[1]["note"] == (
        "secure aggregation: before the run was stopped this round was summed over other clients, and the two sums "
        "would differ by single updates: the round changed nothing"
    )
    kinds = [kind for _, kind in grid.asked if "secagg" in kind or kind == "train"]
    assert kinds.count(TYPES["masked"]) == 3 + 4
    assert kinds.count(TYPES["unmask"]) == 4


def test_a_line_that_was_being_written_when_the_run_was_killed_counts_as_none(tmp_path):
    """Nothing had been asked yet; what is written next stands on a line of its own."""
    writer = RunWriter(tmp_path)
    writer.note_opened(4, [0, 2])
    with (tmp_path / "opened.jsonl").open("a") as file:
        file.write('{"round": 5, "cli')

    assert writer.opened(3) == {4: [0, 2]}
    writer.note_opened(5, [1, 3])
    assert writer.opened(0) == {4: [0, 2], 5: [1, 3]}
    assert writer.opened(4) == {5: [1, 3]}


@pytest.mark.parametrize("line", ['{"round": "5", "clients": []}', '{"round": 5}', "5", "{"])
def test_a_file_that_was_edited_is_refused_in_one_line(tmp_path, line):
    (tmp_path / "opened.jsonl").write_text(line + "\n")

    with pytest.raises(SettingsError, match=r"opened\.jsonl: "):
        RunWriter(tmp_path).opened(0)
