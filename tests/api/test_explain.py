"""edgefed explain, from Python and the command line: what it finds, what it keeps, what it refuses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from federations import settings

import edgefed
from edgefed.api.explanation import Explanation
from edgefed.cli.explain import _show
from edgefed.data.shards import federate
from edgefed.report.page import write_explanation
from edgefed.report.page.words import percent
from edgefed.runs import Run, read_arrays, read_json, write_json

ROUNDS = {"num_server_rounds": 15, "long_tail": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that holds rows out, explained."""
    home = tmp_path_factory.mktemp("explained") / "run"
    edgefed.run(settings(client_test_fraction=0.3, partition="iid", **ROUNDS), out=home, progress=False)
    edgefed.explain(home, progress=False)
    return home


@pytest.fixture
def result(folder):
    return read_json(folder / "explanation" / "explanation.json")


def test_its_figures_are_those_of_the_clients_and_features_come_strongest_first(folder, result):
    told = read_arrays(folder / "explanation" / "collected.npz")
    features = Run.read(folder).manifest["features"]
    means = dict(zip(features, told["loss-increase"].sum((0, 1)) / told["rows"].sum(), strict=True))

    assert [row["feature"] for row in result["importance"]] == sorted(features, key=lambda name: -means[name])
    for row in result["importance"]:
        assert row["mean"] == pytest.approx(means[row["feature"]])
        assert {"feature", "mean", "low", "high", "clients_std"} <= row.keys()
    assert (result["rows"], result["rows_explained"]) == ("held-out", told["rows"].sum())
    assert result["interval_over"] == "clients"


def test_rows_explained_add_up_to_what_the_model_says(folder, result):
    model = edgefed.FederatedClassifier.from_run(folder)
    names = [row["feature"] for row in result["importance"]]
    order = [names.index(name) for name in Run.read(folder).manifest["features"]]
    for row in result["examples"]["rows"]:
        x = np.array(row["values"])[order][None]
        assert model.predict(x)[0] == row["predicted"]
        assert model.predict_proba(x).max() == pytest.approx(row["probability"], abs=1e-6)
        assert row["base"] + sum(row["shap"]) == pytest.approx(row["probability"], abs=1e-5)


def test_examples_are_test_rows_and_their_background_the_servers_validation_rows(folder, result):
    run = Run.read(folder)
    data = federate(run.config)[1]
    for row in result["examples"]["rows"]:
        assert row["row"] - 1 in data.split.test
        assert data.dataset.class_names[data.dataset.labels[row["row"] - 1]] == row["true"]
    assert result["examples"]["background_rows"] == len(data.split.validation)


def test_effects_are_means_over_test_rows(folder, result):
    model = edgefed.FederatedClassifier.from_run(folder)
    run = Run.read(folder)
    data = federate(run.config)[1]
    rows = data.dataset.features[data.split.test].astype(float)
    effect = result["effects"][0]
    place = run.manifest["features"].index(effect["feature"])
    for point in (0, -1):
        rows[:, place] = effect["grid"][point]
        expected = model.predict_proba(rows).mean(0)
        np.testing.assert_allclose(np.array(effect["average"])[:, point], expected, atol=1e-6)


def test_calibration_and_confusion_are_those_of_the_test_rows(folder, result):
    run = Run.read(folder)
    assert result["calibration"]["brier"]["mean"] == pytest.approx(run.summary["test"]["brier"], abs=1e-6)
    assert np.sum(result["confusion"]) == sum(row["rows"] for row in result["calibration"]["bins"]) == 30
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in result["calibration"]["bins"])
    assert result["confusion"] == run.rounds[-1]["test"]["confusion"]


def test_the_same_run_gives_the_same_explanation_on_the_sequential_engine_too(folder, result):
    again = edgefed.explain(folder, engine="sequential", progress=False).result

    del again["seconds"], result["seconds"]
    assert again == result


