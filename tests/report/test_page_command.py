"""edgefed report: a page into each folder, its path on stdout; a mistake is one line."""

from collections.abc import Callable
from pathlib import Path

from made_folders import write_run

from edgefed.report.page.repeat import run_command

Command = Callable[..., tuple[int, str, str]]


def test_each_folder_gets_its_page(cli: Command, comparison: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    code, out, err = cli("report", tmp_path / "run", comparison)
    assert (code, err) == (0, "")
    assert out.splitlines() == [str(tmp_path / "run" / "report.html"), str(comparison / "report.html")]
    assert all(Path(line).read_text(encoding="utf-8").startswith("<!doctype html>") for line in out.split())


def test_a_folder_without_a_run_is_one_line(cli: Command, tmp_path: Path) -> None:
    code, out, err = cli("report", tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "is a run folder" in err or "a run folder?" in err


def test_a_run_on_devices_is_repeated_by_launching_it() -> None:
    settings = {"dataset": "devices", "num-clients": 3, "run-folder": "there", "alpha": 0.3}
    assert run_command(settings) == "edgefed launch DEPLOYMENT -s num-clients=3"
