"""Partitions: every row in one shard, and the skew that each of them promises."""

import itertools
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgefed.config import FederationConfig, catalogue
from edgefed.data.partition import PARTITIONS, Partition, from_owners, partition
from edgefed.errors import SettingsError

DRAWN = sorted(set(PARTITIONS) - {"natural"})
Ints = NDArray[np.int64]


def labels_of(*counts: int) -> Ints:
    """Return so many labels of each class, mixed."""
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))


def shares(labels: Ints, rows: Ints) -> NDArray[np.float64]:
    counts = np.bincount(labels[rows], minlength=labels.max() + 1)
    return np.asarray(counts / counts.sum())


def unevenness(sizes: Ints) -> float:
    return float(((sizes / sizes.sum()) ** 2).sum())


# ---- the compressed form
shards_of_rows = st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=8)


@settings(max_examples=60)
@given(shards_of_rows, st.data())
def test_the_compressed_form_against_plain_lists(held: list[list[int]], data: st.DataObject) -> None:
    """``held`` lists each client's labels; rows are numbered client by client, then renumbered by ``mapped``."""
    labels = np.array([label for client in held for label in client], np.int64)
    starts = np.cumsum([0, *map(len, held)])
    plain = [list(range(start, stop)) for start, stop in itertools.pairwise(starts)]
    whole = Partition(starts, np.arange(len(labels)))
    assert len(whole) == len(held)
    assert whole.sizes.tolist() == [len(client) for client in held]
    assert [whole.rows(client).tolist() for client in range(len(held))] == plain
    expected = [[client.count(label) for label in range(5)] for client in held]
    assert whole.class_counts(labels, 5).tolist() == expected

    chosen = data.draw(st.lists(st.integers(0, len(held) - 1), max_size=6))
    some = whole.take(np.array(chosen, np.int64))
    assert [some.rows(place).tolist() for place in range(len(chosen))] == [plain[client] for client in chosen]
    assert some.class_counts(labels, 5).reshape(-1, 5).tolist() == [expected[client] for client in chosen]

    rows = np.cumsum(data.draw(st.lists(st.integers(1, 3), min_size=len(labels), max_size=len(labels)))).astype(
        np.int64
    )
    mapped = whole.mapped(rows)
    assert [mapped.rows(client).tolist() for client in range(len(held))] == [
        [rows[row] for row in client] for client in plain
    ]


@given(st.lists(st.integers(0, 5), max_size=30))
def test_from_owners_lists_each_clients_rows_in_order(owners: list[int]) -> None:
    found = from_owners(np.array(owners, np.int64), 6)
    for client in range(6):
        assert found.rows(client).tolist() == [row for row, owner in enumerate(owners) if owner == client]


