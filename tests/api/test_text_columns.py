"""A file with text columns ends where the same file with hand-made indicators ends: same bits, all the way through."""

import csv
import io
import json
import runpy

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from federations import ENGINES, trained

import edgefed
from edgefed.api.export import export_onnx
from edgefed.cli import _exit_code
from edgefed.config import FederationConfig, SettingsError, read_settings
from edgefed.report.page.moved import raw_bytes
from edgefed.runs import Run

COLORS, SIZES = ["blue", "light, blue", "a|b"], ["S", "M", "none"]
LISTED = r"color=blue|light\, blue|a\|b,size=S|M|none"


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with 120 rows as text, as indicators, and with some cells empty as both."""
    home, rng = tmp_path_factory.mktemp("rows"), np.random.default_rng(5)
    rows = [
        (rng.choice(COLORS), f"{rng.normal():.4f}", rng.choice(SIZES), f"site {rng.integers(4)}") for _ in range(120)
    ]
    rows = [(*row, "yes" if (row[0] == "a|b") != (float(row[1]) > 0.3) else "no") for row in rows]
    holes = [("" if rng.random() < 0.15 else color, number, *rest) for color, number, *rest in rows]
    indicators = [
        "color=blue",
        "color=light, blue",
        "color=a|b",
        "length",
        "size=S",
        "size=M",
        "size=none",
        "site",
        "y",
    ]
    for name, table in (("full", rows), ("holes", holes)):
        write(home / f"{name}.csv", ["color", "length", "size", "site", "y"], table)
        by_hand = [
            [*(int(color == c) if color else "" for c in COLORS), number, *(int(size == s) for s in SIZES), *rest]
            for color, number, size, *rest in table
        ]
        write(home / f"{name}-by-hand.csv", indicators, by_hand)
    return home


def config_of(path, categories="", **changes):
    given = {"num_clients": 5, "num_server_rounds": 3, "local_epochs": 2, "drop_columns": "site"} | changes
    return FederationConfig(dataset="csv", data_path=str(path), categories=categories, **given)


CASES = {
    "plain": ("full", {}),
    "resampled, scaled locally": ("full", {"imbalance": "smote", "standardize": "local"}),
    "jitter, own clients, held-out rows": (
        "full",
        {"imbalance": "jitter", "partition": "natural", "client_column": "site", "drop_columns": "", "num_clients": 4},
    ),
    "empty cells": ("holes", {"missing": "mean", "imbalance": "balanced-softmax", "standardize": "none"}),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_as_indicators_made_by_hand(folder, case, engine):
    file, changes = CASES[case]
    text, _ = trained(config_of(folder / f"{file}.csv", LISTED, **changes), engine)
    by_hand, _ = trained(config_of(folder / f"{file}-by-hand.csv", **changes), engine)
    for key in ("features", "classes", "shards", "data_sha256", "prediction"):
        assert text.manifest[key] == by_hand.manifest[key], key
    for key in ("model_sha256", "test", "validation", "clients_test", "bytes"):
        assert text.summary[key] == by_hand.summary[key], key


def test_an_empty_cell_counts_as_the_values_shares(folder):
    run = edgefed.run(config_of(folder / "holes.csv", LISTED, missing="mean"), progress=False)
    mean = dict(zip(run.manifest["features"], run.manifest["prediction"]["mean"], strict=True))
    assert sum(mean[f"color={color}"] for color in COLORS) == pytest.approx(1)
    assert sum(mean[f"size={size}"] for size in SIZES) == pytest.approx(1)
    assert all(0 < mean[f"color={color}"] < 1 for color in COLORS)
    # A row sent as it is has a number of four bytes, and a byte for each category and for its label.
    assert raw_bytes(run) == run.manifest["rows"]["train"] * (4 + 2 + 1)


# ---- the values that were found, wherever a run goes on
def test_a_runs_settings_list_the_values_that_its_file_held(folder, tmp_path):
    names = config_of(folder / "full.csv", r"color,size=S|M|none")
    run = edgefed.run(names, out=tmp_path / "run", progress=False)
    assert run.config.categories == r"color=a\|b|blue|light\, blue,size=S|M|none"
    again = FederationConfig.from_mapping(read_settings(tmp_path / "run" / "config.toml"))
    assert again == run.config
    assert edgefed.run(again, progress=False).summary["model_sha256"] == run.summary["model_sha256"]
    # The name alone says the same again.
    assert edgefed.run(names, out=tmp_path / "run", resume=True, progress=False).summary == run.summary
    with pytest.raises(SettingsError, match=r"--resume: categories=.* differs from"):
        edgefed.run(config_of(folder / "full.csv", LISTED), out=tmp_path / "run", resume=True, progress=False)


def test_the_best_of_a_comparison_lists_them_too(folder, tmp_path):
    config = config_of(folder / "full.csv", "color,size=S|M|none", num_server_rounds=1)
    edgefed.compare(config, strategies="none", seeds=2, tune=(0.1,), out=tmp_path / "c", progress=False, processes=1)
    best = read_settings(tmp_path / "c" / "best.toml")
    assert best["categories"] == r"color=a\|b|blue|light\, blue,size=S|M|none"
    edgefed.compare(
        config, strategies="none", seeds=2, tune=(0.1,), out=tmp_path / "c", progress=False, processes=1, resume=True
    )
    # As the page's own command has it.
    listed = config.replace(categories=best["categories"])
    edgefed.compare(
        listed, strategies="none", seeds=2, tune=(0.1,), out=tmp_path / "c", progress=False, processes=1, resume=True
    )


# ---- the model on new rows
def test_text_and_indicators_are_predicted_alike_here_and_on_a_device(folder, tmp_path, monkeypatch, capsys):
    run = edgefed.run(config_of(folder / "holes.csv", LISTED, missing="mean"), out=tmp_path / "run", progress=False)
    by_hand = edgefed.run(config_of(folder / "holes-by-hand.csv", missing="mean"), progress=False)
    expected = edgefed.predict(by_hand, folder / "holes-by-hand.csv")
    np.testing.assert_array_equal(edgefed.predict(run, folder / "holes.csv"), expected)
    frame = pd.read_csv(folder / "holes.csv", dtype=str, keep_default_na=False)
    np.testing.assert_array_equal(edgefed.predict(run, frame), expected)
    indicators = pd.read_csv(folder / "holes-by-hand.csv")
    np.testing.assert_array_equal(edgefed.predict(run, indicators), expected)

    model = export_onnx(run, tmp_path / "model.onnx")
    told = onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map
    assert json.loads(told["categories"]) == {"color": COLORS, "size": SIZES}
    classify = edgefed.__path__[0] + "/../experiments/devices/classify.py"
    monkeypatch.setattr("sys.argv", ["classify.py", str(model), str(folder / "holes.csv")])
    runpy.run_path(classify)
    found = capsys.readouterr().out.splitlines()
    assert found == [run.manifest["classes"][place] for place in expected.argmax(1)]
    (tmp_path / "new.csv").write_text("length,size,color\n1,S,NA\n?,,blue\n")
    monkeypatch.setattr("sys.argv", ["classify.py", str(model), str(tmp_path / "new.csv")])
    runpy.run_path(classify)
    expected = edgefed.predict(run, tmp_path / "new.csv")
    found = capsys.readouterr().out.splitlines()
    assert found == [run.manifest["classes"][place] for place in expected.argmax(1)]
    (tmp_path / "new.csv").write_text("length,color\n1,blue\n")
    with pytest.raises(SystemExit, match=r"new.csv has no column size"):
        runpy.run_path(classify)
    (tmp_path / "new.csv").write_text("length,size,color\n1,S,blue\n2,XL,blue\n")
    monkeypatch.setattr("sys.argv", ["classify.py", str(model), str(tmp_path / "new.csv")])
    with pytest.raises(SystemExit, match="size is XL, and the model knows S, M, none"):
        runpy.run_path(classify)


def test_the_command_names_a_value_that_the_model_does_not_know(folder, tmp_path, monkeypatch, capsys):
    edgefed.run(config_of(folder / "full.csv", LISTED, num_server_rounds=1), out=tmp_path / "run", progress=False)
    new = tmp_path / "new.csv"
    new.write_text("length,size,color\n1,S,blue\n2,XL,blue\n")
    monkeypatch.setattr("sys.argv", ["edgefed", "predict", str(tmp_path / "run"), str(new)])
    assert _exit_code() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"edgefed: {new}: row 3, column 'size': 'XL' is none of its categories (S, M, none)\n"
    new.write_text("length,size,color\n1,S,blue\n")
    assert _exit_code() == 0
    assert [row["predicted"] in ("no", "yes") for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [True]
    assert Run.read(tmp_path / "run").manifest["features"][3] == "length"
