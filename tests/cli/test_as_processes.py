"""The command line as real processes: nothing heavy for help, Ctrl-C, stdout alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from command_line import QUICK, one_object
from contract import check_run
from federations import trained

from edgefed.cli import _exit_code
from edgefed.config import FederationConfig
from edgefed.runs import Run

HEAVY = {"torch", "ray", "matplotlib", "sklearn", "flwr", "scipy", "statsmodels", "imblearn"}


def imported_by(*arguments, cwd):
    """Return which heavy packages a command imports."""
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))\n"
        "from edgefed.cli import main\n"
        f"sys.argv = ['edgefed', *{arguments!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:]), done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("compare", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(tmp_path, arguments):
    heavy, out = imported_by(*arguments, cwd=tmp_path)

    assert heavy == set()
    assert "Usage: edgefed" in out


def test_the_version_is_told_without_importing_what_it_is_of(tmp_path):
    heavy, out = imported_by("--version", cwd=tmp_path)

    assert heavy == set()
    assert out == f"edgefed {version('edgefed')} (flwr {version('flwr')}, torch {version('torch')})\n"


def test_partitions_are_shown_without_torch(tmp_path):
    heavy, out = imported_by("partition", "--format", "json", cwd=tmp_path)

    assert heavy & {"torch", "flwr", "ray", "matplotlib"} == set()
    assert one_object(out)["clients"] == 10


def test_a_run_is_plotted_without_torch(tmp_path):
    trained(FederationConfig(num_server_rounds=2), out=tmp_path / "run")

    heavy, _ = imported_by("plot", "run", cwd=tmp_path)

    assert heavy & {"torch", "flwr", "ray"} == set()


def test_a_server_a_device_and_who_looks_after_them_hold_no_torch():
    """They run all day, on small machines; what trains is a process of its own."""
    modules = ", ".join(f"edgefed.deploy.{name}" for name in ("doctor", "launch", "status", "superlink", "supernode"))
    program = f"import sys, {modules}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.split() == ["flwr"]


def test_as_a_module_and_as_a_program(tmp_path):
    programs = ([sys.executable, "-m", "edgefed"], [str(Path(sys.executable).with_name("edgefed"))])
    for program in programs:
        done = subprocess.run([*program, "list", "nope"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("edgefed: unknown list 'nope'")


def test_a_terminal_that_cannot_show_a_name_gets_its_escape(tmp_path):
    (tmp_path / "mine.csv").write_text("a,b,y\n" + "1,2,é\n2,3,ü\n" * 20, encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "edgefed", "partition", "mine.csv"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)

    assert done.returncode == 0, done.stderr
    assert "\\xe9" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process alone")
def test_ctrl_c_exits_130_with_one_line_and_resume_finishes_the_same_run(cli, tmp_path):
    rounds = ("-s", "num-server-rounds=900", "-s", "local-epochs=1", "-s", "evaluate-every=10")
    command = [sys.executable, "-m", "edgefed", "run", *rounds, "--out", "run", "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not [path for path in Path("run").glob("checkpoint/round-*.npz") if int(path.stem[6:]) >= 10]:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert (process.returncode, out) == (130, "")
    said = [line for line in err.splitlines() if not re.match(r"iris: round \d+/900 ", line)]
    assert said == ["edgefed: interrupted; --resume --out run goes on"]
    written = len(Path("run/history.jsonl").read_text().splitlines())
    assert 10 <= written < 900
    code, out, _ = cli("run", *rounds, "--out", "run", "--format", "json", "--resume")
    assert code == 0
    whole, _ = trained(FederationConfig(num_server_rounds=900, local_epochs=1, evaluate_every=10))
    found = one_object(out)
    assert found["model_sha256"] == whole.summary["model_sha256"]
    assert found["bytes"] == whole.summary["bytes"]
    assert [row["round"] for row in Run.read("run").rounds] == list(range(1, 901))


def test_json_of_a_real_process_is_alone_on_stdout(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", "edgefed", "run", *QUICK, "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    check_run(one_object(done.stdout), 3)
    assert all(re.match(r"iris: round \d/3 ", line) for line in done.stderr.splitlines())


def test_run_folder_is_where_a_run_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["edgefed", "run", "-s", "num-server-rounds=1", "-s", "run-folder=kept"])
    assert _exit_code() == 0
    assert (tmp_path / "kept" / "manifest.json").is_file()

    monkeypatch.setattr("sys.argv", ["edgefed", "run", "-s", "run-folder=kept", "--out", "other"])
    capsys.readouterr()
    assert _exit_code() == 2
    assert "contradicts run-folder=kept" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_doctor_measures_this_machine_and_a_run_uses_its_profile(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, out, err = cli("doctor", "--profile", "here.toml", "--format", "json")

    assert code == 0, err
    assert json.loads(out)["this-machine"]["flops"] > 0
    settings = ("-s", "devices=this-machine", "-s", "device-profiles=here.toml", "-s", "num-server-rounds=1")
    code, out, err = cli("run", *settings, "--format", "json")
    assert code == 0, err
    assert json.loads(out)["modelled"]["seconds"] > 0
    code, out, err = cli("doctor", "--profile", "here.toml")
    assert (code, out) == (2, "")
    assert "here.toml: exists already" in err
