"""A run comes back from its folder; one that is torn or edited is refused."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from made_runs import CLIENTS, CONFIG, MANIFEST, ROUNDS, WEIGHTS, finished, refusal, same

from edgefed.errors import SettingsError
from edgefed.runs import History, Run, RunWriter, model_hash, plain, read_arrays, write_arrays


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


def test_a_path_may_be_text(tmp_path: Path) -> None:
    assert Run.read(str(finished(tmp_path))).folder == tmp_path


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


def test_a_measure_that_is_nan_in_every_round_is_nan_after_reading(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.rows([{"round": 1, "loss": np.nan}], [])
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(History(rows)["loss"], [np.nan])


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
