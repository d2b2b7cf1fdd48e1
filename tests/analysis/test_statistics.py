"""Statistics of comparisons against SciPy, statsmodels, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from edgefed.analysis.statistics import (
    HELPS,
    HURTS,
    SAME,
    UNDECIDED,
    contrasts,
    detectable,
    need_of_seeds,
    ranking,
    sign_flip_p,
    t_interval,
)


# ---------------------------------------------------------------------------------------------- intervals
@pytest.mark.parametrize("n", [2, 3, 10, 30])
def test_t_interval_against_scipy(n):
    values = np.random.default_rng(n).normal(0.8, 0.1, n)
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))

    found = t_interval(values)

    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert found.mean == pytest.approx(values.mean(), rel=1e-15)


def test_t_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, t_{0.975, 2} = 4.302653, half = 4.302653 / sqrt(3)."""
    found = t_interval([1, 2, 3])

    assert found.mean == 2
    assert found.high - 2 == pytest.approx(4.3026527 / math.sqrt(3), rel=1e-7)


IN_TURN = [float(place + 10 * (place % 2)) for place in range(10)]
"""0, 2, 4, 6, 8 in the first stratum, 11, 13, 15, 17, 19 in the second: within each the squares sum to 40."""
TURNS = ["first", "second"] * 5
HALF = 2.3060041 * math.sqrt(80 / 8 / 10)
"""t_{0.975, 8} s / sqrt(10) with s^2 = (40 + 40) / (10 - 2)."""


def test_interval_within_strata_by_hand():
    found = t_interval(IN_TURN, TURNS)

    assert found.mean == 9.5
    assert found.high - 9.5 == pytest.approx(HALF)
    assert 9.5 - found.low == pytest.approx(HALF)


@pytest.mark.parametrize("strata", [None, ["a"] * 10, ["a"] * 4 + ["b"] * 6, list("abcdefghij")])
def test_one_stratum_or_few_seeds_of_one_are_as_none(strata):
    assert t_interval(IN_TURN, strata) == t_interval(IN_TURN)


def test_no_spread_within_strata_is_no_certainty():
    """An interval of no width would leave out zero where the test sees nothing."""
    values = [0.0, 0.1] * 5

    assert t_interval(values, TURNS) == t_interval(values)
    assert t_interval(values, TURNS).low < 0.05 < t_interval(values, TURNS).high


def test_intervals_of_seeds_in_turn_cover_what_they_promise():
    """Six orders whose means differ by much more than seeds within them, five seeds each."""
    rng = np.random.default_rng(0)
    orders = np.tile(np.arange(6), 5)
    effects = np.array([-5.0, -3, -1, 1, 3, 5])
    covered = dict.fromkeys(("within", "plain"), 0)
    for _ in range(2000):
        sample = effects[orders] + rng.normal(size=30)
        for kind, found in (("within", t_interval(sample, orders.tolist())), ("plain", t_interval(sample))):
            covered[kind] += found.low <= 0 <= found.high

    assert covered["within"] / 2000 == pytest.approx(0.95, abs=0.015)
    assert covered["plain"] == 2000


def test_contrasts_take_the_spread_within_strata_and_leave_the_test_alone():
    values = {"none": [0.0] * 10, "remedy": IN_TURN}
    within = contrasts(values, strata=TURNS)["remedy"]
    plain = contrasts(values)["remedy"]

    assert within.high - 9.5 == pytest.approx(HALF)
    assert plain.high > within.high
    assert (within.p, within.p_holm, within.tier) == (plain.p, plain.p_holm, plain.tier)
    row = next(row for row in ranking(values, strata=TURNS) if row["name"] == "remedy")
    assert row["high"] == pytest.approx(within.high)


def test_intervals_of_little_or_nothing():
    alone = t_interval([0.5])
    assert alone.mean == 0.5
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    equal = t_interval([0.5, 0.5, 0.5])
    assert (equal.mean, equal.low, equal.high) == (0.5, 0.5, 0.5)
    diverged = t_interval([0.5, math.inf, 0.7])
    assert diverged.mean == math.inf
    assert math.isnan(diverged.low)


def test_t_intervals_cover_what_they_promise():
    """2,000 intervals at 10 seeds: 95 % cover, sd sqrt(0.95 x 0.05 / 2000) = 0.5 points; four of them."""
    samples = np.random.default_rng(1).normal(size=(2000, 10))
    covered = [interval.low <= 0 <= interval.high for interval in map(t_interval, samples)]

    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


