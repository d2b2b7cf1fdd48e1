"""Dots moved aside: none hides another, none moves further than it must."""

import numpy as np
import pytest

from edgefed.report.swarm import swarm


def test_dots_apart_stay_where_they_are() -> None:
    along, across = swarm(np.array([0.0, 10.0, 20.0]), diameter=3, height=15)
    assert along.tolist() == [0, 0, 0]
    assert across.tolist() == [0, 0, 0]


def test_ties_stack_across_and_keep_their_value() -> None:
    along, across = swarm(np.full(5, 7.0), diameter=3, height=15)
    assert along.tolist() == [0, 0, 0, 0, 0]
    assert sorted(across) == [-6, -3, 0, 3, 6]


def test_a_pile_higher_than_the_strip_spreads_by_whole_diameters() -> None:
    along, across = swarm(np.full(7, 7.0), diameter=3, height=9)
    assert sorted(along) == [-3, 0, 0, 0, 3, 3, 3]
    assert max(abs(across)) <= 9 / 2


def test_no_dot_is_moved_beyond_what_no_value_passes() -> None:
    """Nine ties at 100 % in a strip of three: two columns more, both to the left; at 0 % to the right."""
    along, _ = swarm(np.full(9, 100.0), diameter=3, height=9, within=(0, 100))
    assert sorted(along) == [-6, -6, -6, -3, -3, -3, 0, 0, 0]
    along, _ = swarm(np.full(9, 0.0), diameter=3, height=9, within=(0, 100))
    assert sorted(along) == [0, 0, 0, 3, 3, 3, 6, 6, 6]


def test_a_pile_that_does_not_fit_between_the_bounds_passes_them_rather_than_hiding_dots() -> None:
    along, across = swarm(np.full(6, 1.0), diameter=3, height=3, within=(0, 5))
    assert len(set(zip(along, across, strict=True))) == 6
    assert sorted(along, key=abs)[:2] == [0, 3]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("height", [2.0, 9.0, 15.0])
def test_no_dot_hides_another(seed: int, height: float) -> None:
    rng = np.random.default_rng(seed)
    places = np.concatenate([np.round(rng.normal(0, 10, 30)), np.zeros(30)])
    along, across = swarm(places, diameter=3, height=height)
    dots = np.stack([places + along, across], 1)
    apart = np.linalg.norm(dots[:, None] - dots, axis=-1) + 10 * np.eye(len(dots))
    assert apart.min() >= 3 * 0.998


def test_the_same_dots_go_to_the_same_places_and_nan_is_left_alone() -> None:
    places = np.array([1.0, np.nan, 1.0, 1.5])
    first, second = swarm(places, 1, 5), swarm(places, 1, 5)
    assert np.array_equal(first, second)
    assert (first[0][1], first[1][1]) == (0, 0)