def test_a_run_in_memory_is_explained_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = edgefed.run(settings(**ROUNDS), progress=False)

    found = edgefed.explain(run, progress=False)

    assert found.folder is None
    assert list(tmp_path.iterdir()) == []
    assert found.result["rows"] == "training"
    assert len(found.result["importance"]) == 4


def test_several_runs_have_intervals_over_seeds():
    runs = [edgefed.run(settings(seed=seed, **ROUNDS), progress=False) for seed in range(3)]

    found = edgefed.explain(runs, progress=False).result

    assert (found["runs"], found["seeds"], found["interval_over"]) == (3, [0, 1, 2], "seeds")
    alone = {row["feature"]: row["mean"] for row in edgefed.explain(runs[1], progress=False).result["importance"]}
    for row in found["importance"]:
        assert len(row["values"]) == 3
        assert row["values"][1] == pytest.approx(alone[row["feature"]])
        assert row["mean"] == pytest.approx(np.mean(row["values"]))
    bins = found["calibration"]["bins"]
    assert sum(row["rows"] for row in bins) == 3 * 30
    assert {row[end] for row in bins for end in ("low", "high")} == {None}


def test_a_comparison_is_explained_over_its_seeds(tmp_path):
    edgefed.compare(
        settings(num_server_rounds=5),
        strategies="none,post-hoc",
        seeds=3,
        tune=None,
        out=tmp_path / "c",
        progress=False,
    )

    found = edgefed.explain(tmp_path / "c", strategy="post-hoc", progress=False)

    assert found.folder == tmp_path / "c"
    assert found.result["explained"] == "iris, post-hoc"
    assert [Path(part).parts[1] for part in found.result["folders"]] == ["post-hoc"] * 3
    assert all((tmp_path / "c" / part / "explanation" / "collected.npz").is_file() for part in found.result["folders"])
    with pytest.raises(edgefed.SettingsError, match=r"--strategy smote: .* compares .*none"):
        edgefed.explain(tmp_path / "c", strategy="smote", progress=False)


def test_rows_that_are_others_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = read_json(copy / "manifest.json")
    write_json(copy / "manifest.json", manifest | {"data_sha256": "0" * 64})
    shutil.rmtree(copy / "explanation")

    with pytest.raises(edgefed.SettingsError, match=r"not those it was trained on; .* explain=yes") as refusal:
        edgefed.explain(copy, progress=False)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_deployed_run_is_explained_from_what_its_devices_said(folder, tmp_path):
    """The server has none of the devices' rows: what they said stands, and what only test rows show is left out.

    The confusion matrix is in the run's history.
    """
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_json(copy / "manifest.json", read_json(copy / "manifest.json") | {"data_sha256": "0" * 64})

    found = edgefed.explain(copy, progress=False).result

    known = read_json(folder / "explanation" / "explanation.json")
    assert found["importance"] == known["importance"]
    assert "effects" not in found
    assert "calibration" not in found
    assert found["confusion"] == known["confusion"] == Run.read(copy).rounds[-1]["test"]["confusion"]
    assert "Which class is taken for which" in write_explanation(copy).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("engine", "begins"), [("flower", "reading what the {} answered"), ("batched", "asking the {}")]
)
def test_nobody_is_said_to_be_asked_where_what_clients_answered_is_read(folder, tmp_path, capsys, engine, begins):
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = read_json(copy / "manifest.json")
    write_json(copy / "manifest.json", manifest | {"summary": manifest["summary"] | {"engine": engine}})

    edgefed.explain(copy, progress=True)

    first = capsys.readouterr().err.splitlines()[0]
    assert first == f"explaining iris, none, seed 0: {begins.format('clients of 1 run')}"


