"""Selections by hand."""

import numpy as np
import pytest

from edgefed.edge.ledger import Ledger
from edgefed.edge.selection import SELECTIONS, Choice, oort, power_of_choice


def choice(clients=10, **changes):
    given = {
        "candidates": np.arange(clients),
        "rows": np.full(clients, 10),
        "seconds": np.ones(clients),
        "preferred": 1.0,
        "pool": 2.0,
        "round": 5,
    }
    return Choice(**(given | changes))


def ledger(clients=10, loss=None, last=None):
    found = Ledger(clients)
    if loss is not None:
        found.loss[:] = loss
    if last is not None:
        found.last[:] = last
    return found


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_cohort_is_of_the_size_asked_for_and_of_candidates(name):
    for seed in range(20):
        some = choice(candidates=np.array([1, 3, 4, 7, 8]))
        known = ledger(loss=np.linspace(1, 2, 10), last=np.arange(10) % 3)
        cohort = SELECTIONS[name](some, 3, known, np.random.default_rng(seed))
        assert len(set(cohort.tolist())) == 3
        assert set(cohort.tolist()) <= {1, 3, 4, 7, 8}


def test_power_of_choice_takes_the_highest_losses_of_those_it_looks_at():
    losses = np.array([5.0, 1, 9, 3, 7, 2, 8, 4, 6, 0])

    everyone = power_of_choice(choice(pool=10.0), 3, ledger(loss=losses), np.random.default_rng(0))
    assert everyone.tolist() == [2, 6, 4]
    # Looking at as many as it takes, it is a draw by rows.
    rows = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 3])
    counts = np.zeros(10)
    for seed in range(400):
        drawn = power_of_choice(choice(pool=1.0, rows=rows), 1, ledger(loss=losses), np.random.default_rng(seed))
        counts[drawn] += 1
    assert counts.nonzero()[0].tolist() == [0, 9]
    assert abs(counts[9] / 400 - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 400)


def test_power_of_choice_looks_first_at_whom_it_does_not_know():
    losses = np.array([1.0, np.inf, 2, 3])
    assert power_of_choice(choice(4, pool=4.0), 2, ledger(4, loss=losses), np.random.default_rng(0)).tolist() == [1, 3]


def test_oort_by_hand():
    """All known and seen last round: utilities are rows x loss, over the largest; slow ones times (T / t)^2."""
    losses, rows = np.array([1.0, 2, 3, 4]), np.array([40, 10, 10, 10])
    seconds = np.array([1.0, 1, 1, 2])

    # 40, 20, 30, 40 -> 1, 0.5, 0.75, 1 / 4, and the same staleness for all
    taken = oort(choice(4, rows=rows, seconds=seconds), 3, ledger(4, loss=losses, last=4), np.random.default_rng(0))
    assert taken.tolist() == [0, 2, 1]
    alike = oort(choice(4, rows=rows), 3, ledger(4, loss=losses, last=4), np.random.default_rng(0))
    assert alike.tolist() == [0, 3, 2]


@pytest.mark.parametrize("absurd", [1e300, 1e308, np.inf, np.nan])
def test_one_absurd_loss_leaves_the_others_their_order(absurd):
    """Of ten utilities the highest is clipped to the second; one that is not finite, or overflows, counts as none."""
    losses = np.array([absurd, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    taken = oort(choice(), 4, ledger(loss=losses, last=4), np.random.default_rng(0)).tolist()
    assert taken == ([0, 9, 8, 7] if absurd == 1e300 else [8, 9, 7, 6])


def test_oort_comes_back_to_whom_it_left_long_ago():
    """sqrt(0.1 log 100 / 1) = 0.68 against sqrt(0.1 log 100 / 99) = 0.07."""
    losses, last = np.array([1.0, 0.5]), np.array([99, 1])
    taken = oort(choice(2, round=100), 1, ledger(2, loss=losses, last=last), np.random.default_rng(0))
    assert taken.tolist() == [1]


def test_oort_tries_the_fast_first():
    """In the first round nobody is known; a client of half the speed is half as likely."""
    counts = np.zeros(2)
    for seed in range(900):
        drawn = oort(choice(2, seconds=np.array([1.0, 2.0]), round=1), 1, ledger(2), np.random.default_rng(seed))
        counts[drawn] += 1
    assert abs(counts[0] / 900 - 2 / 3) < 5 * np.sqrt(2 / 9 / 900)
