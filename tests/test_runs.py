"""The run folder: what is written comes back, whole or not at all, and what was edited is refused."""

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefed.config import FederationConfig
from edgefed.errors import SettingsError
from edgefed.runs import (
    CLIENT_COLUMNS,
    History,
    Run,
    RunWriter,
    check_folder,
    is_folder_of,
    model_hash,
    new_folder,
    plain,
    read_arrays,
    read_json,
    write_arrays,
    write_atomically,
    write_json,
)

CONFIG = FederationConfig(alpha=0.5, hidden="8-4", seed=3)
WEIGHTS: dict[str, NDArray[Any]] = {
    "2.weight": np.array([[1.5, -2.0], [0.25, 1e-30]], np.float32),
    "0.bias": np.array([3.0], np.float64),
}
ROUNDS: list[dict[str, Any]] = [
    {"round": 1, "seconds": 0.5, "test": {"accuracy": 0.25, "recall": [0.5, np.nan]}, "stage": "train"},
    {"round": 2, "seconds": 0.25},
    {"round": 3, "seconds": 0.125, "test": {"accuracy": np.nan, "recall": [1.0, 0.0]}},
]
CLIENTS = [(1, 0, 10, 5, 0.69314718, "ok"), (1, 1, 0, 0, np.nan, 'left out: 1, "nan"'), (2, 0, 10, 5, 0.5, "ok")]
MANIFEST: dict[str, Any] = {"format": 1, "classes": ["u", "v"]}


def finished(folder: Path) -> Path:
    """Write a whole run of three rounds."""
    writer = RunWriter(folder)
    writer.begin(CONFIG, MANIFEST)
    writer.rows(ROUNDS[:1], CLIENTS[:2])
    writer.checkpoint(1, WEIGHTS)
    writer.rows(ROUNDS[1:], CLIENTS[2:])
    writer.end(WEIGHTS, MANIFEST | {"summary": {"rounds": 3, "model_sha256": model_hash(WEIGHTS)}})
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        Run.read(folder)
    line = str(caught.value)
    assert line.isprintable()
    return line


def same(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> bool:
    return list(found) == list(expected) and all(
        np.array_equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in found
    )


# ---- there and back
def test_a_run_comes_back_from_its_folder(tmp_path: Path) -> None:
    run = Run.read(finished(tmp_path))
    assert run.config == CONFIG
    assert run.summary == {"rounds": 3, "model_sha256": model_hash(WEIGHTS)}
    assert run.manifest["classes"] == ["u", "v"]
    assert run.rounds == plain(ROUNDS)
    assert same(run.weights, WEIGHTS)
    assert run.folder == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "clients.csv",
        "config.toml",
        "history.jsonl",
        "manifest.json",
        "model.npz",
    ]


