"""The split by class, and the long tail: who stays in training, who moves to the test set."""

import itertools
import math
import re
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgefed.config import FederationConfig
from edgefed.data.datasets import Dataset, load
from edgefed.data.split import Split, split, tail_order
from edgefed.errors import SettingsError

IRIS = load(FederationConfig())
DIGITS = load(FederationConfig(dataset="digits"))


def dataset_of(counts: list[int], names: tuple[str, ...] | None = None) -> Dataset:
    """Return a dataset with so many rows of each class, mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    names = names or tuple(f"class {label}" for label in range(len(counts)))
    return Dataset(np.zeros((len(labels), 1), np.float32), labels, ("a",), names)


def counted(dataset: Dataset, rows: NDArray[np.int64]) -> list[int]:
    return [int(count) for count in np.bincount(dataset.labels[rows], minlength=dataset.num_classes)]


def same(one: Split, other: Split) -> bool:
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("pool", "validation", "test"))


# ---- without a tail
def test_iris_by_hand() -> None:
    parts = split(IRIS, FederationConfig())
    assert counted(IRIS, parts.test) == [10, 10, 10]
    assert counted(IRIS, parts.validation) == [10, 10, 10]
    assert counted(IRIS, parts.pool) == [30, 30, 30]
    assert (len(parts.dropped), parts.order) == (0, ())


def test_validation_may_be_nothing() -> None:
    parts = split(IRIS, FederationConfig(validation_fraction=0))
    assert (counted(IRIS, parts.pool), len(parts.validation)) == ([40, 40, 40], 0)


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=12),
    st.floats(0.01, 0.6),
    st.floats(0.0, 0.39),
    st.integers(0, 5),
)
def test_every_class_keeps_its_share_to_within_a_row(
    counts: list[int], test: float, validation: float, seed: int
) -> None:
    dataset = dataset_of(counts)
    config = FederationConfig(test_fraction=test, validation_fraction=validation, seed=seed)
    try:
        parts = split(dataset, config)
    except SettingsError as error:
        # A class of one row stays in training, so a part may be left with nothing: refused, never empty.
        assume("row in" not in str(error))
        raise
    everything = np.concatenate([parts.pool, parts.validation, parts.test])
    assert sorted(everything) == list(range(sum(counts)))
    for rows, share in ((parts.test, test), (parts.validation, validation), (parts.pool, 1 - test - validation)):
        np.testing.assert_array_less(np.abs(np.array(counted(dataset, rows)) - share * np.array(counts)), 1 + 1e-6)
        assert np.array_equal(rows, np.sort(rows))
    assert all(kept >= 1 for kept, count in zip(counted(dataset, parts.pool), counts, strict=True) if count)


def test_rounding_does_not_add_up_over_classes() -> None:
    """100 classes of 7 rows: 1.4 of each are asked for, 140 in all, though a class gives 1 or 2."""
    parts = split(dataset_of([7] * 100), FederationConfig())
    sizes = [len(rows) for rows in (parts.test, parts.validation, parts.pool)]
    np.testing.assert_allclose(sizes, [140, 140, 420], atol=2)


def test_the_same_seed_gives_the_same_split_another_seed_another() -> None:
    first = split(IRIS, FederationConfig(seed=3))
    assert same(first, split(IRIS, FederationConfig(seed=3, partition_seed=9, init_seed=9)))
    assert same(first, split(IRIS, FederationConfig(seed=8, split_seed=3)))
    assert not same(first, split(IRIS, FederationConfig(seed=4)))


def test_every_row_is_tested_on_under_some_seed() -> None:
    """60 seeds test each row with chance 0.2 apiece: the chance that one of 150 never is, is 150 x 0.8^60 = 0.0002."""
    tested = Counter(row for seed in range(60) for row in split(IRIS, FederationConfig(seed=seed)).test.tolist())
    assert len(tested) == 150
    assert sum(tested.values()) == 60 * 30


# ---- the tail
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_iris_with_a_tail_of_ten_by_hand(order: tuple[int, ...]) -> None:
    """30 training rows a class: 30, 30 / sqrt(10) = 9.49, 30 / 10."""
    config = FederationConfig(long_tail=10, long_tail_order=",".join(map(str, order)))
    plain, parts = split(IRIS, FederationConfig()), split(IRIS, config)
    held = counted(IRIS, parts.pool)
    assert [held[label] for label in order] == [30, 9, 3]
    assert parts.order == order
    assert len(parts.dropped) == 48
    assert np.isin(parts.pool, plain.pool).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([parts.pool, parts.dropped])), plain.pool)
    np.testing.assert_array_equal(parts.test, np.sort(np.concatenate([plain.test, parts.dropped])))
    np.testing.assert_array_equal(parts.validation, plain.validation)


@settings(max_examples=80)
@given(st.lists(st.integers(8, 60), min_size=2, max_size=7), st.floats(1.0, 30.0, exclude_min=True), st.randoms())
def test_sizes_fall_exponentially_by_the_tail(counts: list[int], tail: float, random: Random) -> None:
    order = list(range(len(counts)))
    random.shuffle(order)
    dataset = dataset_of(counts)
    held = np.array(counted(dataset, split(dataset, FederationConfig()).pool))[order]
    config = FederationConfig(long_tail=tail, long_tail_order=",".join(map(str, order)))
    # The first class keeps its rows, or fewer where a later one could not fill its place.
    shares = [tail ** (-place / (len(order) - 1)) for place in range(len(order))]
    first = min(rows / share for rows, share in zip(held, shares, strict=True))
    if first / tail < 2.5 - 1e-6:
        with pytest.raises(SettingsError, match="at least 3 are needed"):
            split(dataset, config)
    elif first / tail > 2.5 + 1e-6:
        kept = np.array(counted(dataset, split(dataset, config).pool))[order]
        np.testing.assert_allclose(kept, [first * share for share in shares], atol=0.5 + 1e-6)
        assert (np.diff(kept) <= 0).all()
        assert (kept <= held).all()


def test_the_tail_that_a_refusal_names_fits_every_order() -> None:
    dataset = dataset_of([13, 40, 22, 14, 60])
    with pytest.raises(SettingsError, match="at most") as caught:
        split(dataset, FederationConfig(long_tail=50))
    found = re.search(r"at most ([\d.]+) fits", str(caught.value))
    assert found is not None
    fits = float(found[1])
    for order in itertools.permutations("01234"):
        split(dataset, FederationConfig(long_tail=fits, long_tail_order=",".join(order)))
    with pytest.raises(SettingsError):  # and a tail a tenth longer fits not every order
        split(dataset, FederationConfig(long_tail=fits + 0.1, long_tail_order="0,1,2,3,4"))


def test_a_dataset_too_small_for_any_tail() -> None:
    with pytest.raises(SettingsError, match=r"would keep 2 training rows, .* this dataset bears no tail"):
        split(dataset_of([30, 3]), FederationConfig(long_tail=1.1, long_tail_order="0,1"))


def test_the_tail_depends_on_the_split_seed_alone() -> None:
    config = FederationConfig(long_tail=10, long_tail_order="0,1,2", split_seed=3)
    assert same(split(IRIS, config), split(IRIS, config.replace(seed=5)))
    assert not same(split(IRIS, config), split(IRIS, config.replace(split_seed=4)))


# ---- orders
def orders_of(dataset: Dataset, seeds: range) -> list[tuple[int, ...]]:
    return [tail_order(dataset, FederationConfig(long_tail=2, seed=seed)) for seed in seeds]


@pytest.mark.parametrize("start", [0, 1, 100])
def test_three_classes_go_through_all_six_orders(start: int) -> None:
    assert set(orders_of(IRIS, range(start, start + 6))) == set(itertools.permutations(range(3)))


@pytest.mark.parametrize("start", [0, 4, 93, 2**32 - 10])
def test_every_digit_is_the_rarest_once_in_ten_seeds(start: int) -> None:
    orders = orders_of(DIGITS, range(start, start + 10))
    assert {order[-1] for order in orders} == set(range(10))
    assert all(sorted(order) == list(range(10)) for order in orders)


def test_every_pair_of_digits_is_commonest_and_rarest_once_in_ninety_seeds() -> None:
    ends = Counter((order[0], order[-1]) for order in orders_of(DIGITS, range(90)))
    assert ends == Counter(itertools.permutations(range(10), 2))


def test_no_tail_no_order() -> None:
    assert tail_order(DIGITS, FederationConfig(seed=3)) == ()
    assert tail_order(IRIS, FederationConfig(long_tail_order="2,1,0")) == ()


@pytest.mark.parametrize("text", ["virginica,setosa,versicolor", "2,0,1", " virginica , 0, versicolor"])
def test_an_order_by_name_or_number(text: str) -> None:
    assert tail_order(IRIS, FederationConfig(long_tail=2, long_tail_order=text)) == (2, 0, 1)


def test_a_name_goes_before_a_number() -> None:
    dataset = dataset_of([9, 9], ("1", "0"))
    assert tail_order(dataset, FederationConfig(long_tail=2, long_tail_order="1,0")) == (0, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0,1", "expected each of the 3 classes once"),
        ("0,1,1", "expected each of the 3 classes once"),
        ("0,1,setosa", "expected each of the 3 classes once"),
        ("0,1,3", "unknown class '3'"),
        ("0,1,-1", "unknown class '-1'"),
        ("0,1,2,", "unknown class ''"),
        ("setosa,virginca,versicolor", r"unknown class 'virginca': did you mean virginica\?"),
    ],
)
@pytest.mark.parametrize("tail", [1, 2])
def test_an_order_that_is_none(text: str, says: str, tail: float) -> None:
    with pytest.raises(SettingsError, match=says):
        split(IRIS, FederationConfig(long_tail=tail, long_tail_order=text))


# ---- too few rows
def test_nothing_to_test_on_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"test-fraction=0\.2: no test row in 3 rows of 3 classes"):
        split(dataset_of([1, 1, 1]), FederationConfig())
    with pytest.raises(SettingsError, match=r"validation-fraction=0\.1: no validation row in 4 rows"):
        split(dataset_of([2, 2]), FederationConfig(validation_fraction=0.1, test_fraction=0.5))


def test_half_rows_are_rounded_up() -> None:
    """A class of 5 training rows and a tail of 2: 5 and 2.5, which is 3 rows and so enough."""
    dataset = dataset_of([7, 7])  # 7 x (0.15, 0.15) is one row each
    config = FederationConfig(test_fraction=1 / 7, validation_fraction=1 / 7, long_tail=2, long_tail_order="0,1")
    assert counted(dataset, split(dataset, config).pool) == [5, math.ceil(2.5)]