# ---- what all of them promise
@settings(max_examples=60)
@given(
    st.sampled_from(DRAWN),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 12),
    st.integers(0, 3),
    st.sampled_from([1e-6, 0.3, 100.0]),
)
def test_every_row_is_in_one_shard(name: str, counts: list[int], clients: int, seed: int, alpha: float) -> None:
    labels = labels_of(*counts)
    each = min(len(counts), -(-len(counts) // clients))
    config = FederationConfig(
        partition=name,
        num_clients=min(clients, len(labels)),
        classes_per_client=max(each, -(-len(counts) // min(clients, len(labels)))),
        shards_per_client=1,
        alpha=alpha,
        seed=seed,
    )
    found = partition(labels, config)
    assert len(found) == config.num_clients
    assert sorted(found.indices) == list(range(len(labels)))
    assert (found.offsets[0], found.offsets[-1]) == (0, len(labels))
    for client in range(len(found)):
        assert (np.diff(found.rows(client)) > 0).all()


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_seed_gives_the_same_shards_another_seed_others(name: str) -> None:
    labels = labels_of(60, 60, 60)
    config = FederationConfig(partition=name, seed=3)
    first = partition(labels, config)
    for again in (config, FederationConfig(partition=name, seed=8, partition_seed=3, split_seed=5)):
        np.testing.assert_array_equal(partition(labels, again).indices, first.indices)
        np.testing.assert_array_equal(partition(labels, again).offsets, first.offsets)
    assert not np.array_equal(partition(labels, config.replace(seed=4)).indices, first.indices)


@pytest.mark.parametrize("name", sorted(set(DRAWN) - {"iid"}))  # whose odd rows go to the first clients
@pytest.mark.parametrize(("count", "clients", "each"), [(60, 10, 2), (5, 4, 3)])
def test_which_client_is_first_says_nothing(name: str, count: int, clients: int, each: int) -> None:
    """Over 200 seeds no client holds more than another, to within five standard errors, odd rows included."""
    labels = labels_of(count, count, count)
    config = FederationConfig(partition=name, num_clients=clients, classes_per_client=each, alpha=5)
    sizes = np.array([partition(labels, config.replace(seed=seed)).sizes for seed in range(200)])
    error = sizes.std(axis=0).max() / np.sqrt(200)
    np.testing.assert_allclose(sizes.mean(axis=0), 3 * count / clients, atol=5 * error + 1e-9)


@pytest.mark.parametrize("name", DRAWN)
def test_which_class_is_first_says_nothing(name: str) -> None:
    """The first client's rows of each class, over 200 seeds, to within five standard errors."""
    labels = labels_of(60, 60, 60)
    config = FederationConfig(partition=name, num_clients=6, alpha=5)
    counts = np.array([partition(labels, config.replace(seed=seed)).class_counts(labels, 3)[0] for seed in range(200)])
    np.testing.assert_allclose(counts.mean(axis=0), 10, atol=5 * counts.std(axis=0).max() / np.sqrt(200))


@pytest.mark.parametrize("name", DRAWN)
def test_ten_thousand_clients_take_no_time_to_speak_of(name: str) -> None:
    """A guard against work that grows with rows x clients; it takes some hundredths of a second."""
    labels = np.random.default_rng(0).integers(0, 10, 100_000)
    config = FederationConfig(partition=name, num_clients=10_000)
    begun = time.perf_counter()
    found = partition(labels, config)
    found.class_counts(labels, 10)
    found.take(np.arange(0, 10_000, 3))
    assert time.perf_counter() - begun < 5
    assert found.sizes.sum() == 100_000


def test_names_are_those_of_the_setting() -> None:
    assert list(PARTITIONS) == list(catalogue("partition"))


# ---- iid
@pytest.mark.parametrize("clients", [1, 7, 10, 181])
def test_iid_sizes_are_within_one(clients: int) -> None:
    sizes = partition(labels_of(60, 60, 60), FederationConfig(partition="iid", num_clients=clients)).sizes
    assert sizes.max() - sizes.min() <= 1


def test_iid_label_shares_are_alike() -> None:
    labels = labels_of(5000, 3000, 2000)
    found = partition(labels, FederationConfig(partition="iid", num_clients=5))
    for client in range(5):  # of 2,000 rows: a standard error of at most 0.011
        np.testing.assert_allclose(shares(labels, found.rows(client)), [0.5, 0.3, 0.2], atol=0.05)


# ---- dirichlet and quantity
@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_shares_vary_as_dirichlets_do(name: str, alpha: float) -> None:
    """A share of Dir(alpha) over K clients has variance (1/K) (1 - 1/K) / (K alpha + 1)."""
    labels = np.zeros(10_000, np.int64)
    drawn = [
        partition(labels, FederationConfig(partition=name, num_clients=5, alpha=alpha, seed=seed)).sizes / 10_000
        for seed in range(400)
    ]
    np.testing.assert_allclose(np.mean(drawn, axis=0), 0.2, atol=0.08)
    assert np.var(drawn) == pytest.approx(0.2 * 0.8 / (5 * alpha + 1), rel=0.1)


def test_dirichlet_draws_each_class_apart_quantity_does_not() -> None:
    labels = labels_of(4000, 4000, 4000)
    skewed = partition(labels, FederationConfig(partition="dirichlet", num_clients=5, alpha=0.5))
    alike = partition(labels, FederationConfig(partition="quantity", num_clients=5, alpha=2.0))
    large = [client for client in range(5) if alike.sizes[client] >= 1000]
    assert len(large) >= 2
    for client in large:  # of at least 1,000 rows: a standard error of at most 0.015
        np.testing.assert_allclose(shares(labels, alike.rows(client)), 1 / 3, atol=0.06)
    counts = skewed.class_counts(labels, 3)
    assert np.abs(np.asarray(np.corrcoef(counts.T))[np.triu_indices(3, 1)]).min() < 0.9
    assert max(shares(labels, skewed.rows(client)).max() for client in range(5)) > 0.6


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_a_smaller_alpha_is_more_skewed(name: str) -> None:
    labels = labels_of(500, 500)
    skews = []
    for alpha in (1e-300, 0.05, 0.5, 5.0, 1e6):
        config = FederationConfig(partition=name, alpha=alpha)
        one_class = labels == 0 if name == "dirichlet" else np.ones(len(labels), bool)
        sizes = [partition(labels[one_class], config.replace(seed=seed)).sizes for seed in range(20)]
        skews.append(np.mean([unevenness(size) for size in sizes]))
    assert skews == sorted(skews, reverse=True)
    assert skews[0] == 1.0  # one client has all of a class
    assert skews[-1] == pytest.approx(0.1, abs=0.001)  # ten clients have a tenth each


# ---- classes
@pytest.mark.parametrize(("clients", "each"), [(10, 1), (10, 2), (10, 10), (5, 2), (1, 10), (30, 3)])
def test_each_client_holds_so_many_classes_and_each_class_is_held(clients: int, each: int) -> None:
    labels = labels_of(*[60] * 10)
    for seed in range(5):
        config = FederationConfig(partition="classes", num_clients=clients, classes_per_client=each, seed=seed)
        counts = partition(labels, config).class_counts(labels, 10)
        assert ((counts > 0).sum(axis=1) == each).all()
        assert (counts.sum(axis=0) == 60).all()
        for held in counts.T:  # evenly among those who hold the class
            assert held.max() - held[held > 0].min() <= 1


def test_classes_without_training_rows_do_not_count() -> None:
    labels = labels_of(20, 0, 20)
    config = FederationConfig(partition="classes", num_clients=4, classes_per_client=2)
    assert (partition(labels, config).class_counts(labels, 3) == [5, 0, 5]).all()
    with pytest.raises(SettingsError, match="the training rows hold 2 classes; at most 2 fits"):
        partition(labels, config.replace(classes_per_client=3))


def test_a_classs_holders_are_drawn_at_random() -> None:
    labels = labels_of(*[10] * 6)
    held = np.zeros((3, 6))
    for seed in range(300):
        config = FederationConfig(partition="classes", num_clients=3, classes_per_client=2, seed=seed)
        held += partition(labels, config).class_counts(labels, 6) > 0
    # Each of 3 clients holds 2 of 6 classes: a third of the seeds, with a standard error of 8.2 in 300.
    np.testing.assert_allclose(held, 100, atol=33)


# ---- shards
@pytest.mark.parametrize(("clients", "each"), [(10, 1), (10, 2), (4, 5)])
def test_a_client_holds_at_most_so_many_labels_as_shards(clients: int, each: int) -> None:
    labels = labels_of(*[40] * 10)  # a class is cut into whole shards, so a shard is of one label
    config = FederationConfig(partition="shards", num_clients=clients, shards_per_client=each)
    found = partition(labels, config)
    assert (found.sizes == 400 // clients).all()
    assert ((found.class_counts(labels, 10) > 0).sum(axis=1) <= each).all()


def test_a_shard_lies_within_the_rows_sorted_by_label() -> None:
    """Shards of 7 or 8 rows of 53 + 47: each has one label, or the two that meet in the middle."""
    labels = labels_of(53, 47)
    config = FederationConfig(partition="shards", num_clients=13, shards_per_client=1)
    counts = partition(labels, config).class_counts(labels, 2)
    assert set(counts.sum(axis=1)) <= {7, 8}
    assert ((counts > 0).sum(axis=1) == 2).sum() == 1


def test_more_shards_than_rows_are_refused_with_what_fits() -> None:
    labels = labels_of(10, 10)
    config = FederationConfig(partition="shards", num_clients=6, shards_per_client=4)
    with pytest.raises(SettingsError, match="24 shards cannot be cut from 20 training rows; at most 3 a client fits"):
        partition(labels, config)
    assert partition(labels, config.replace(shards_per_client=3)).sizes.sum() == 20
    # 20 rows: not one a client where there are more clients; not one client where it takes more.
    for clients, each, fits in [
        (6, 4, "at most 3 a client fits 6 clients, at most num-clients=5 fits 4 a client"),
        (25, 2, "at most num-clients=10 fits 2 a client"),
        (5, 30, "at most 4 a client fits 5 clients"),
        (30, 30, "at most 20 in all"),
    ]:
        with pytest.raises(SettingsError, match=f"from 20 training rows; {fits}$"):
            partition(labels, config.replace(num_clients=clients, shards_per_client=each))
    assert partition(labels, config.replace(num_clients=10, shards_per_client=2)).sizes.tolist() == [2] * 10


# ---- natural
def test_natural_rows_stay_with_their_clients() -> None:
    config = FederationConfig(
        dataset="csv", data_path="x", partition="natural", client_column="site", num_clients=3, seed=5
    )
    found = partition(labels_of(3, 3), config, np.array([2, 0, 2, 2, 0, 0]))
    assert [found.rows(client).tolist() for client in range(3)] == [[1, 4, 5], [], [0, 2, 3]]
    with pytest.raises(SettingsError, match="or a dataset that names them itself; dataset=csv names none"):
        partition(labels_of(3, 3), config)


# ---- the fewest rows
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("fewest", [1, 3])
def test_min_rows_is_honoured(name: str, fewest: int) -> None:
    labels = labels_of(60, 60, 60)
    for seed in range(10):
        config = FederationConfig(partition=name, num_clients=6, min_rows=fewest, alpha=0.5, seed=seed)
        assert partition(labels, config).sizes.min() >= fewest


@pytest.mark.parametrize("name", DRAWN)
def test_min_rows_that_cannot_be_is_refused_with_what_fits(name: str) -> None:
    labels = labels_of(40, 30, 20)
    config = FederationConfig(partition=name, alpha=3, num_clients=7, min_rows=12)
    if name in ("iid", "shards"):
        # 90 rows by 7 clients are 12 or 13 each; 14 shards are 6 or 7 rows, 12 to 14 by two.
        assert partition(labels, config).sizes.min() == 12
        config = config.replace(min_rows=13)
    with pytest.raises(SettingsError, match=f"^min-rows={config.min_rows}: ") as caught:
        partition(labels, config)
    fits = re.search(r"at most (\d+) fits$|min-rows=(\d+) or a larger alpha would do$", str(caught.value))
    assert fits is not None
    fewest = int(fits[1] or fits[2])
    assert partition(labels, config.replace(min_rows=fewest)).sizes.min() >= fewest
    with pytest.raises(SettingsError):  # and not a row more
        partition(labels, config.replace(min_rows=fewest + 1))


def test_min_rows_beyond_all_rows_is_refused_before_any_draw() -> None:
    with pytest.raises(SettingsError, match="7 clients would need 91 training rows, there are 90; at most 12 fits"):
        partition(labels_of(40, 30, 20), FederationConfig(num_clients=7, min_rows=13))


def test_min_rows_that_the_first_draw_meets_changes_nothing() -> None:
    labels = labels_of(60, 60, 60)
    config = FederationConfig(alpha=5, num_clients=4)
    plain = partition(labels, config)
    np.testing.assert_array_equal(partition(labels, config.replace(min_rows=1)).indices, plain.indices)
