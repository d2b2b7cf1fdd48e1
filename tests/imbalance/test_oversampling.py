"""Random oversampling: level classes, every row kept, and the rest of training as it was."""

import numpy as np
import pytest
from federations import queried
from shards_by_hand import AWKWARD, everyone, holding, one_round

from edgefed.config import FederationConfig
from edgefed.federation.clients import Clients
from edgefed.federation.rounds import run_rounds
from edgefed.imbalance import REMEDIES
from edgefed.rng import stream

OVERSAMPLING = REMEDIES["random-oversampling"](FederationConfig(imbalance="random-oversampling"))


@pytest.mark.parametrize("counts", [[9, 3, 1], [1, 1, 7], [2, 0, 5]], ids=str)
def test_classes_are_levelled_to_the_largest_and_every_row_is_kept(counts):
    labels = np.repeat(np.arange(3), counts)
    rows = OVERSAMPLING.draw(np.zeros((len(labels), 2)), labels, np.random.default_rng(0)).rows

    assert rows[: len(labels)].tolist() == list(range(len(labels)))
    after = np.bincount(labels[rows], minlength=3)
    assert after.tolist() == [max(counts) if count else 0 for count in counts]


@pytest.mark.parametrize("counts", [[5, 0, 0], [0, 1, 0], [0, 0, 0], [3, 3, 3]], ids=str)
def test_below_two_classes_or_level_the_shard_is_as_it_is(counts):
    labels = np.repeat(np.arange(3), counts)

    draw = OVERSAMPLING.draw(np.zeros((len(labels), 2)), labels, np.random.default_rng(0))

    assert draw.rows.tolist() == list(range(len(labels)))


def test_which_rows_are_repeated_is_chance():
    """Nine repeats of one of two rows, 200 times: each row comes up about 900 times, sd sqrt(1800 / 4) = 21."""
    labels = np.array([0] * 11 + [1] * 2)
    counts = np.zeros(13, int)
    for seed in range(200):
        counts += np.bincount(OVERSAMPLING.draw(np.zeros((13, 1)), labels, np.random.default_rng(seed)).rows, None, 13)

    assert (counts[:11] == 200).all()
    assert counts[11:].sum() == 200 * 11
    assert abs(counts[11] - 1100) < 5 * 21.3


def drawn_labels(clients):
    """Return the class counts of what each client trains on."""
    cohort = everyone(clients)
    labels = cohort.targets.argmax(1).numpy()
    return [
        np.bincount(labels[start : start + rows], minlength=4).tolist()
        for start, rows in zip(cohort.starts, cohort.drawn_rows, strict=True)
    ]


def test_each_client_trains_on_its_own_rows_levelled():
    config, data = holding(AWKWARD, imbalance="random-oversampling")
    clients = Clients(config, data.shards)

    assert drawn_labels(clients) == [[max(row) if count else 0 for count in row] for row in AWKWARD]
    cohort = everyone(clients)
    plain = everyone(Clients(config.replace(imbalance="none"), data.shards))
    for client in range(len(AWKWARD)):
        own = {tuple(row) for row in _rows_of(plain, client)}
        assert {tuple(row) for row in _rows_of(cohort, client)} == own


def _rows_of(cohort, client):
    start, rows = int(cohort.starts[client]), int(cohort.drawn_rows[client])
    return cohort.features[start : start + rows].tolist()


def test_a_device_draws_what_the_simulator_draws_for_it():
    config, data = holding(AWKWARD, imbalance="random-oversampling")
    together = everyone(Clients(config, data.shards))
    for client, counts in enumerate(AWKWARD):
        labels = np.repeat(np.arange(4), counts)
        rows = OVERSAMPLING.draw(np.zeros((len(labels), 1)), labels, stream(config.seed, "resampling", 0, client)).rows
        own = np.flatnonzero(np.repeat(np.arange(len(AWKWARD)), np.sum(AWKWARD, axis=1)) == client)
        found = together.targets[int(together.starts[client]) :][: int(together.drawn_rows[client])].argmax(1)
        assert found.tolist() == data.dataset.labels[own][rows].tolist()


@pytest.mark.parametrize(("match", "steps"), [("steps", 2 * 4), ("epochs", 2 * 7)])
def test_steps(match, steps):
    """13 rows as 9, 3, 1 in batches of 4: 4 steps an epoch; levelled to 27 they ask for 7."""
    config, data = holding([[9, 3, 1]], imbalance="random-oversampling", batch_size=4, local_epochs=2, match=match)

    assert one_round(Clients(config, data.shards)).steps.tolist() == [steps]


def test_the_average_weighs_clients_by_their_own_rows():
    """13 and 10 rows, trained on 27 and 10: the average is (13 a + 10 b) / 23."""
    config, data = holding(
        [[9, 3, 1], [10, 0, 0]], imbalance="random-oversampling", dtype="float64", num_server_rounds=1
    )
    clients = Clients(config, data.shards)
    after = one_round(clients).params.numpy()
    federation, engine = queried(config, data=data)

    run_rounds([federation], engine.exchange)

    assert federation.clients[0].rows.tolist() == [13, 10]
    np.testing.assert_allclose(federation.weights, (13 * after[0] + 10 * after[1]) / 23, rtol=0, atol=1e-12)
