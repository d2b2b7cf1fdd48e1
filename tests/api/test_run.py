"""``edgefed.run`` from Python: what it returns, what it writes, and that it learns."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from federations import figures, settings, trained
from sklearn.metrics import balanced_accuracy_score

import edgefed
from edgefed.config import FederationConfig, SettingsError
from edgefed.data.shards import federate
from edgefed.runs import model_hash


def contents(folder):
    """Return every file below a folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_iris_shared_out_evenly_is_learned():
    """The defaults but for the partition: mean balanced accuracy of at least 0.9 over ten seeds, none below 0.8."""
    scores = [
        trained(FederationConfig(partition="iid", seed=seed))[0].summary["test"]["balanced_accuracy"]
        for seed in range(10)
    ]

    assert np.mean(scores) >= 0.9
    assert min(scores) >= 0.8


def test_a_run_in_memory_touches_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    run = edgefed.run(settings(), progress=False)

    assert run.folder is None
    assert list(tmp_path.iterdir()) == []
    assert list(run.weights) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [array.shape for array in run.weights.values()] == [(16, 4), (16,), (3, 16), (3,)]
    assert {array.dtype for array in run.weights.values()} == {np.dtype("float32")}
    assert run.summary["model_sha256"] == model_hash(run.weights)
    assert [row["round"] for row in run.rounds] == [1, 2, 3]
    measure = run.summary["test"]["balanced_accuracy"]
    said = f"3 rounds, {run.summary['clients']} clients, test balanced accuracy {measure:.3f}; in memory"
    assert repr(run) == f"<Run of iris, none, seed {run.config.seed}: {said}>"


def test_a_folder_holds_the_whole_run(tmp_path):
    run, clients = trained(settings(imbalance="post-hoc"), out=tmp_path / "a" / "run")

    again = edgefed.Run.read(tmp_path / "a" / "run")

    assert figures(again) == figures(run)
    assert again.summary == run.summary
    assert again.config == run.config
    assert {name: array.tobytes() for name, array in again.weights.items()} == {
        name: array.tobytes() for name, array in run.weights.items()
    }
    lines = (run.folder / "clients.csv").read_text().splitlines()
    assert lines[0] == "round,client,rows,steps,train_loss,verdict"
    assert len(lines) == 1 + len(clients)
    document = tomllib.loads((run.folder / "config.toml").read_text())
    assert FederationConfig.from_mapping(document) == settings(imbalance="post-hoc")
    assert len((run.folder / "history.jsonl").read_text().splitlines()) == 3
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert set(manifest["environment"]["versions"]) >= {"edgefed", "flwr", "numpy", "torch", "python"}
    assert not list(run.folder.rglob(".*"))


def test_the_folder_of_another_run_is_refused_and_left_alone(tmp_path):
    trained(settings(), out=tmp_path / "run")
    before = contents(tmp_path)

    with pytest.raises(SettingsError, match="exists already; give another folder, or --resume"):
        edgefed.run(settings(seed=1), out=tmp_path / "run", progress=False)

    assert contents(tmp_path) == before


def test_an_empty_folder_is_as_good_as_none_and_a_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert edgefed.run(settings(), out=tmp_path / "empty", progress=False).folder == tmp_path / "empty"

    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="--out"):
        edgefed.run(settings(), out=tmp_path / "file", progress=False)
    with pytest.raises(SettingsError, match=r"--out .*cannot be made"):
        edgefed.run(settings(), out=tmp_path / "file" / "below", progress=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_named_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    folders = [str(edgefed.run(settings(), name="mine", progress=False).folder) for _ in range(3)]

    assert folders == ["runs/mine", "runs/mine-2", "runs/mine-3"]


@pytest.mark.parametrize("mistake", [{"engine": "batch"}, {"config": settings(partition="shards", num_clients=500)}])
def test_a_mistake_leaves_no_folder_behind(tmp_path, mistake):
    with pytest.raises(SettingsError):
        edgefed.run(**({"config": settings()} | mistake), out=tmp_path / "run", progress=False)

    assert list(tmp_path.iterdir()) == []


def test_summary_and_history_say_the_same():
    run, _ = trained(settings(client_test_fraction=0.2, long_tail=1.0, num_server_rounds=4, evaluate_every=3))
    history = run.history

    assert history["test.balanced_accuracy"][-1] == run.summary["test"]["balanced_accuracy"]
    assert history["validation.log_loss"][-1] == run.summary["validation"]["log_loss"]
    assert history["clients"].sum() == run.summary["client_updates"]
    assert history["round"].tolist() == [1, 2, 3, 4]
    assert np.isnan(history["test.accuracy"]).tolist() == [True, True, False, False]
    assert history["test.recall"].shape == (4, 3)
    assert history["test.recall"][-1].tolist() == run.summary["test"]["recall"]
    assert "confusion" not in run.summary["test"]
    assert {"round", "clients", "train_loss", "test.balanced_accuracy", "test.recall"} <= set(history.names())
    for name in set(history.names()) - {"test.confusion", "validation.confusion", "clients_test.confusion"}:
        assert len(history[name]) == 4
    with pytest.raises(KeyError, match="known are"):
        history["test.nope"]


def test_that_a_run_of_many_clients_is_being_written_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.import_module("edgefed.api.single"), "MANY", 10)
    for clients, said in ((9, False), (10, True)):
        edgefed.run(settings(num_clients=clients, num_server_rounds=1), out=tmp_path / str(clients), progress=True)
        line = f"writing what was done on {clients} clients to {tmp_path / str(clients)}"
        assert (line in capsys.readouterr().err.splitlines()) is said


