"""One writer a folder, however it is written into: the second gets a line, or waits; a killed one leaves nothing."""

import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from devices import DeviceGrid, carried, launch, node_configs
from federations import settings

import edgefed
from edgefed.api.grid import compare_grid
from edgefed.config import SettingsError
from edgefed.federation import server_app
from edgefed.lock import LOCK, only_writer
from edgefed.runs import Run, new_folder

HOLD = """
import sys
from pathlib import Path
from edgefed.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
CONFIG = settings(num_server_rounds=2, local_epochs=1, num_clients=4)


@contextmanager
def holder(folder):
    """Another process that writes into a folder until its input ends, or it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_second_one_is_told_who_writes_there_since_when_and_what_to_do(tmp_path):
    with holder(tmp_path / "run") as first:
        with pytest.raises(SettingsError) as refused, only_writer(tmp_path / "run"):
            pass
        first.stdin.close()
        assert first.wait(60) == 0

    said = rf"run: process {first.pid} of \S+ has been writing here since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC; wait"
    assert re.search(said, str(refused.value))
    assert files(tmp_path / "run") == []


def test_one_that_was_killed_keeps_nobody_out(tmp_path):
    with holder(tmp_path) as first:
        first.kill()
        first.wait()
        assert files(tmp_path) == [LOCK]
        with only_writer(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] != first.pid
    assert files(tmp_path) == []


def test_whoever_may_wait_gets_the_folder_when_the_other_lets_go(tmp_path):
    got = threading.Event()

    def wait():
        with only_writer(tmp_path, wait=60):
            got.set()

    with holder(tmp_path) as first:
        second = threading.Thread(target=wait)
        second.start()
        assert not got.wait(0.2)
        first.stdin.close()
        second.join(60)
    assert got.is_set()


def test_two_of_one_process_are_two(tmp_path):
    with only_writer(tmp_path), pytest.raises(SettingsError, match="this very process has been"), only_writer(tmp_path):
        pass


def test_a_lock_of_unknown_words_is_a_lock(tmp_path):
    with holder(tmp_path):
        (tmp_path / LOCK).write_text("[]")
        with pytest.raises(SettingsError, match="another process is writing here"), only_writer(tmp_path):
            pass


def test_what_cannot_be_locked_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "a\0b"):
        with pytest.raises(SettingsError, match=r"cannot be written to|is no folder"), only_writer(folder):
            pass


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_process_has_just_begun_in_is_left_to_it(tmp_path, resume):
    """Both found it empty; one came first."""
    home = tmp_path / "home"
    calls = {
        "run": lambda: edgefed.run(CONFIG, out=home, resume=resume, progress=False),
        "compare": lambda: edgefed.compare(
            CONFIG, strategies="none", seeds=2, tune=None, out=home, resume=resume, progress=False
        ),
        "grid": lambda: compare_grid(
            CONFIG, {"alpha": [0.3, 1.0]}, strategies="none", seeds=2, tune=None, out=home, resume=resume,
            progress=False,
        ),
    }  # fmt: skip
    with holder(home) as first:
        for call in calls.values():
            with pytest.raises(SettingsError, match=f"process {first.pid} of"):
                call()
        assert files(home) == [LOCK]


def test_a_run_under_way_is_not_gone_on_with_by_another(tmp_path):
    """Nor is what it wrote touched; the lock of one that was killed stands in nobody's way, and goes with the run."""
    folder = tmp_path / "run"

    def stop(federation):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(CONFIG, out=folder, progress=False, on_round=stop)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with holder(folder) as first:
        with pytest.raises(SettingsError, match=f"process {first.pid} of .* then --resume goes on"):
            edgefed.run(CONFIG, out=folder, resume=True, progress=False)
        assert before == {path: path.read_bytes() for path in before}
        first.kill()
        first.wait()
        done = edgefed.run(CONFIG, out=folder, resume=True, progress=False)
    assert LOCK not in files(folder)
    assert done.summary["model_sha256"] == edgefed.run(CONFIG, progress=False).summary["model_sha256"]

    (folder / LOCK).write_text("")  # killed between its last file and its end
    assert edgefed.run(CONFIG, out=folder, resume=True, progress=False).summary == done.summary
    assert LOCK not in files(folder)


def test_a_lock_makes_no_folder_full(tmp_path):
    (tmp_path / LOCK).write_text("")
    assert new_folder(tmp_path, "") == tmp_path


def test_a_server_app_waits_for_the_one_before_it(tmp_path, monkeypatch):
    """Launched again at once, it meets the process of the run that was interrupted."""
    parts = carried(settings(num_clients=3, partition="iid"), tmp_path / "shards")
    run_config = settings(
        num_clients=3, num_server_rounds=2, run_folder=str(tmp_path / "run"), dataset="devices",
        test_path=str(parts.test), wait_for_clients=1.0,
    ).to_mapping()  # fmt: skip
    grid = DeviceGrid(run_config, node_configs(parts.clients))
    with holder(tmp_path / "run") as first:
        monkeypatch.setattr(server_app, "HANDED_OVER_WITHIN", 0.0)
        with pytest.raises(SettingsError, match=f"process {first.pid} of"):
            launch(grid)
        monkeypatch.setattr(server_app, "HANDED_OVER_WITHIN", 60.0)
        threading.Timer(0.5, first.stdin.close).start()
        launch(grid)
    assert len(Run.read(tmp_path / "run").rounds) == 2
