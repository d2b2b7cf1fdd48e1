"""The query round: pooled moments and class counts from additive statistics, and nothing that nobody needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from federations import ENGINES, Recorder, queried, settings
from sklearn.preprocessing import StandardScaler

from edgefed.api.assembly import in_process
from edgefed.data.datasets import Dataset
from edgefed.data.partition import from_owners
from edgefed.data.shards import FederatedData, federate
from edgefed.engines import make_engine
from edgefed.errors import FederationError
from edgefed.federation.messages import CONFIG, METRICS
from edgefed.federation.query import query
from edgefed.imbalance import REMEDIES

CLIENTS = 6


def shared_out(features, owners, **changes):
    """Return settings and data in which client ``owners[i]`` trains on row i; the last 40 rows are the server's."""
    rng = np.random.default_rng(5)
    features = np.asarray(features, np.float32)
    labels = rng.integers(0, 3, len(features) + 40)
    names = tuple(f"x{place}" for place in range(features.shape[1]))
    everything = np.concatenate([features, np.ones((40, features.shape[1]), np.float32)])
    dataset = Dataset(everything, labels, names, ("a", "b", "c"))
    config = settings(num_clients=CLIENTS, partition="iid", long_tail=1.0, **changes)
    _, data = federate(config, dataset)
    train = from_owners(np.asarray(owners), CLIENTS)
    return config, FederatedData(dataset, data.split, replace(data.shards, train=train))


def guidance_of(config, data, engine):
    return queried(config, make_engine(engine), data)[0].guidance


def awkward_columns(rows=200):
    """Return columns on which a careless sum of squares fails."""
    rng = np.random.default_rng(3)
    return np.stack(
        [
            rng.normal(size=rows),
            1e6 + rng.normal(size=rows),  # a mean a million times the deviation
            1e-6 * rng.normal(size=rows),
            np.full(rows, 7.25),  # constant
            np.full(rows, 0.1),  # constant, and not a float32 number's double
            np.where(np.arange(rows) == 17, 1.0, 0.0),  # one row apart from the rest
            -3e4 + 1e3 * rng.normal(size=rows),
        ],
        axis=1,
    )


#: Client 4 holds one row, client 5 none.
OWNERS = np.concatenate([[4], np.random.default_rng(4).integers(0, 4, 199)])