def test_matrices_of_a_history_with_rounds_that_were_not_evaluated():
    run, _ = trained(settings(num_server_rounds=4, evaluate_every=3))

    confusion = run.history["test.confusion"]

    assert confusion.shape == (4, 3, 3)
    assert np.isnan(confusion).all((1, 2)).tolist() == [True, True, False, False]


def test_measures_of_the_summary_agree_with_each_other():
    run, _ = trained(settings(num_server_rounds=5))
    test, confusion = run.summary["test"], np.array(run.rounds[-1]["test"]["confusion"])

    assert test["balanced_accuracy"] == pytest.approx(np.mean(test["recall"]))
    assert test["worst_recall"] == min(test["recall"])
    # The test rows stand for the data's own mix, which in iris is level: accuracy is then the mean recall.
    assert test["accuracy"] == pytest.approx(np.mean(test["recall"]))
    truth = np.repeat(np.arange(3), confusion.sum(1))
    predicted = np.concatenate([np.repeat(np.arange(3), row) for row in confusion])
    assert test["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))


def test_bytes_of_the_summary_are_those_of_its_rounds():
    run, _ = trained(settings())

    query = run.manifest["query_bytes"]
    assert run.summary["bytes"]["up"] == query["up"] + sum(row["bytes_up"] for row in run.rounds)
    assert run.summary["bytes"]["down"] == query["down"] + sum(row["bytes_down"] for row in run.rounds)


def test_bytes_of_the_summary_are_those_of_its_rounds_when_clients_evaluate():
    run, _ = trained(settings(client_test_fraction=0.2, long_tail=1.0))

    query = run.manifest["query_bytes"]
    assert run.summary["bytes"]["up"] == query["up"] + sum(row["bytes_up"] for row in run.rounds)
    assert run.summary["bytes"]["down"] == query["down"] + sum(row["bytes_down"] for row in run.rounds)


def test_each_round_is_told_with_the_round_written(tmp_path):
    seen = []

    def look(federation):
        seen.append((federation.round, len((tmp_path / "run" / "history.jsonl").read_text().splitlines())))

    edgefed.run(settings(), out=tmp_path / "run", progress=False, on_round=look)

    assert seen == [(1, 1), (2, 2), (3, 3)]


def test_a_run_says_what_its_data_were():
    config, data = federate(settings())
    run, _ = trained(config)

    assert run.manifest["shards"]["class_counts"] == data.class_counts.tolist()
    assert run.manifest["classes"] == ["setosa", "versicolor", "virginica"]
    assert run.manifest["rows"] == {
        "train": len(data.split.pool),
        "held_out": 0,
        "validation": len(data.split.validation),
        "test": len(data.split.test),
    }
    assert sorted(run.manifest["long_tail_order"]) == sorted(run.manifest["classes"])
    assert run.summary["rounds"] == 3
    assert run.summary["clients"] == 10


def test_the_package_offers_its_names_and_no_others():
    for name in edgefed.__all__:
        assert getattr(edgefed, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = edgefed.nope
    assert {"__file__", *edgefed.__all__} <= set(dir(edgefed))


def test_what_docstrings_call_the_packages_is_there():
    source = Path(edgefed.__file__).parent
    said = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r":(?:func|class):`edgefed\.(\w+)`", path.read_text(encoding="utf-8"))
    }

    assert {"run", "explain", "predict"} <= said
    assert said <= set(edgefed.__all__)
