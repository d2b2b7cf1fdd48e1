"""A run's model is an ordinary torch module, and predicts what the run said it predicts."""

import csv
import io
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from federations import settings, trained
from sklearn.metrics import balanced_accuracy_score, log_loss

import edgefed
from edgefed import api
from edgefed.config import SettingsError
from edgefed.data.shards import federate

CASES = {
    "default": {},
    "two layers, tanh": {"hidden": "12-8", "activation": "tanh"},
    "none": {"hidden": ""},
    "float64": {"dtype": "float64"},
    "post-hoc": {"imbalance": "post-hoc"},
    "features as they are": {"standardize": "none", "learning_rate": 0.01},
    "local": {"standardize": "local"},
    "wine": {"dataset": "wine"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_module_predict_and_the_runs_own_score_agree(case):
    config, data = federate(settings(**CASES[case]))
    run, _ = trained(config)
    rows = data.split.test
    features, labels = data.dataset.features[rows], data.dataset.labels[rows]

    module = edgefed.load_model(run)
    probabilities = api.predict(run, features)

    assert isinstance(module, torch.nn.Module)
    assert not module.training
    assert {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()} == {
        name: array.tobytes() for name, array in run.weights.items()
    }
    known = run.manifest["prediction"]
    ready = features.astype(np.float64)
    if config.standardize != "none":
        ready = (ready - known["mean"]) / known["scale"]
    with torch.no_grad():
        logits = module(torch.from_numpy(ready).to(next(module.parameters()).dtype)).double()
    by_module = torch.softmax(logits + torch.tensor(known["logit_shift"], dtype=torch.float64), 1).numpy()
    np.testing.assert_allclose(probabilities, by_module, rtol=0, atol=1e-12)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    assert balanced_accuracy_score(labels, probabilities.argmax(1)) == pytest.approx(
        run.summary["test"]["balanced_accuracy"], abs=1e-12
    )
    # With a tail, test rows stand for the data's own mix.
    mix = np.bincount(data.dataset.labels) / np.bincount(labels) if len(data.split.dropped) else np.ones(3)
    loss = log_loss(labels, probabilities, labels=[0, 1, 2], sample_weight=mix[labels])
    assert loss == pytest.approx(run.summary["test"]["log_loss"], rel=1e-5)


def test_from_a_folder_as_from_memory(tmp_path):
    run, _ = trained(settings(imbalance="post-hoc"), out=tmp_path / "run")
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 1.8]])

    for source in (run, tmp_path / "run", str(tmp_path / "run")):
        assert edgefed.predict(source, rows).tobytes() == api.predict(run, rows).tobytes()
        assert edgefed.load_model(source).state_dict().keys() == run.weights.keys()


def test_loading_does_not_touch_the_run():
    """Training the module on must not change what the run holds."""
    run, _ = trained(settings())
    before = {name: array.copy() for name, array in run.weights.items()}
    module = edgefed.load_model(run)

    for parameter in module.parameters():
        with torch.no_grad():
            parameter.add_(1)

    assert all(np.array_equal(run.weights[name], array) for name, array in before.items())


def test_the_module_can_be_pickled_and_trained_like_any_other():
    run, _ = trained(settings())
    module = pickle.loads(pickle.dumps(edgefed.load_model(run)))
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)

    loss = torch.nn.functional.cross_entropy(module(torch.zeros(2, 4)), torch.tensor([0, 1]))
    loss.backward()
    optimiser.step()

    assert not np.array_equal(module.state_dict()["2.bias"].numpy(), run.weights["2.bias"])