# ---------------------------------------------------------------------------------------------- sign flips
def enumerated(differences):
    """Return the share of all 2^n sign flips whose mean is at least as far from 0 as the one found."""
    means = [np.mean(np.multiply(signs, differences)) for signs in itertools.product([-1, 1], repeat=len(differences))]
    return float(np.mean(np.abs(means) >= abs(np.mean(differences)) * (1 - 1e-12)))


@pytest.mark.parametrize(
    "differences",
    [
        [1, 2, 3, 4, 5, 6],
        [1, -2, 3, 4, -5, 6],
        [0, 0, 0.1, 0.2, 0.1, -0.1],
        [0.05, 0.05, 0.05, 0.05, 0.05, 0.05],
        [0, 0, 0, 0, 0, 0.3],
        [1, -1, 2, -2, 3, -3],
        *np.random.default_rng(2).normal(0.5, 1, (5, 6)).tolist(),
    ],
    ids=str,
)
def test_sign_flip_p_against_enumeration(differences):
    differences = np.array(differences, float)

    assert sign_flip_p(differences) == pytest.approx(enumerated(differences), abs=1e-12)
    assert sign_flip_p(-differences) == pytest.approx(enumerated(differences), abs=1e-12)
    assert sign_flip_p(differences * 1e-3) == pytest.approx(enumerated(differences), abs=1e-12)


def test_the_smallest_p_value_is_two_flips_of_all():
    assert sign_flip_p(np.arange(1.0, 7.0)) == 2 / 64
    assert sign_flip_p(np.full(10, 0.1)) == 2 / 1024


def test_no_difference_at_all_is_p_1():
    assert sign_flip_p(np.zeros(8)) == 1


def test_many_seeds_are_drawn_and_near_the_t_test():
    """Normal differences: the permutation test agrees with the t test; drawn the same way each time."""
    differences = np.random.default_rng(4).normal(0.35, 1, 40)

    p = sign_flip_p(differences)

    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert sign_flip_p(differences) == p


# ---------------------------------------------------------------------------------------------- contrasts
def family(*shifts, n=12, spread=0.02):
    rng = np.random.default_rng(5)
    base = rng.normal(0.8, 0.05, n)
    values = {"none": base.tolist()}
    for place, shift in enumerate(shifts):
        values[f"arm-{place}"] = (base + shift + rng.normal(0, spread, n)).tolist()
    return values


def test_holm_against_statsmodels():
    values = family(0.05, 0.02, 0.0, -0.03)
    found = contrasts(values)

    raw = [found[arm].p for arm in found]
    assert raw == [sign_flip_p(np.subtract(values[arm], values["none"])) for arm in found]
    assert [found[arm].p_holm for arm in found] == pytest.approx(multipletests(raw, method="holm")[1].tolist())


def test_holm_by_hand():
    """Six seeds: p = 2/64, 4/64 and 1 in a family of three become 6/64, max(8/64, 6/64) and 1."""
    none = [0.0] * 6
    values = {"none": none, "all": [1, 2, 3, 4, 5, 6], "but one": [-1, 2, 3, 4, 5, 6], "equal": none}
    found = contrasts(values)

    assert [found[arm].p for arm in found] == [2 / 64, 4 / 64, 1]
    assert [found[arm].p_holm for arm in found] == pytest.approx([6 / 64, 8 / 64, 1])


def test_differences_are_paired():
    """The seeds differ by far more than the remedy: unpaired nothing could be seen."""
    rng = np.random.default_rng(6)
    base = rng.normal(0.7, 0.2, 12)
    arm = base + 0.02 + rng.normal(0, 0.005, 12)
    found = contrasts({"none": base, "arm": arm})["arm"]

    assert stats.ttest_ind(arm, base).pvalue > 0.5
    assert found.tier == HELPS
    assert found.high - found.low < 0.02 < base.std()


def test_ties_are_counted_and_all_ties_are_indistinguishable():
    none = np.linspace(0.5, 0.9, 10)
    arm = none.copy()
    arm[:3] += 0.1
    found = contrasts({"none": none, "some": arm, "same": none})

    assert (found["some"].ties, found["same"].ties) == (7, 10)
    assert found["same"].p == found["same"].p_holm == 1
    assert found["same"].tier == SAME
    assert (found["same"].mean, found["same"].low, found["same"].high) == (0, 0, 0)


