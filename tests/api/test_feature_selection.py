"""Forward selection by federations: it finds what tells the class, and no test row has a say."""

from dataclasses import replace

import numpy as np
import pytest

import edgefed
from edgefed.api import selection
from edgefed.config import FederationConfig
from edgefed.data.datasets import Dataset
from edgefed.data.shards import federate

CONFIG = FederationConfig(
    num_clients=4, partition="iid", num_server_rounds=6, local_epochs=2, learning_rate=0.5, hidden="8"
)


def planted(rows=120):
    """Three classes; x2 tells one, x4 the other two; x1, x3 and x5 are noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    x = rng.normal(size=(rows, 5))
    x[:, 1] += 6 * (labels == 0)
    x[:, 3] += 6 * (labels == 1)
    return Dataset(x.astype(np.float32), labels.astype(np.int64), ("x1", "x2", "x3", "x4", "x5"), ("a", "b", "c"))


@pytest.fixture
def data(monkeypatch):
    dataset = planted()
    monkeypatch.setattr(selection, "load", lambda config: dataset)
    return dataset


def test_it_finds_the_features_that_tell_the_class(data):
    found = edgefed.select_features(CONFIG, seeds=2, most=3, progress=False)

    assert [set(order[:2]) for order in found["chosen"]] == [{"x2", "x4"}] * 2
    assert [set(order[:2]) for order in found["filter"]] == [{"x2", "x4"}] * 2
    one, two, three = (step["forward"]["mean"] for step in found["steps"])
    assert two > 0.9 > one
    assert abs(three - two) < 0.1
    assert found["times"]["x2"][1] == found["times"]["x4"][1] == 2
    assert [step["count"] for step in found["steps"]] == [1, 2, 3]
    # All features once; of each step's candidates and the filter's choice one federation, under each seed.
    assert found["federations"] == 2 * (1 + (5 + 4 + 3) + 3)


def test_test_rows_have_no_say_in_what_is_chosen(data, monkeypatch):
    """Every seed's test rows are given other features and labels: choices stay, scores change."""
    before = edgefed.select_features(CONFIG, seeds=1, most=2, progress=False)
    test = federate(CONFIG, data)[1].split.test
    features, labels = data.features.copy(), data.labels.copy()
    features[test] = np.random.default_rng(1).normal(size=features[test].shape)
    spoiled = replace(data, features=features, labels=labels)
    monkeypatch.setattr(selection, "load", lambda config: spoiled)

    after = edgefed.select_features(CONFIG, seeds=1, most=2, progress=False)

    assert after["chosen"] == before["chosen"]
    assert after["filter"] == before["filter"]
    assert after["steps"][1]["forward"]["mean"] < before["steps"][1]["forward"]["mean"] - 0.2


def test_a_score_is_that_of_a_federation_on_those_features_alone(data):
    found = edgefed.select_features(CONFIG, seeds=1, most=1, progress=False)
    place = data.feature_names.index(found["chosen"][0][0])
    alone = replace(data, features=np.ascontiguousarray(data.features[:, [place]]), feature_names=("x",))

    model = edgefed.FederatedClassifier(
        num_clients=4, num_server_rounds=6, local_epochs=2, learning_rate=0.5, hidden="8", dtype="float32"
    )
    shared = federate(CONFIG, alone)[1]
    clients = np.repeat(np.arange(4), shared.shards.train.sizes)
    rows = shared.shards.train.indices
    model.fit(alone.features[rows], alone.labels[rows], clients=clients)
    test = shared.split.test
    hits = model.predict(alone.features[test]) == alone.labels[test]
    recalls = [hits[alone.labels[test] == label].mean() for label in range(3)]
    assert found["steps"][0]["forward"]["values"][0] == pytest.approx(np.mean(recalls), abs=1e-9)


def test_without_validation_rows_there_is_nothing_to_choose_by(data):
    with pytest.raises(edgefed.SettingsError, match=r"validation-fraction=0: .* 0\.2 would do"):
        edgefed.select_features(CONFIG.replace(validation_fraction=0.0), seeds=1, progress=False)