def written(path, columns, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    path.write_text(text.getvalue())
    return path


def test_rows_of_a_csv_in_any_order_of_columns(tmp_path):
    run, _ = trained(settings())
    names = run.manifest["features"]
    rows = [[5.1, 3.5, 1.4, 0.2], [6.3, 2.9, 5.6, 1.8]]
    turned = written(tmp_path / "rows.csv", ["note", *reversed(names)], [["x", *reversed(row)] for row in rows])

    assert api.predict(run, turned).tobytes() == api.predict(run, np.array(rows)).tobytes()


def test_rows_that_do_not_fit_are_refused(tmp_path):
    run, _ = trained(settings())
    names = run.manifest["features"]

    with pytest.raises(SettingsError, match=re.escape(f"no column '{names[3]}', which the model learned from")):
        api.predict(run, written(tmp_path / "few.csv", names[:3], [[1, 2, 3]]))
    with pytest.raises(SettingsError, match=r"rows of shape \(3,\): expected \[rows, 4\]"):
        api.predict(run, np.zeros(3))
    with pytest.raises(SettingsError, match=r"rows of shape \(2, 5\)"):
        api.predict(run, np.zeros((2, 5)))
    with pytest.raises(SettingsError, match="empty cell"):
        api.predict(run, written(tmp_path / "gap.csv", names, [[1, 2, "", 4]]))
    with pytest.raises(SettingsError, match=r"no such file; is .* a run folder"):
        edgefed.load_model(tmp_path / "nowhere")


def test_rows_of_a_data_frame_go_by_name_and_lists_as_arrays():
    run, _ = trained(settings())
    names = run.manifest["features"]
    rows = [[5.1, 3.5, 1.4, 0.2], [6.3, 2.9, 5.6, 1.8]]
    expected = api.predict(run, np.array(rows)).tobytes()
    frame = pd.DataFrame(rows, columns=names).assign(note="x")

    assert api.predict(run, rows).tobytes() == expected
    assert api.predict(run, torch.tensor(rows, dtype=torch.float64)).tobytes() == expected
    assert api.predict(run, frame[["note", *reversed(names)]]).tobytes() == expected
    with pytest.raises(SettingsError, match=re.escape(f"data frame: no column '{names[3]}', which the model learned")):
        api.predict(run, frame.drop(columns=names[3]))
    with pytest.raises(
        SettingsError, match=re.escape(f"data frame: row 1, column '{names[0]}': 'much' is not a number")
    ):
        api.predict(run, frame.astype({names[0]: object}).replace({names[0]: {6.3: "much"}}))
    with pytest.raises(SettingsError, match=r"^data frame: two columns have the same name$"):
        api.predict(run, pd.concat([frame, frame], axis=1))
    with pytest.raises(SettingsError, match=r"rows that are no array of numbers .* expected \[rows, 4\]"):
        api.predict(run, [[1, 2, "much", 4]])


@pytest.mark.parametrize("empty", [np.nan, None])
def test_an_empty_cell_is_refused_where_nothing_fills_it(empty):
    run, _ = trained(settings())
    names = run.manifest["features"]
    rows = [[5.1, 3.5, 1.4, 0.2], [6.3, empty, 5.6, 1.8]]

    said = re.escape(f"row 1, column '{names[1]}': empty cell")
    with pytest.raises(SettingsError, match=f"^{said}.*missing=refuse"):
        api.predict(run, rows)
    with pytest.raises(SettingsError, match=f"^data frame: {said}.*missing=refuse"):
        api.predict(run, pd.DataFrame(rows, columns=names))


def test_an_empty_cell_counts_as_the_mean_where_the_run_was_trained_so(tmp_path):
    data = written(
        tmp_path / "data.csv",
        ["a", "b", "y"],
        [[place % 7, "" if place % 5 == 0 else place % 3, "uvw"[place % 3]] for place in range(90)],
    )
    config = settings(dataset="csv", data_path=str(data), missing="mean", partition="iid", num_clients=3, long_tail=1.0)
    run, _ = trained(config)
    mean = run.manifest["prediction"]["mean"]

    found = api.predict(run, written(tmp_path / "new.csv", ["a", "b"], [[3, ""], ["", 1]]))

    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, api.predict(run, np.array([[3, mean[1]], [mean[0], 1]])), atol=1e-6)
    assert found.tobytes() == api.predict(run, np.array([[3, np.nan], [np.nan, 1]])).tobytes()
    assert found.tobytes() == api.predict(run, pd.DataFrame({"b": [pd.NA, 1], "a": [3, None]})).tobytes()