def test_the_clients_table_is_csv(tmp_path: Path) -> None:
    with (finished(tmp_path) / "clients.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert tuple(rows[0]) == CLIENT_COLUMNS
    assert rows[1:] == [
        ["1", "0", "10", "5", "0.693147", "ok"],
        ["1", "1", "0", "0", "", 'left out: 1, "nan"'],
        ["2", "0", "10", "5", "0.5", "ok"],
    ]


def test_a_path_may_be_text(tmp_path: Path) -> None:
    assert Run.read(str(finished(tmp_path))).folder == tmp_path


def test_what_a_folder_holds(tmp_path: Path) -> None:
    assert not is_folder_of(tmp_path, "run")
    assert is_folder_of(finished(tmp_path), "run")
    assert not is_folder_of(tmp_path, "comparison")


# ---- the history as arrays
def test_the_history_as_arrays() -> None:
    history = History(ROUNDS)
    nan = np.nan
    np.testing.assert_array_equal(history["round"], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(history["test.accuracy"], [0.25, nan, nan])
    np.testing.assert_array_equal(history["test.recall"], [[0.5, nan], [nan, nan], [1.0, 0.0]])
    assert history["round"].dtype == np.float64
    assert history.names() == ["round", "seconds", "test.accuracy", "test.recall"]


def test_the_history_is_a_mapping_of_its_names() -> None:
    history = History(ROUNDS)
    assert isinstance(history, Mapping)
    assert list(history) == list(history.keys()) == history.names()
    assert len(history) == 4
    assert "test.recall" in history
    assert "test.f1" not in history
    assert history.get("test.f1") is None
    assert {name: array.shape for name, array in history.items()}["test.recall"] == (3, 2)
    assert repr(history) == "<History of 3 rounds: round, seconds, test.accuracy, test.recall>"


def test_the_history_is_the_same_after_reading(tmp_path: Path) -> None:
    before, after = History(ROUNDS), Run.read(finished(tmp_path)).history
    for name in before.names():
        np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.parametrize("name", ["test.f1", "validation.accuracy", "round.accuracy", ""])
def test_a_name_that_the_history_has_not(name: str) -> None:
    with pytest.raises(KeyError, match=r"known are round, seconds, test\.accuracy, test\.recall"):
        History(ROUNDS)[name]


# ---- whole or not at all
def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(*{"fsync": (os, "fsync", fail), "replace": (Path, "replace", fail)}[step])
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_a_line_a_key_and_lists_of_numbers_on_one(tmp_path: Path) -> None:
    """A line each would make hundreds of megabytes of a million clients."""
    value = {"counts": [[1, 2], [3, 4]], "rows": [{"a": 1.5, "why": ["ö"]}, {}], "none": [], 7: None, "on": True}
    write_json(tmp_path / "v.json", value)

    text = (tmp_path / "v.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(value))
    assert text.splitlines() == [
        "{",
        '  "counts": [[1, 2], [3, 4]],',
        '  "rows": [',
        "    {",
        '      "a": 1.5,',
        '      "why": ["\\u00f6"]',
        "    },",
        "    {}",
        "  ],",
        '  "none": [],',
        '  "7": null,',
        '  "on": true',
        "}",
    ]


def test_json_holds_no_nan(tmp_path: Path) -> None:
    value = {"a": [np.float32(0.5), np.nan, (np.int64(2), -np.inf)], "b": {"c": True, "d": None, "e": "x"}}
    write_json(tmp_path / "v.json", value)
    text = (tmp_path / "v.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [0.5, None, [2, None]],
        "b": {"c": True, "d": None, "e": "x"},
    }
    assert read_json(tmp_path / "v.json") == json.loads(text)


# ---- a folder that is there
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


# ---- the model's hash
def test_the_hash_by_hand() -> None:
    r"""``printf 'w float32 (2,)\n\x00\x00\x80\x3f\x00\x00\x20\xc0b float64 ()\n…\xe0\x3f' | sha256sum``, six zeros."""
    weights = {"w": np.array([1.0, -2.5], np.float32), "b": np.array(0.5)}
    assert model_hash(weights) == "683c372301f25e0e88784a70d06014a5c2b5742112b0e64fb708dc460ff63aba"


def test_the_hash_is_of_values_and_names_not_of_memory() -> None:
    plain_hash = model_hash(WEIGHTS)
    assert (
        model_hash({name: array.astype(array.dtype.newbyteorder(">")) for name, array in WEIGHTS.items()}) == plain_hash
    )
    assert model_hash({name: np.asfortranarray(array) for name, array in WEIGHTS.items()}) == plain_hash
    changed = [
        dict(reversed(WEIGHTS.items())),
        {name + "x": array for name, array in WEIGHTS.items()},
        {name: array.reshape(-1) for name, array in WEIGHTS.items()},
        {name: array.astype(np.float64) for name, array in WEIGHTS.items()},
        {name: np.nextafter(array, 9) for name, array in WEIGHTS.items()},
    ]
    assert len({plain_hash, *map(model_hash, changed)}) == 6


# ---- folders that are torn or edited
def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    RunWriter(tmp_path).begin(CONFIG, MANIFEST)
    assert refusal(tmp_path) == f"{tmp_path}: the run is not finished; --resume goes on with it"


@pytest.mark.parametrize("name", ["manifest.json", "config.toml", "history.jsonl", "model.npz"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    (finished(tmp_path) / name).unlink()
    assert refusal(tmp_path) == f"{tmp_path / name}: no such file; is {tmp_path} a run folder?"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("manifest.json", b"{", "not valid JSON"),
        ("manifest.json", b"[1]", "expected a JSON object"),
        ("manifest.json", b"\xff", "not UTF-8 text"),
        ("manifest.json", b'{"summary": 3}', "no model_sha256 in its summary"),
        ("manifest.json", b'{"summary": ' + b"[" * 100_000, "not valid JSON"),
        ("config.toml", b"alpha = = 3", "not valid TOML"),
        ("config.toml", b"alpha = -3", "alpha=-3: expected a number, more than 0"),
        ("config.toml", b"alfa = 3", "did you mean alpha?"),
        ("history.jsonl", b"1\n", "expected a JSON object"),
        ("history.jsonl", b'{"round": 1}\n{"rou', "not valid JSON"),
        ("model.npz", b"", "cannot be read"),
        ("model.npz", b"PK\x03\x04", "cannot be read"),
        ("model.npz", b"\x93NUMPY", "cannot be read"),
    ],
)
def test_a_torn_file_is_named(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (finished(tmp_path) / name).write_bytes(content)
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path / name}: ")
    assert says in line


def test_a_model_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = finished(tmp_path) / "model.npz"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert refusal(tmp_path).startswith(f"{path}: ")


def test_no_edited_byte_changes_a_model_unnoticed(tmp_path: Path) -> None:
    path = finished(tmp_path) / "model.npz"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            weights = Run.read(tmp_path).weights
        except SettingsError:
            continue
        assert same(weights, WEIGHTS)  # a byte that says nothing, as a time of day


def test_another_runs_model_is_refused(tmp_path: Path) -> None:
    write_arrays(finished(tmp_path) / "model.npz", {name: array * 2 for name, array in WEIGHTS.items()})
    assert refusal(tmp_path) == f"{tmp_path / 'model.npz'}: does not match the hash in manifest.json"


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, w=np.array([{"code": 1}], dtype=object))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_arrays(path)


# ---- checkpoints
def test_the_last_two_checkpoints_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    assert writer.last_checkpoint() is None
    for number in (1, 2, 10):
        writer.checkpoint(number, {"w": np.array([float(number)])})
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == ["round-000002.npz", "round-000010.npz"]
    found = RunWriter(tmp_path).last_checkpoint()
    assert found is not None
    assert (found[0], found[1]["w"].tolist()) == (10, [10.0])


@pytest.mark.parametrize("place", [0, 40, 150, -30])
def test_a_torn_checkpoint_gives_way_to_the_one_before(place: int, tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    for number in (4, 5):
        writer.checkpoint(number, WEIGHTS)
    newest = tmp_path / "checkpoint" / "round-000005.npz"
    newest.write_bytes(newest.read_bytes()[:place])
    found = writer.last_checkpoint()
    assert found is not None
    assert found[0] == 4
    assert same(found[1], WEIGHTS)


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.rows(ROUNDS[:2], CLIENTS)
    assert writer.truncate(1) == plain(ROUNDS[:1])
    writer.rows(ROUNDS[1:], CLIENTS[2:])
    assert (tmp_path / "history.jsonl").read_text() == "".join(json.dumps(plain(row)) + "\n" for row in ROUNDS)
    assert len((tmp_path / "clients.csv").read_text().splitlines()) == 1 + len(CLIENTS)
    assert writer.truncate(0) == []
    assert (tmp_path / "history.jsonl").read_text() == ""
    assert (tmp_path / "clients.csv").read_text() == ",".join(CLIENT_COLUMNS) + "\n"


def test_a_measure_that_is_nan_in_every_round_is_nan_after_reading(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.rows([{"round": 1, "loss": np.nan}], [])
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(History(rows)["loss"], [np.nan])


def test_a_reason_of_two_lines_is_one_row(tmp_path: Path) -> None:
    RunWriter(tmp_path).rows([], [(1, 0, 1, 1, 0.5, "first\nsecond\r\nthird")])
    assert (tmp_path / "clients.csv").read_text().splitlines()[1:] == ["1,0,1,1,0.5,first second third"]


def test_a_row_that_was_being_written_when_the_run_was_killed_is_dropped(tmp_path: Path) -> None:
    """Torn, round 12's row reads as one of round 1."""
    writer = RunWriter(tmp_path)
    writer.rows(ROUNDS[:2], CLIENTS)
    for name, torn in (("history.jsonl", '{"round": 3, "sec'), ("clients.csv", "1")):
        with (tmp_path / name).open("a") as file:
            file.write(torn)
    assert writer.truncate(2) == plain(ROUNDS[:2])
    assert len((tmp_path / "clients.csv").read_text().splitlines()) == 1 + len(CLIENTS)


def test_a_table_without_its_header_gets_it_back(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    (tmp_path / "clients.csv").touch()
    (tmp_path / "history.jsonl").touch()
    assert writer.truncate(0) == []
    assert (tmp_path / "clients.csv").read_text() == ",".join(CLIENT_COLUMNS) + "\n"


@pytest.mark.parametrize(("name", "content"), [("history.jsonl", "{\n"), ("clients.csv", "round\nx,1\n")])
def test_edited_rows_are_refused_in_one_line(name: str, content: str, tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.rows(ROUNDS[:1], CLIENTS[:1])
    (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=f"{name}: "):
        writer.truncate(1)


def test_a_history_that_was_emptied_or_cut_is_refused(tmp_path: Path) -> None:
    path = finished(tmp_path) / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for count in (0, 2):
        path.write_text("".join(lines[:count]))
        assert refusal(tmp_path).endswith(f"{count} rounds, manifest.json has 3; the file was edited")


@pytest.mark.skipif(os.name != "posix", reason="a folder cannot be put on the disk there")
def test_the_names_of_new_files_are_put_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[set[str]] = []
    monkeypatch.setattr(
        "edgefed.runs.writer.settle", lambda folder: settled.append({path.name for path in folder.iterdir()})
    )
    writer = RunWriter(tmp_path)
    for number in (1, 2):
        writer.rows(ROUNDS[:1], CLIENTS[:1])
        writer.checkpoint(number, WEIGHTS)
    assert settled == [{"clients.csv", "history.jsonl"}, {"clients.csv", "history.jsonl", "checkpoint"}]


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


def test_where_the_data_name_the_clients_a_finished_runs_table_does(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin(CONFIG, MANIFEST)
    writer.rows(ROUNDS, CLIENTS)
    assert (tmp_path / "clients.csv").read_text().startswith("round,client,rows,steps,train_loss,verdict\n")
    names = ["north, hill", 'the "south"']
    summary = {"rounds": 3, "model_sha256": model_hash(WEIGHTS)}
    writer.end(WEIGHTS, MANIFEST | {"client_names": names, "summary": summary})

    with (tmp_path / "clients.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*CLIENT_COLUMNS, "name")
    assert [row["name"] for row in rows] == [names[0], names[1], names[0]]
    assert [row["verdict"] for row in rows] == [row[5] for row in CLIENTS]
