"""The exported model: onnxruntime and ``predict`` agree, on every dataset and whatever the settings put into it."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import edgefed
from edgefed.api.export import export_onnx
from edgefed.cli import _exit_code
from edgefed.config import FederationConfig
from edgefed.data.datasets import load
from edgefed.errors import SettingsError

CASES = {
    "iris": {},
    "wine": {"dataset": "wine", "imbalance": "post-hoc", "alpha": 0.1},
    "breast-cancer": {"dataset": "breast-cancer", "hidden": "32-16", "activation": "tanh"},
    "digits": {"dataset": "digits", "hidden": "", "imbalance": "balanced-softmax"},
    "fcube": {"dataset": "fcube", "partition": "natural", "activation": "sigmoid"},
    "fedprox-synthetic": {"dataset": "fedprox-synthetic", "partition": "natural", "hidden": ""},
    "not scaled": {"standardize": "none"},
    "double precision": {"dtype": "float64", "imbalance": "post-hoc", "long_tail": 10.0},
}


def run_of(**changes):
    return edgefed.run(FederationConfig(**({"num_server_rounds": 3} | changes)), progress=False)


def answers(path, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = ["label", "class", "probabilities"]
    return dict(zip(names, session.run(names, {"features": rows.astype(np.float32)}), strict=True)), session


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_onnxruntime_and_predict_agree(tmp_path, changes):
    run = run_of(**changes)
    rows = load(run.config).features
    rows = np.concatenate([rows, 1e3 * rows[:5]])  # far from the training rows, where a softmax saturates

    found, session = answers(export_onnx(run, tmp_path / "model.onnx"), rows)

    expected = edgefed.api.predict(run, rows)
    assert np.abs(found["probabilities"] - expected).max() <= 1e-6
    assert found["probabilities"].dtype == np.float64
    sure = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 1e-6
    assert (found["class"] == expected.argmax(1))[sure].all()
    assert found["label"].tolist() == [run.manifest["classes"][place] for place in found["class"]]
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["features"]) == run.manifest["features"]
    assert json.loads(told["classes"]) == run.manifest["classes"]
    assert told["model_sha256"] == run.summary["model_sha256"]


def test_an_empty_cell_counts_as_the_mean(tmp_path):
    run = run_of()
    rows = load(run.config).features[:20].copy()
    rows[::3, 1] = np.nan
    found, _ = answers(export_onnx(run, tmp_path / "model.onnx"), rows)
    filled = np.where(np.isnan(rows), run.manifest["prediction"]["mean"], rows)
    assert np.abs(found["probabilities"] - edgefed.api.predict(run, filled)).max() <= 1e-6


def test_the_file_is_one_that_old_runtimes_read(tmp_path):
    model = onnx.load(export_onnx(run_of(), tmp_path / "model.onnx"))
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 17)])


def test_the_command_writes_into_the_runs_folder_or_where_it_is_told(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    edgefed.run(FederationConfig(num_server_rounds=1), out=folder, progress=False)
    for arguments, path in (([], folder / "model.onnx"), (["--out", str(tmp_path / "m.onnx")], tmp_path / "m.onnx")):
        monkeypatch.setattr("sys.argv", ["edgefed", "export", str(folder), "--format", "onnx", *arguments])
        assert _exit_code() == 0
        assert capsys.readouterr().out == f"{path}\n"
        assert path.is_file()
    monkeypatch.setattr("sys.argv", ["edgefed", "export", str(folder), "--format", "pickle"])
    assert _exit_code() == 2


def test_without_onnx_one_line_says_what_to_install(tmp_path, monkeypatch):
    run = run_of(num_server_rounds=1)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SettingsError, match=r"pip install 'edgefed\[export\]'"):
        export_onnx(run, tmp_path / "model.onnx")
