"""SMOTE and its kin, undersampling and balanced batches: what they make, and what tiny shards do to them."""

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from shards_by_hand import AWKWARD, everyone, holding
from sklearn.neighbors import NearestNeighbors

from edgefed.config import FederationConfig
from edgefed.federation.clients import Clients
from edgefed.imbalance import REMEDIES
from edgefed.learning.batches import batches
from edgefed.learning.cohort import join
from edgefed.learning.schedule import Schedule

MAKERS = ["smote", "borderline-smote", "smote-tomek", "smoothed-bootstrap"]


def remedy_of(name, **changes):
    return REMEDIES[name](FederationConfig(imbalance=name, **changes))


def drawn(name, counts, seed=0, features=None, **changes):
    labels = np.repeat(np.arange(len(counts)), counts)
    if features is None:
        features = np.random.default_rng(1).normal(size=(len(labels), 3)) + labels[:, None]
    return remedy_of(name, **changes).draw(features, labels, np.random.default_rng(seed)), features, labels


# ---------------------------------------------------------------------------------------------- made rows
@pytest.mark.parametrize("name", MAKERS[:2] + MAKERS[3:])
def test_classes_are_levelled_and_every_row_is_kept(name):
    draw, _, labels = drawn(name, [30, 8, 12])

    assert draw.rows.tolist() == list(range(50))
    made = np.bincount(draw.made_labels, minlength=3)
    assert made[0] == 0
    assert all(made[c] in (0, 30 - n) for c, n in enumerate([30, 8, 12]))
    assert name == "borderline-smote" or made.tolist() == [0, 22, 18]
    assert np.isfinite(draw.made_features).all()
    assert len(labels) == 50


def test_smote_interpolates_between_a_row_and_one_of_its_nearest_of_the_class():
    draw, features, labels = drawn("smote", [30, 8, 12], smote_neighbors=3)
    for made, label in zip(draw.made_features, draw.made_labels, strict=True):
        own = features[labels == label]
        near = NearestNeighbors(n_neighbors=4).fit(own).kneighbors(own)[1][:, 1:]
        assert any(_between(made, own[row], own[other]) for row in range(len(own)) for other in near[row])


def _between(point, first, second):
    along, off = second - first, point - first
    share = off @ along / (along @ along)
    return -1e-9 <= share <= 1 + 1e-9 and np.allclose(first + share * along, point, atol=1e-9)


def test_with_fewer_rows_than_neighbours_k_is_what_there_is():
    """imbalanced-learn raises at 3 rows and 5 neighbours; with 2 neighbours it does not."""
    features = np.random.default_rng(0).normal(size=(13, 2))
    labels = np.repeat([0, 1], [10, 3])
    with pytest.raises(ValueError, match="n_neighbors"):
        SMOTE().fit_resample(features, labels)

    draw, _, _ = drawn("smote", [10, 3])

    assert draw.made_labels.tolist() == [1] * 7
    assert draw.notes == ((1, "3 rows: 2 of 5 neighbours"),)


@pytest.mark.parametrize("name", MAKERS)
def test_a_class_of_one_row_is_repeated_with_jitter(name):
    draw, features, labels = drawn(name, [6, 1])
    lone = features[labels == 1][0]

    assert (1, "one row: repeated with jitter") in draw.notes
    made = draw.made_features[draw.made_labels == 1]
    assert 1 <= len(made) <= 5
    assert not np.isin(made, lone).any()
    assert (np.abs(made - lone) < 6 * 0.1 * features.std(0)).all()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("counts", [[0, 0], [1, 0], [0, 5], [5]], ids=str)
def test_one_class_or_nothing_is_as_it_is(name, counts):
    draw, _, labels = drawn(name, counts)

    assert draw.rows.tolist() == list(range(len(labels)))
    assert draw.made_features is None
    assert draw.notes == ()


def test_absent_classes_are_nothing_to_do():
    draw, _, _ = drawn("smote", [9, 0, 3])

    assert np.bincount(draw.made_labels, minlength=3).tolist() == [0, 0, 6]


def test_without_a_row_on_the_border_borderline_smote_says_so():
    """Two clouds far apart: no row has neighbours of the other class. imbalanced-learn returns the data in silence."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(20, 2)), rng.normal(size=(14, 2)) + 100])
    draw, _, _ = drawn("borderline-smote", [20, 14], features=features)

    assert draw.made_features is None
    assert draw.notes == ((1, "no row on the border: as it is"),)


def test_smote_tomek_takes_links_away_but_never_a_whole_class():
    """Rows 1.0 and 1.1 are each other's nearest and of two classes: a Tomek link. The last row of a class stays."""
    features = np.array([[0.0], [0.1], [1.0], [1.1], [5.0], [5.1]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    draw = remedy_of("smote-tomek").draw(features, labels, np.random.default_rng(0))
    assert draw.rows.tolist() == [0, 1, 4, 5]

    lone = remedy_of("smote-tomek").draw(np.array([[0.0], [0.1]]), np.array([0, 1]), np.random.default_rng(0))
    assert lone.rows.tolist() == [0, 1]
    assert lone.notes == ((0, "all rows lie in Tomek links: kept"), (1, "all rows lie in Tomek links: kept"))


def test_smoothed_bootstrap_scatters_by_the_classs_own_spread():
    """Menardi & Torelli: bandwidth s (4 / ((d + 2) n))^(1/(d + 4)) x SD of the class, here d = 1, n = 400, s = 1."""
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(4400, 1)), 50 + 2 * rng.normal(size=(400, 1))])
    draw, _, _ = drawn("smoothed-bootstrap", [4400, 400], features=features)
    bandwidth = (4 / (3 * 400)) ** 0.2 * features[4400:].std(ddof=1)

    assert draw.made_features.std() == pytest.approx(np.hypot(features[4400:].std(), bandwidth), rel=0.03)
    shrunk, _, _ = drawn("smoothed-bootstrap", [4400, 400], features=features, bootstrap_shrinkage=0.0)
    assert np.isin(shrunk.made_features, features).all()


