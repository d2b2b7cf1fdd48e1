"""Randomness has names: the same name gives the same numbers, other names others."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgefed.rng import PURPOSES, counter_keys, stream

#: Written down twice on purpose: changing a number changes the bits of every run.
NUMBERS = {
    "split": 1,
    "long-tail": 2,
    "partition": 3,
    "init": 4,
    "cohort": 5,
    "batches": 6,
    "client-test": 7,
    "resampling": 8,
    "augmentation": 9,
    "tail-order": 10,
    "statistics": 11,
    "sampling": 12,
    "noisy-counts": 13,
    "fcube": 14,
}
NAME = {"seed": 5, "purpose": "split", "round_number": 2, "client": 3}
WORD = 2**64 - 1


def mixed(value: int) -> int:
    """SplitMix64's finaliser in whole numbers of any size (Steele, Lea, Flood 2014)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB & WORD
    return value ^ value >> 31


def key_by_hand(seed: int, purpose: int, *parts: int) -> int:
    golden = 0x9E3779B97F4A7C15
    key = mixed(seed + purpose * golden & WORD)
    for part in parts:
        key = mixed(key + (part + 1) * golden & WORD)
    return key


def test_purposes_keep_their_numbers() -> None:
    assert {name: PURPOSES[name] for name in NUMBERS} == NUMBERS
    assert len(set(PURPOSES.values())) == len(PURPOSES)


# ---- streams
def test_a_stream_is_pcg64_seeded_by_its_name() -> None:
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence([5, 1, 2, 3]))).random(4)
    np.testing.assert_array_equal(stream(5, "split", 2, 3).random(4), expected)


def test_the_same_name_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    first = stream(**NAME).random(8)
    stream(1, "init").random(1000)
    np.testing.assert_array_equal(stream(**NAME).random(8), first)


@pytest.mark.parametrize(
    "other", [{"seed": 6}, {"purpose": "init"}, {"round_number": 3}, {"client": 2}, {"round_number": 3, "client": 2}]
)
def test_another_name_gives_other_numbers(other: dict[str, int | str]) -> None:
    first = stream(**NAME).random(8)
    second = stream(**{**NAME, **other}).random(8)
    assert not np.intersect1d(first, second).size


def test_names_of_a_small_grid_are_all_different() -> None:
    grid = itertools.product(range(6), PURPOSES, range(6), range(6))
    draws = [int(stream(*name).integers(2**63)) for name in grid]
    assert len(set(draws)) == len(draws) == 6 * len(PURPOSES) * 36


def test_an_unknown_purpose_is_an_error() -> None:
    with pytest.raises(KeyError):
        stream(0, "mood")
    with pytest.raises(KeyError):
        counter_keys(0, "mood", 0, 0, 0)


# ---- counter keys
def test_the_reference_is_splitmix64() -> None:
    # The first numbers of SplitMix64 seeded with 1234567, as its authors' C code prints them.
    golden = 0x9E3779B97F4A7C15
    drawn = [mixed(1234567 + step * golden & WORD) for step in (1, 2, 3)]
    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(NUMBERS)),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
    st.integers(0, 2**62),
)
def test_a_key_is_the_hash_of_its_name(seed: int, purpose: str, round_number: int, client: int, position: int) -> None:
    found = counter_keys(seed, purpose, round_number, client, position)
    assert int(found) == key_by_hand(seed, NUMBERS[purpose], round_number, client, position)


def test_a_key_does_not_depend_on_its_company() -> None:
    clients, positions = np.arange(7), np.arange(5)
    together = counter_keys(3, "batches", 4, clients[:, None], positions)
    assert together.shape == (7, 5)
    assert together.dtype == np.uint64
    for client in clients:
        alone = counter_keys(3, "batches", 4, client, positions[::-1])
        np.testing.assert_array_equal(alone[::-1], together[client])
    scrambled = counter_keys([3], "batches", np.full((1, 1), 4), clients[::-1, None], positions)
    np.testing.assert_array_equal(scrambled[::-1], together)


def test_a_million_names_have_a_million_keys() -> None:
    grid = np.ix_(*map(np.arange, (10, 10, 100, 50)))
    keys = [counter_keys(grid[0], purpose, *grid[1:]) for purpose in ("batches", "client-test")]
    assert len(np.unique(np.concatenate(keys, axis=None))) == 1_000_000


@pytest.mark.parametrize("varying", range(3))
def test_sorting_keys_gives_uniform_permutations_along_each_argument(varying: int) -> None:
    """24,000 permutations of 4, one a seed, a round or a client: each of the 24 is expected 1,000 times."""
    names = [np.full((24_000, 1), 11) for _ in range(3)]
    names[varying] = np.arange(24_000)[:, None]
    seeds, rounds, clients = names
    orders = np.argsort(counter_keys(seeds, "batches", rounds, clients, np.arange(4)), axis=1)
    counts = np.bincount(orders @ [64, 16, 4, 1], minlength=256)
    counts = counts[[np.dot(order, [64, 16, 4, 1]) for order in itertools.permutations(range(4))]]
    assert counts.sum() == 24_000
    assert stats.chisquare(counts).pvalue > 0.001


def test_keys_as_fractions_are_uniform_and_neighbours_unrelated() -> None:
    fractions = counter_keys(0, "batches", 0, np.arange(200)[:, None], np.arange(200)) / 2.0**64
    assert stats.kstest(fractions.ravel(), "uniform").pvalue > 0.001
    for axis in (0, 1):  # of 39,800 pairs, the correlation's standard error is 0.005
        ahead, behind = np.take(fractions, range(1, 200), axis), np.take(fractions, range(199), axis)
        assert abs(np.corrcoef(ahead.ravel(), behind.ravel())[0, 1]) < 0.02


def test_the_order_of_the_parts_matters() -> None:
    keys = {int(counter_keys(a, "batches", b, c, d)) for a, b, c, d in itertools.permutations([1, 2, 3, 4])}
    assert len(keys) == 24
