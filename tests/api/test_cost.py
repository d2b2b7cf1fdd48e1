"""Rounds and bytes to a target: first reached, medians over all seeds, and what is never reached."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_courses import course

from edgefed.api.cost import budgets, cost, scores_within, target_of


@pytest.mark.parametrize(
    ("control", "target"),
    [
        ([0.939], 0.93),
        ([0.93], 0.93),
        ([0.9, 0.96], 0.93),
        ([0.5, 0.519], 0.5),
        ([1.0], 1.0),
        ([0.29, 0.29, 0.29], 0.29),
    ],
)
def test_the_target_is_the_controls_mean_rounded_down_to_a_whole_point(control, target):
    assert target_of(control) == target


def test_the_first_round_that_scores_it_counts_even_if_a_later_one_does_not():
    found = cost([course([0.2, 0.6, 0.5, 0.7])], 0.6)

    assert found["target"] == 0.6
    assert found["rounds"] == {"values": [2], "median": 2, "reached": 1}
    assert found["bytes"] == {"values": [207], "median": 207, "reached": 1}


def test_not_reached_is_none_and_counts_as_infinity_in_the_median():
    slow, never, quick = course([0, 0, 0.9]), course([0, 0.1, 0.1]), course([0.9, 0, 0])

    assert cost([slow, never, quick], 0.5)["rounds"] == {"values": [3, None, 1], "median": 3, "reached": 2}
    assert cost([slow, never], 0.5)["rounds"] == {"values": [3, None], "median": None, "reached": 1}
    assert cost([never, never, quick], 0.5)["bytes"] == {"values": [None, None, 107], "median": None, "reached": 1}
    assert cost([slow, quick], 0.5)["bytes"]["median"] == (307 + 107) / 2


def test_only_rounds_that_were_evaluated_can_reach_it():
    found = cost([course([0.1, 0.8, 0.9], rounds=[4, 8, 10], moved=[400, 800, 1000])], 0.8)

    assert (found["rounds"]["values"], found["bytes"]["values"]) == ([8], [800])


def spending(scores, seconds):
    """Return a course that spends so many modelled seconds, and ten times as many joules."""
    return replace(course(scores), seconds=np.array(seconds, float), joules=10 * np.array(seconds, float))


def test_seconds_and_joules_to_a_target_where_runs_know_them():
    found = cost([spending([0.2, 0.6, 0.7], [1.5, 3, 4.5])], 0.6)

    assert found["seconds"] == {"values": [3.0], "median": 3.0, "reached": 1}
    assert found["joules"]["values"] == [30.0]
    assert "seconds" not in cost([course([0.9])], 0.6)


def test_a_budget_is_what_the_cheapest_arm_spends_on_average():
    arms = {
        "a": [spending([0.1, 0.2, 0.3], [1, 2, 3]), spending([0.1, 0.2, 0.3], [1, 2, 5])],
        "b": [spending([0.5, 0.6], [4, 8]), spending([0.5, 0.6], [4, 8])],
    }

    found = budgets(arms)

    assert found == {"bytes": 207.0, "seconds": 4.0, "joules": 40.0}
    assert scores_within(arms["a"], "seconds", 4.0) == [0.3, 0.2]
    assert scores_within(arms["b"], "seconds", 4.0) == [0.5, 0.5]
    assert math.isnan(scores_within(arms["b"], "seconds", 3.9)[0])
