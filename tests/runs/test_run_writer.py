"""What a run writes as it goes, and what of it is kept when it goes on."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_runs import CLIENTS, CONFIG, MANIFEST, ROUNDS, WEIGHTS, finished, same

from edgefed.runs import CLIENT_COLUMNS, RunWriter, model_hash, plain


def test_the_clients_table_is_csv(tmp_path: Path) -> None:
    with (finished(tmp_path) / "clients.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, strict=True))
    assert tuple(rows[0]) == CLIENT_COLUMNS
    assert rows[1:] == [
        ["1", "0", "10", "5", "0.693147", "ok"],
        ["1", "1", "0", "0", "", 'left out: 1, "nan"'],
        ["2", "0", "10", "5", "0.5", "ok"],
    ]


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
