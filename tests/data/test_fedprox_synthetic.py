"""FedProx's Synthetic sets: the distributions that its paper gives, and the clients that it has."""

import numpy as np
import pytest

from edgefed.config import FederationConfig, SettingsError
from edgefed.data.datasets import load
from edgefed.data.shards import federate


def rows(synthetic):
    return load(FederationConfig(dataset="fedprox-synthetic", synthetic=synthetic))


def by_client(dataset):
    return [dataset.features[dataset.clients == client].astype(float) for client in range(30)]


def test_thirty_clients_of_log_normal_sizes():
    found = rows("1,1")
    sizes = np.bincount(found.clients)

    assert (len(sizes), found.features.shape[1], found.num_classes) == (30, 60, 10)
    assert sizes.min() >= 50
    logs = np.log(np.maximum(sizes - 50, 1))
    assert abs(logs.mean() - 4) < 5 * 2 / np.sqrt(30)
    assert (sizes == np.bincount(rows("iid").clients)).all()


def test_features_have_the_papers_spread():
    """Sigma_jj = j^-1.2, within a client: pooled over clients, whose sizes sum to some 20,000 rows."""
    centred = np.concatenate([part - part.mean(0) for part in by_client(rows("1,1"))])
    variance = centred.var(0) * len(centred) / (len(centred) - 30)

    expected = np.arange(1, 61) ** -1.2
    assert np.abs(variance / expected - 1).max() < 5 * np.sqrt(2 / len(centred))


def test_alpha_and_beta_spread_clients_apart():
    """v_k ~ N(B_k, 1): a client's mean over features is B_k to 1 / sqrt(60), so clients' means have SD ~ beta."""
    spread = {text: np.std([part.mean() for part in by_client(rows(text))]) for text in ("0,0", "0,3", "iid")}

    assert spread["iid"] < 0.05
    assert spread["0,0"] < 2 / np.sqrt(60)
    assert 2 < spread["0,3"] < 4.5


def test_iid_labels_follow_one_model_and_the_others_do_not():
    """A softmax regression on half of the clients predicts the others' labels only where they share W and b."""
    from sklearn.linear_model import LogisticRegression

    scores = {}
    for text in ("iid", "1,1"):
        found = rows(text)
        sizes = np.bincount(found.clients)
        few = np.concatenate([np.flatnonzero(found.clients == k)[:60] for k in range(30) if sizes[k] >= 60])
        even, odd = few[found.clients[few] % 2 == 0], few[found.clients[few] % 2 == 1]
        fitted = LogisticRegression(max_iter=300).fit(found.features[even], found.labels[even])
        scores[text] = fitted.score(found.features[odd], found.labels[odd])
    assert scores["iid"] > 0.7
    assert scores["1,1"] < 0.5


def test_its_own_clients_are_a_natural_partition():
    config, data = federate(
        FederationConfig(dataset="fedprox-synthetic", partition="natural", test_fraction=0.1, validation_fraction=0.0)
    )
    assert config.num_clients == 30
    assert (data.shards.train.sizes > 0).all()
    assert abs(len(data.split.test) / len(data.dataset.labels) - 0.1) < 0.001


@pytest.mark.parametrize("text", ["1", "1,1,1", "a,b", "-1,1", "1,1000", "IID"])
def test_parameters_that_are_none(text):
    with pytest.raises(SettingsError, match=r"synthetic=.*expected alpha,beta from 0 to 100 each"):
        FederationConfig(synthetic=text)
