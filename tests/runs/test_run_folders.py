"""Folders of runs: what they hold, where a new one goes, and what is said of one of another kind."""

from pathlib import Path

import pytest
from made_runs import finished

from edgefed.errors import SettingsError
from edgefed.runs import check_folder, is_folder_of, new_folder


def test_what_a_folder_holds(tmp_path: Path) -> None:
    assert not is_folder_of(tmp_path, "run")
    assert is_folder_of(finished(tmp_path), "run")
    assert not is_folder_of(tmp_path, "comparison")


def test_a_new_folder_is_the_one_asked_for(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "a" / "b", "ignored") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()
    assert new_folder(str(tmp_path / "a" / "b"), "") == tmp_path / "a" / "b"  # still empty


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    said = r"exists already; give another folder, or --resume to go on \(in Python: out=, resume=True\)$"
    for wanted in (tmp_path, tmp_path / "kept"):
        with pytest.raises(SettingsError, match=said):
            new_folder(wanted, "")
    assert (tmp_path / "kept").read_text() == "x"


def test_folders_of_one_name_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [new_folder(None, "iris").name for _ in range(3)] == ["iris", "iris-2", "iris-3"]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["iris", "iris-2", "iris-3"]


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    for wanted in (tmp_path / "runs" / "x", None):
        with pytest.raises(SettingsError, match=r"^--out .*runs/.*: cannot be made \(Not a directory\)$"):
            new_folder(wanted, "name")


def touched(home: Path, *names: str) -> Path:
    for name in names:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return home


@pytest.mark.parametrize(
    ("holds", "given", "takes", "said"),
    [
        ((), "nowhere", 1, "nowhere/manifest.json: no such file; is nowhere a run folder? nothing is there"),
        ((), ".", 1, "it is empty; edgefed run --out . makes one of it"),
        (("a/manifest.json",), ".", 2, "there are some in it: give one, as a"),
        (("a/manifest.json", "a/plots/x.png"), "a/plots", 3, "a run folder? it is a part of a: give that"),
        (("a/manifest.json",), "a/manifest.json", 1, "a file, expected a run's folder; it is a part of a: give that"),
        (("rows.csv",), "rows.csv", 1, "rows.csv: a file, expected a run's folder; edgefed run rows.csv makes one"),
        (("c/comparison.json",), "c", 1, "c: a comparison of many runs, expected one run's folder"),
        (("g/grid.json", "g/blocks/b/comparison.json"), "g", 2, "expected the folder of a run or a comparison: give one"
         " of its blocks, as g/blocks/b"),
        (("g/grid.json",), "g", 1, "g: a grid of comparisons, expected one run's folder: edgefed run g/blocks/"),
        (("c/plan.json",), "c", 3, "c: a comparison that is not finished, expected the folder of a run, a comparison or"
         " a grid: edgefed compare --resume --out c goes on with it"),
        (("d/deployment.json",), "d", 1, "d: devices are set up here, expected one run's folder"),
    ],
)  # fmt: skip
def test_what_a_folder_is_and_what_would_do_is_one_line(tmp_path, monkeypatch, holds, given, takes, said):
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, *holds)

    with pytest.raises(SettingsError) as refused:
        check_folder(Path(given), *("run", "comparison", "grid")[:takes])
    line = str(refused.value).replace("\\", "/")
    assert said in line
    assert len(line.splitlines()) == 1


def test_a_folder_of_a_kind_that_is_taken_is_let_through(tmp_path):
    touched(tmp_path, "r/manifest.json", "c/comparison.json", "g/grid.json")

    for place, name in enumerate("rcg", 1):
        check_folder(tmp_path / name, *("run", "comparison", "grid")[: max(place, 1)])
