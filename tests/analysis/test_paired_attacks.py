"""Differences of two attacks: on the rows that both models were trained on, class by class as many."""

import numpy as np
import pytest

from edgefed.analysis.membership import Attack, View
from edgefed.analysis.paired_attacks import against, auc_in, on_shared_members

EASY, HARD = 1, 0


def attack(members, outsiders, scores):
    """An attack on one model: members and outsiders are {class: rows}, scores a number a row."""
    rows = [(row, label, side) for side in (members, outsiders) for label, held in side.items() for row in held]
    numbers, labels = np.array([row for row, _, _ in rows]), np.array([label for _, label, _ in rows])
    member = np.array([side is members for _, _, side in rows])
    return Attack([View(numbers, labels, scores[numbers], member)])


@pytest.fixture
def outsiders():
    return {HARD: range(200, 240), EASY: range(240, 280)}


@pytest.fixture
def scores():
    """Members (0 to 99) of the hard class look like outsiders, those of the easy one are all surer."""
    found = np.tile([0.0, 1.0], 140)
    found[80:100] += 10.0
    return found


def test_a_remedy_that_only_draws_other_rows_gives_away_no_more(outsiders, scores):
    """One and the same model: 80 + 20 members of AUC 1/2 and 1 make 0.6, 20 + 20 of them 0.75."""
    control = attack({HARD: range(80), EASY: range(80, 100)}, outsiders, scores)
    levelled = attack({HARD: range(20), EASY: range(80, 100)}, outsiders, scores)

    assert [control.auc().mean, levelled.auc().mean] == pytest.approx([0.6, 0.75])
    assert levelled.true_positives()[0] - control.true_positives()[0] == pytest.approx(0.5 - 0.2)
    assert against(levelled, control, EASY) == {"auc": 0.0, "rarest_auc": 0.0, "tpr": 0.0, "members": 40}


def test_what_the_models_give_away_is_all_there(outsiders, scores):
    """A model that is surer of 10 of the 20 hard ones that are shared: AUC (10 + 10 / 2) / 20 there, 1 elsewhere."""
    control = attack({HARD: range(80), EASY: range(80, 100)}, outsiders, scores)
    surer = scores.copy()
    surer[:10] += 10.0
    levelled = attack({HARD: range(20), EASY: range(80, 100)}, outsiders, surer)
    found = against(levelled, control, HARD)

    assert found["auc"] == pytest.approx((0.75 * 20 + 20) / 40 - 0.75)
    assert found["rarest_auc"] == pytest.approx(0.25)
    assert found["tpr"] == pytest.approx(10 / 40)


def test_a_class_that_one_of_them_does_not_compare_has_no_difference(outsiders, scores):
    control = attack({HARD: range(80), EASY: range(80, 100)}, outsiders, scores)
    without = attack({HARD: range(20), EASY: range(80, 81)}, outsiders, scores)
    found = against(without, control, EASY)

    assert np.isnan(auc_in(without, EASY))
    assert np.isnan(found["rarest_auc"])
    assert (found["auc"], found["members"]) == (0.0, 20)


def test_nothing_shared_is_no_number(outsiders, scores):
    one, other = (attack({HARD: rows}, outsiders, scores) for rows in (range(20), range(20, 40)))
    found = against(one, other, HARD)

    assert found.pop("members") == 0
    assert np.isnan(list(found.values())).all()


def test_what_is_left_of_a_class_on_one_side_only_is_taken_out_of_both(outsiders, scores):
    """Row 81 is a member of both, but alone of its class in one of them once the rest is gone."""
    one = attack({HARD: range(20), EASY: range(80, 82)}, outsiders, scores)
    other = attack({HARD: range(20), EASY: range(81, 83)}, outsiders, scores)
    both = on_shared_members(one, other)

    assert [found.member_rows.tolist() for found in both] == [list(range(20))] * 2
    assert [found.outsiders for found in both] == [40, 40]