def test_tiers():
    found = contrasts(family(0.05, -0.05, 0.0))

    assert [found[arm].tier for arm in found] == [HELPS, HURTS, SAME]


@pytest.mark.parametrize(("seeds", "arms", "decided"), [(5, 1, False), (6, 1, True), (6, 2, False), (8, 6, True)])
def test_too_few_seeds(seeds, arms, decided):
    """The smallest p value after Holm is 2 / 2^n x arms: above 5 % nothing can be found, however clear."""
    values = {"none": np.zeros(seeds).tolist()}
    values |= {f"arm-{arm}": np.linspace(1, 2, seeds).tolist() for arm in range(arms)}

    tiers = {difference.tier for difference in contrasts(values).values()}

    assert tiers == {HELPS if decided else UNDECIDED}


def test_how_many_seeds_are_needed_in_words():
    """2 / 2^n x contrasts must be at most 0.05."""
    assert need_of_seeds(1) == "one contrast needs at least 6"
    assert need_of_seeds(6) == "6 contrasts need at least 8"


def test_only_the_control():
    assert contrasts({"none": [0.5, 0.6]}) == {}
    (row,) = ranking({"none": [0.5, 0.6]})
    assert (row["tier"], row["difference"]) == ("control", None)


def test_ranking_is_by_the_mean_and_names_the_control():
    values = family(0.05, -0.05, 0.0)
    rows = ranking(values)

    means = [row["mean"] for row in rows]
    assert means == sorted(means, reverse=True)
    assert {row["name"] for row in rows} == set(values)
    for row in rows:
        assert row["values"] == values[row["name"]]
        assert row["mean"] == pytest.approx(np.mean(values[row["name"]]))
        assert (row["tier"] == "control") == (row["name"] == "none")
        if row["difference"] is not None:
            assert row["difference"]["mean"] == pytest.approx(row["mean"] - np.mean(values["none"]))


def test_the_order_of_arms_does_not_change_a_finding():
    values = family(0.03, 0.01, 0.0)
    turned = dict(reversed(values.items()))

    assert contrasts(values) == {arm: contrasts(turned)[arm] for arm in contrasts(values)}


# ---------------------------------------------------------------------------------------------- by simulation
def test_the_detectable_difference_is_found_four_times_in_five():
    """By the paired t test that it is stated for, at ten seeds; a normal approximation, so roughly."""
    rng = np.random.default_rng(7)
    n, spread = 10, 0.03
    typical = np.mean([detectable(rng.normal(0, spread, n)) for _ in range(500)])
    found = [stats.ttest_1samp(rng.normal(typical, spread, n), 0).pvalue < 0.05 for _ in range(1000)]

    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    assert math.isnan(detectable(np.array([0.1])))


def test_the_detectable_difference_stands_at_the_level_that_all_contrasts_share():
    """Six contrasts, differences 0 to 9: s = 3.02765, (t_{1 - 0.05/12, 9} + t_{0.8, 9}) s / sqrt(10).

    That is (3.3642034 + 0.8834039) 0.9574271; a contrast alone would stand at t_{0.975, 9} = 2.2621572.
    """
    values = {"none": [0.0] * 10} | {f"arm-{arm}": [float(n) for n in range(10)] for arm in range(6)}

    shared = {difference.detectable for difference in contrasts(values).values()}
    (alone,) = contrasts({arm: values[arm] for arm in ("none", "arm-0")}).values()

    assert len(shared) == 1
    assert shared.pop() == pytest.approx(4.0667746, rel=1e-6)
    assert alone.detectable == pytest.approx(3.0116454, rel=1e-6)


def test_none_against_none_raises_few_false_alarms():
    """300 families of three remedies that are none, in steps of 1/30 as 30 test rows give: at most 5 % cry wolf.

    At most 15 are expected, sd 3.8; four sd above would be 30.
    """
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(300):
        seeds = rng.normal(0.85, 0.05, 8)
        values = {arm: np.round((seeds + rng.normal(0, 0.03, 8)) * 30) / 30 for arm in ("none", "a", "b", "c")}
        alarms += any(difference.tier in (HELPS, HURTS) for difference in contrasts(values).values())

    assert alarms < 30
