"""A comparison shared out to several processes: the same results, and nothing lost or left behind."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from federations import settings

import edgefed
from edgefed.api.lockstep import in_processes, processes_for
from edgefed.api.plan import comparison_defaults
from edgefed.data.datasets import load
from edgefed.errors import FederationError, SettingsError

lockstep = importlib.import_module("edgefed.api.lockstep")

BASE = settings(num_server_rounds=4, local_epochs=1)


def compared(**arguments):
    return edgefed.compare(BASE, strategies="none,post-hoc", seeds=6, tune=(0.05, 0.5), progress=False, **arguments)


def without_time(result):
    return {key: value for key, value in result.items() if key not in ("seconds", "comparison")}


def test_the_same_to_the_bit_in_one_process_and_in_two(monkeypatch, tmp_path):
    monkeypatch.setattr(lockstep, "BLOCK", 9)  # 24 federations: blocks of 9, 9, 6
    advanced = []

    one = compared(processes=1, out=tmp_path / "one")
    two = compared(processes=2, out=tmp_path / "two", on_rounds=lambda rounds, by: advanced.append((len(rounds), by)))

    assert without_time(two.result) == without_time(one.result)
    for cell, run in one.runs.items():
        assert two.runs[cell].summary["model_sha256"] == run.summary["model_sha256"]
        assert list(two.runs[cell].history["test.recall"].ravel()) == list(run.history["test.recall"].ravel())
    for name in ("results.csv", "strategies.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    folders = [
        sorted(str(path.relative_to(home)) for path in home.rglob("model.npz")) for home in (one.folder, two.folder)
    ]
    assert folders[0] == folders[1]
    assert len(folders[0]) == 24
    # Three blocks of four rounds, and two parts of the references; what takes long says so in between as well.
    assert sum(by for _, by in advanced) == 5 * 4
    assert sum(by for rounds, by in advanced if not rounds) == 2 * 4


def test_rows_that_are_there_are_read_by_nobody_again(monkeypatch, tmp_path):
    """Their file is gone: neither other processes nor the blocks of a grid look for it."""
    monkeypatch.setattr(lockstep, "BLOCK", 2)
    path = tmp_path / "rows.csv"
    path.write_text("a,color,y\n" + "".join(f"{row % 7},{'rgb'[row % 3]},{'uv'[row % 2]}\n" for row in range(60)))
    config = BASE.replace(dataset="csv", data_path=str(path), categories="color", num_clients=2, long_tail=1.0)
    rows = load(config)
    path.unlink()
    asked = {"strategies": "focal", "seeds": 2, "tune": None, "progress": False, "dataset": rows}

    one, two = (edgefed.compare(config, processes=processes, **asked) for processes in (1, 2))
    grid = edgefed.compare_grid(config, {"alpha": [config.alpha, 100.0]}, processes=1, **asked)

    assert without_time(one.result) == without_time(two.result)
    first = next(iter(grid.comparisons.values()))
    assert [entry["balanced_accuracy"] for entry in first["strategies"]] == [
        entry["balanced_accuracy"] for entry in one.result["strategies"]
    ]
    with pytest.raises(SettingsError, match=r"rows\.csv"):
        edgefed.compare(config, **asked | {"dataset": None})


def test_a_process_that_is_ended_from_outside_is_one_line():
    with pytest.raises(FederationError, match=r"one of 2 processes was ended from outside .*--resume goes on"):
        list(in_processes([(os.kill, (0, 0)), (_end_itself, ())], 2))


def test_ctrl_c_while_tasks_wait_is_no_traceback(monkeypatch):
    """Before anything is done, with more tasks than loky hands to its processes at once."""
    lost = []
    monkeypatch.setattr(threading, "excepthook", lost.append)

    with pytest.raises(KeyboardInterrupt):
        list(in_processes([(_interrupt, (os.getpid(),)), *[(time.sleep, (60,))] * 11], 2))

    assert lost == []


def _interrupt(parent):
    time.sleep(1)  # both processes have their task: loky's queue has room again
    os.kill(parent, signal.SIGINT)
    time.sleep(60)


def _end_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_follow_from_the_work_the_engine_and_the_device():
    base = comparison_defaults({})
    assert processes_for(base, "batched", 1, 8) == 1
    assert processes_for(base, "batched", 3, 8) == 3
    assert processes_for(base, "batched", 30, 8) == 8
    assert processes_for(base, "sequential", 30, 8) == 1
    assert processes_for(base.replace(device="cuda"), "batched", 30, 8) == 1


SCRIPT = """
import sys, edgefed
from edgefed.runs import Interrupted
config = edgefed.FederationConfig(num_server_rounds=30, long_tail=10)
arguments = {"strategies": "none,post-hoc", "seeds": 105, "tune": None, "progress": True, "processes": 2}
try:
    edgefed.compare(config, **arguments, out=sys.argv[1])
except Interrupted as stop:
    print(stop)
    sys.exit(130)
"""


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C cannot be sent to one group of processes there")
def test_ctrl_c_ends_every_process_and_what_was_finished_is_kept(tmp_path):
    """The signal goes to all of them at once, as a terminal sends it. The script has no ``__main__`` guard."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, str(script), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for _ in range(600):
            if process.poll() is not None or any((out / "federations").rglob("model.npz")):
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert f"--resume --out {out} goes on" in said
    assert "Traceback" not in errors
    finished = [
        path for path in (out / "federations").rglob("manifest.json") if "summary" in json.loads(path.read_text())
    ]
    assert len(finished) >= 1
    assert not (out / "comparison.json").exists()
    for _ in range(100):
        if not _alive(process.pid):
            break
        time.sleep(0.1)
    assert _alive(process.pid) == []


def _alive(group):
    """Return the commands of a group of processes that are still there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) == group and (entry / "stat").read_text().rsplit(")")[-1].split()[0] != "Z":
                found.append((entry / "cmdline").read_text())
        except (OSError, ProcessLookupError):
            continue
    return found