@pytest.mark.parametrize("engine", ENGINES)
def test_pooled_moments_are_those_of_the_pooled_rows(engine):
    features = awkward_columns()
    config, data = shared_out(features, OWNERS)

    guidance = guidance_of(config, data, engine)

    pooled = StandardScaler().fit(features.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(guidance.mean, pooled.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(guidance.scale, pooled.scale_, rtol=1e-6)
    assert guidance.scale[3] == guidance.scale[4] == 1
    assert data.shards.train.sizes.tolist()[4:] == [1, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_cells_are_left_out_of_the_moments(engine):
    features = awkward_columns()
    empty = np.random.default_rng(6).random(features.shape) < 0.3
    empty[OWNERS == 2, 0] = True  # a client that has nothing of a feature
    empty[0] = True  # the client with one row has nothing at all
    features[empty] = np.nan
    config, data = shared_out(features, OWNERS, missing="mean", standardize="federated")

    guidance = guidance_of(config, data, engine)

    pooled = StandardScaler().fit(features.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(guidance.mean, pooled.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(guidance.scale, pooled.scale_, rtol=1e-6)


def test_a_feature_that_no_training_row_has_is_harmless():
    features = awkward_columns()
    features[:, 0] = np.nan
    config, data = shared_out(features, OWNERS, missing="mean")

    guidance = guidance_of(config, data, "batched")

    assert (guidance.mean[0], guidance.scale[0]) == (0, 1)


def test_the_servers_rows_have_no_say():
    """The moments are the training rows' alone: validation and test rows would leak."""
    config, data = federate(settings(long_tail=1.0, client_test_fraction=0.3))
    guidance = guidance_of(config, data, "batched")
    own = data.shards.train.indices
    pooled = StandardScaler().fit(data.dataset.features[own].astype(np.float64))

    np.testing.assert_allclose(guidance.mean, pooled.mean_, rtol=1e-12)
    np.testing.assert_allclose(guidance.scale, pooled.scale_, rtol=1e-12)
    moved = data.dataset.features.copy()
    moved[np.setdiff1d(np.arange(len(moved)), own)] += 100
    elsewhere = replace(
        data, dataset=replace(data.dataset, features=moved), shards=replace(data.shards, features=moved)
    )
    again = guidance_of(config, elsewhere, "batched")
    assert again.mean.tobytes() == guidance.mean.tobytes()
    assert again.scale.tobytes() == guidance.scale.tobytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_class_counts_are_exact(engine):
    config, data = federate(settings(imbalance="post-hoc", num_clients=30))

    guidance = guidance_of(config, data, engine)

    own = data.dataset.labels[data.shards.train.indices]
    assert guidance.class_counts.tolist() == [int((own == label).sum()) for label in range(3)]


def messages_of_a_query(config):
    recorder = Recorder(make_engine("batched"))
    config, data = federate(config)
    federation = in_process(config, data, recorder.engine)
    query([federation], recorder.exchange, [range(config.num_clients)])
    (sent, answered) = recorder.exchanges[0]
    return list(sent), list(answered)


@pytest.mark.parametrize("name", REMEDIES)
def test_class_counts_leave_a_client_only_for_a_remedy_that_needs_them(name):
    sent, answered = messages_of_a_query(settings(imbalance=name))

    needs = REMEDIES[name].needs_global_counts
    assert {bool(message.content.config_records[CONFIG]["class-counts"]) for message in sent} == {needs}
    assert {"class-counts" in reply.content.metric_records[METRICS] for reply in answered} == {needs}
    assert all(reply.content.array_records == {} for reply in answered)


@pytest.mark.parametrize("standardize", ["federated", "local", "none"])
def test_moments_leave_a_client_only_where_features_are_scaled(standardize):
    _, answered = messages_of_a_query(settings(standardize=standardize))

    found = {"feature-mean" in reply.content.metric_records[METRICS] for reply in answered}
    assert found == {standardize != "none"}


def test_a_query_reveals_counts_and_moments_and_nothing_else():
    _, answered = messages_of_a_query(settings(imbalance="post-hoc"))

    assert {key for reply in answered for key in reply.content.metric_records[METRICS]} == {
        "partition-id",
        "num-examples",
        "num-held-out",
        "feature-count",
        "feature-mean",
        "feature-m2",
        "class-counts",
    }


def test_local_standardisation_scales_each_client_by_its_own_rows():
    """A constant feature and a shard of one row have scale 1, as StandardScaler has it."""
    features = awkward_columns()
    config, data = shared_out(features, OWNERS, standardize="local", dtype="float64")
    federation, _ = queried(config, data=data)

    weights = torch.from_numpy(federation.weights)
    ready = federation.grid.clients.cohort(federation.guidance, np.arange(CLIENTS), weights, 1)

    for client, rows in enumerate(data.shards.train.rows(client) for client in range(CLIENTS)):
        if not len(rows):
            continue
        expected = StandardScaler().fit_transform(data.dataset.features[rows].astype(np.float64))
        start = int(ready.starts[client])
        found = ready.features[start : start + len(rows)].numpy()
        np.testing.assert_allclose(found[:, [0, 2, 3, 4, 5, 6]], expected[:, [0, 2, 3, 4, 5, 6]], atol=1e-9)
        np.testing.assert_allclose(found[:, 1], expected[:, 1], atol=1e-6)


def test_clients_that_do_not_answer_are_named():
    config, data = federate(settings())
    engine = make_engine("batched")
    federation = in_process(config, data, engine)

    with pytest.raises(FederationError, match=r"8 of 10 clients answered the query.*: 3, 5"):
        query([federation], engine.exchange, [[0, 1, 2, 4, 6, 7, 8, 9]])


def test_a_federation_without_a_training_row_says_so():
    config, data = shared_out(awkward_columns(), OWNERS)
    nothing = from_owners(np.empty(0, np.int64), CLIENTS)
    empty = replace(data, shards=replace(data.shards, train=nothing))

    with pytest.raises(FederationError, match="no client has a row to train on"):
        queried(config, data=empty)
