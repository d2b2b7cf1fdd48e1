"""edgefed report: a page into each folder, its path on stdout; a mistake is one line."""

import subprocess
import sys
from pathlib import Path

from made_folders import write_run

from edgefed.report.page.repeat import run_command


def report(*folders: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgefed", "report", *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_folder_gets_its_page(comparison: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    done = report(tmp_path / "run", comparison)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(tmp_path / "run" / "report.html"), str(comparison / "report.html")]
    assert all(Path(line).read_text(encoding="utf-8").startswith("<!doctype html>") for line in done.stdout.split())


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    done = report(tmp_path / "nothing")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "is a run folder" in done.stderr or "a run folder?" in done.stderr


def test_a_run_on_devices_is_repeated_by_launching_it() -> None:
    settings = {"dataset": "devices", "num-clients": 3, "run-folder": "there", "alpha": 0.3}
    assert run_command(settings) == "edgefed launch DEPLOYMENT -s num-clients=3"