def test_what_was_said_of_another_model_is_not_taken(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_json(copy / "manifest.json", read_json(copy / "manifest.json") | {"data_sha256": "0" * 64})
    shutil.copy(edgefed_other(tmp_path) / "explanation" / "collected.npz", copy / "explanation" / "collected.npz")

    with pytest.raises(edgefed.SettingsError, match="not those it was trained on"):
        edgefed.explain(copy, progress=False)


def edgefed_other(home):
    """The folder of a run of the same settings but for the seed, whose clients were asked when it ended."""
    edgefed.run(settings(seed=5, explain="yes", **ROUNDS), out=home / "other", progress=False)
    return home / "other"


def test_a_model_that_diverged_is_refused():
    run = edgefed.run(settings(num_server_rounds=1), progress=False)
    broken = replace(run, weights={name: np.full_like(array, np.nan) for name, array in run.weights.items()})

    with pytest.raises(edgefed.SettingsError, match="its model diverged"):
        edgefed.explain(broken, progress=False)


def test_the_command_prints_one_object_and_writes_page_and_pictures(cli, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")

    code, out, err = cli("explain", copy, "--format", "json")

    assert code == 0, err
    assert len(out.splitlines()) == 1
    assert json.loads(out)["importance"][0]["feature"].startswith("petal")
    assert (copy / "explanation.html").is_file()
    names = {path.name for path in (copy / "explanation" / "plots").iterdir()}
    wanted = ("importance", "methods", "clients", "classes", "effects", "examples", "reliability", "confusion")
    assert names == {f"{name}.{kind}" for name in wanted for kind in ("png", "svg")}


def test_the_terminal_has_points_lost_as_the_page_has_them(result, capsys):
    _show(Explanation(result, []))

    shown = capsys.readouterr().out
    assert "points lost" in shown
    for row in result["importance"]:
        line = next(line for line in shown.splitlines() if row["feature"] in line)
        assert line.split("│")[4].strip() == percent(row["accuracy"]["mean"])
    assert any(row["accuracy"]["mean"] > 0.05 for row in result["importance"])


def test_an_explanation_is_short_to_print(result):
    first = result["importance"][0]
    assert repr(Explanation(result, [])).startswith(
        f"<Explanation of {result['explained']}: log-loss when permuted {first['feature']} {first['mean']:+.3f}, "
    )
    assert repr(Explanation(result, [])).endswith("; in memory>")


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(edgefed.SettingsError, match=r"manifest\.json: no such file; is .* a run folder\?") as refusal:
        edgefed.explain(tmp_path / "nothing", progress=False)
    assert len(str(refusal.value).splitlines()) == 1
    with pytest.raises(edgefed.SettingsError, match="says nothing of a single run"):
        edgefed.explain(tmp_path / "nothing", strategy="none", progress=False)


def test_runs_of_other_features_are_named_where_they_are_kept_or_which_they_are(folder):
    iris, wine = (edgefed.run(settings(dataset=name, num_server_rounds=1), progress=False) for name in ("iris", "wine"))
    others = r"other features or classes than run 1 of 2 \(iris\)$"
    with pytest.raises(edgefed.SettingsError, match=rf"^run 2 of 2 \(wine\): {others}"):
        edgefed.explain([iris, wine], progress=False)
    with pytest.raises(edgefed.SettingsError, match=rf"^run 2 of 2 \(wine\): other .* than {re.escape(str(folder))}$"):
        edgefed.explain([folder, wine], progress=False)


def test_a_run_under_differential_privacy_is_refused_in_one_line():
    run = edgefed.run(settings(privacy="dp-fixed", standardize="server", num_server_rounds=1), progress=False)
    with pytest.raises(edgefed.SettingsError, match="privacy=dp-fixed: clients would be asked for exact figures"):
        edgefed.explain(run, progress=False)


def test_an_explanation_of_secure_aggregation_says_that_nothing_of_it_is_masked(folder):
    config = settings(privacy="secagg", partition="iid", num_server_rounds=1, long_tail=1.0)
    run = edgefed.run(config, progress=False)
    assert edgefed.explain(run, progress=False).result["masked"] is True
    assert read_json(folder / "explanation" / "explanation.json")["masked"] is False
