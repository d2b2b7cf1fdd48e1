"""Runs that are killed or whose disk fails, at whatever moment, lose nothing that was committed.

The long form is ``python experiments/faults/crashes.py``.
"""

import contextlib
import errno
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from federations import settings

import edgefed
from edgefed.federation import checkpoint
from edgefed.runs import Run

if not hasattr(os, "fork"):
    pytest.skip("processes are forked", allow_module_level=True)

REPOSITORY = Path(edgefed.__file__).parents[1]
CONFIG = settings(num_server_rounds=6, local_epochs=1, imbalance="climb", num_clients=4)


def load(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "experiments" / "faults" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


crashes = load("crashes")


@pytest.fixture(autouse=True, scope="module")
def _as_many_commits_as_there_can_be():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "PACE", 0.0)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return crashes.run(CONFIG, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def operations(tmp_path_factory):
    return crashes.operations_of(CONFIG, tmp_path_factory.mktemp("counted") / "run")


@pytest.mark.parametrize("part", range(4))
def test_killed_at_each_write_a_run_loses_nothing(tmp_path, whole, operations, part):
    """Every operation on files but those that a faster disk would merge, a quarter of them at a time."""
    assert operations >= 20
    killed = 0
    for number in range(1 + part, operations + 1, 4):
        folder = tmp_path / str(number)
        status = crashes.killed_at_write(CONFIG, folder, number)
        killed += os.WIFSIGNALED(status)
        assert crashes.resumed(CONFIG, folder, whole) == (0, True), number
    assert killed >= 4


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_a_write_stops_the_run_in_one_line_and_loses_nothing(tmp_path, whole, operations, code):
    said = 0
    for number in range(1, operations + 1, 3):
        folder = tmp_path / str(number)
        line = crashes.failed_at_write(CONFIG, folder, number, code)
        assert len(line.splitlines()) <= 1
        said += os.strerror(code) in line
        assert crashes.resumed(CONFIG, folder, whole) == (0, True), number
    assert said >= 5


def test_killed_at_random_and_again_while_it_resumes(tmp_path, whole):
    draw = random.Random(3)
    for case in range(4):
        folder, before = tmp_path / str(case), 0
        for _ in range(3):
            crashes.killed_at_random(CONFIG, folder, 0.1, draw)
            if not crashes.is_finished(folder):
                now = crashes.committed(folder)
                assert now >= before
                before = now
        assert crashes.resumed(CONFIG, folder, whole) == (0, True)


# ---- signals
def started(folder, *more):
    command = [sys.executable, "-m", "edgefed", "run", "--out", str(folder), "--resume", "--format", "json"]
    given = [part for text in ("num-server-rounds=100000", "local-epochs=1", *more) for part in ("-s", text)]
    return subprocess.Popen([*command, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(process, condition):
    """Wait until something holds of a process that goes on."""
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"it ended: {process.communicate()[1]}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)


def rounds_in(folder):
    path = folder / "history.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(tmp_path, number):
    """What was finished is committed, one line says how to go on, exit 130, no traceback, no child."""
    folder = tmp_path / "run"
    process = started(folder)
    until(process, lambda: rounds_in(folder) >= 3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == f"edgefed: interrupted; --resume --out {folder} goes on"
    assert "Traceback" not in err
    assert crashes.committed(folder) == rounds_in(folder) >= 3
    assert not [path for path in folder.rglob(".*") if path.is_file()]


def test_a_second_signal_ends_at_once(tmp_path):
    """The first is stuck in a disk that does not answer."""
    script = (
        "import os, sys, time\n"
        "from edgefed import runs\n"
        "def stuck(self, number, arrays, own=False):\n"
        "    (self.folder / 'stuck').touch()\n"
        "    time.sleep(600)\n"
        "runs.RunWriter.checkpoint = stuck\n"
        "from edgefed.cli import main\n"
        "main()\n"
    )
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "run", "--out", str(folder), "-s", "num-server-rounds=100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(process, lambda: (folder / "stuck").exists())
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the disk
        process.wait(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 130


SHARED_OUT = """
import os, sys, time
from pathlib import Path
from edgefed.api.lockstep import in_processes

def block(home):
    (Path(home) / f"at-work-{os.getpid()}").touch()
    while True:
        time.sleep(0.1)

list(in_processes([(block, (sys.argv[1],))] * 2, 2))
"""


@pytest.mark.runtime
def test_a_comparison_that_is_killed_leaves_no_process(tmp_path):
    """Processes that are at work on its blocks are not told: they find themselves without a parent."""
    process = subprocess.Popen(
        [sys.executable, "-c", SHARED_OUT, str(tmp_path)], env=os.environ | {"EDGEFED_TEST_MARK": str(tmp_path)}
    )
    marked = lambda: processes_with(f"EDGEFED_TEST_MARK={tmp_path}")  # noqa: E731
    until(process, lambda: len(list(tmp_path.glob("at-work-*"))) == 2)
    at_work = {int(path.name.rpartition("-")[2]) for path in tmp_path.iterdir()}
    assert at_work < set(marked())
    process.kill()
    process.wait()
    tries = 0
    while marked() and tries < 300:
        tries += 1
        signal.sigtimedwait([], 0.1)

    left = marked()
    for each in left:
        os.kill(each, signal.SIGKILL)
    assert left == []


def processes_with(text):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if text.encode() in (entry / "environ").read_bytes() and state != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_run_that_was_killed_while_its_folder_was_made_starts_anew(tmp_path):
    torn, whole = "x", CONFIG.to_toml()
    for left in (
        {},
        {"config.toml": whole},
        {".config.toml.77.0123abcd": torn},
        {"config.toml": whole, ".manifest.json.77.0123abcd": torn},
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in left.items():
            (folder / name).write_text(text)
        run = edgefed.run(CONFIG, out=folder, resume=True, progress=False)
        assert json.loads((folder / "manifest.json").read_text())["summary"] == run.summary
        assert Run.read(folder).summary == run.summary


@pytest.mark.parametrize("name", ["thesis.txt", "config.toml", "manifest.json"])
def test_a_folder_with_a_file_of_somebodys_own_is_refused_and_left_alone(tmp_path, name):
    """``edgefed run exp/config.toml --out exp --resume``: the settings are the person's, comments and all."""
    mine = f"# why alpha is what it is\n{CONFIG.to_toml()}"
    (tmp_path / name).write_text(mine)
    with pytest.raises(edgefed.SettingsError, match="exists already"):
        edgefed.run(CONFIG, out=tmp_path, resume=True, progress=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: mine}