# ---------------------------------------------------------------------------------------------- fewer rows
def test_undersampling_levels_to_the_rarest_class_that_is_there():
    draw, _, labels = drawn("random-undersampling", [9, 0, 3, 5])

    assert np.bincount(labels[draw.rows], minlength=4).tolist() == [3, 0, 3, 3]
    assert len(set(draw.rows.tolist())) == 9
    assert draw.made_features is None


# ---------------------------------------------------------------------------------------------- balanced batches
def labels_of_batches(counts, rounds=200, batch_size=10, name="balanced-batches"):
    """Return the labels of each step of many rounds [rounds, steps, clients, width], and which are rows."""
    config, data = holding(counts, imbalance=name, batch_size=batch_size, local_epochs=2)
    cohort = everyone(Clients(config, data.shards))
    schedule = Schedule(batch_size, 2)
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    found, real = [], []
    for number in range(rounds):
        cohort.rounds[:] = number
        rows, share = batches(schedule, cohort, steps)
        found.append(cohort.targets[rows].argmax(-1).numpy())
        real.append((share > 0).numpy())
    return np.stack(found), np.stack(real), steps


def test_every_class_that_a_client_holds_is_as_likely_in_a_step():
    counts = [[27, 2, 1, 0], [0, 8, 2, 0]]
    labels, real, steps = labels_of_batches(counts)
    for client, row in enumerate(counts):
        drawn_labels = labels[:, : steps[client], client][real[:, : steps[client], client]]
        shares = np.bincount(drawn_labels, minlength=4) / len(drawn_labels)
        held = np.array(row) > 0
        assert not shares[~held].any()
        # 200 rounds of at least 20 draws: the SD of a share is below 0.008.
        np.testing.assert_allclose(shares[held], 1 / held.sum(), atol=0.035)


def test_rows_and_steps_stay_as_without_it():
    counts = [[27, 2, 1, 0], [5, 0, 0, 0], [0, 8, 3, 0]]
    _, real, steps = labels_of_batches(counts, rounds=1)
    _, plain, plain_steps = labels_of_batches(counts, rounds=1, name="none")

    assert steps.tolist() == plain_steps.tolist()
    assert (real == plain).all()


def test_every_row_of_a_class_is_as_likely():
    config, data = holding([[4, 2, 0]], imbalance="balanced-batches", batch_size=6, local_epochs=1)
    cohort = everyone(Clients(config, data.shards))
    seen = np.zeros(6)
    for number in range(2000):
        cohort.rounds[:] = number
        rows, _ = batches(Schedule(6, 1), cohort, np.array([1]))
        seen += np.bincount(rows.numpy().ravel(), minlength=6)

    # 12,000 draws: a row of the first class has probability 1/8, of the second 1/4; the SD of a share is below 0.004.
    np.testing.assert_allclose(seen / seen.sum(), [1 / 8] * 4 + [1 / 4] * 2, atol=0.016)


def test_a_shard_of_one_class_is_walked_through_as_it_is():
    config, data = holding(AWKWARD, imbalance="balanced-batches")
    cohort = everyone(Clients(config, data.shards))

    assert cohort.balance.any(1).tolist() == [sum(n > 0 for n in row) > 1 for row in AWKWARD]


def test_a_balanced_clients_steps_are_its_own():
    """Joined with clients that walk through their rows, and with wider batches than its own."""
    config, data = holding([[9, 3, 1]], imbalance="balanced-batches")
    alone = everyone(Clients(config, data.shards))
    walkers = everyone(Clients(*_other(holding([[40, 1, 1], [3, 3, 3]], imbalance="none"))))
    together = join([walkers, alone])
    schedule = Schedule(10, 2)

    def rows_of(cohort, client):
        rows, _ = batches(schedule, cohort, schedule.steps(cohort.drawn_rows, cohort.shard_rows))
        return rows[: 2 * 2, client] - int(cohort.starts[client])

    torch.testing.assert_close(rows_of(together, 2), rows_of(alone, 0))
    assert together.balance.tolist() == [[0, 0, 0], [0, 0, 0], [9, 3, 1]]


def _other(made):
    config, data = made
    return config, data.shards
