"""Paired statistics of a comparison: intervals, differences to the control, and tiers in words.

Arms are paired by seed: the same split, partition, initial weights and cohorts. What is generalised over is random
splits, partitions and initialisations of one dataset, whose rows all seeds share.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95
PERMUTATIONS = 20_000
"""Sign flips drawn where there are too many to go through all."""
FLIPPED_AT_ONCE = 2_000_000
"""Values that a batch of flips holds, over all contrasts."""
FEWEST_IN_STRATUM = 5
"""Seeds of each stratum from which the spread within them is taken: what the coverage was measured at."""
EXACT_UP_TO = 14
"""Seeds up to which all 2^n sign flips are gone through."""

HELPS, HURTS, SAME, UNDECIDED = "better than none", "worse than none", "indistinguishable from none", "too few seeds"


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % t interval over seeds; low and high are nan below two seeds or where a value is infinite."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A remedy minus the control, paired by seed.

    Attributes
    ----------
    mean, low, high : float
        Mean difference and its 95 % t interval.
    p : float
        Two-sided sign-flip permutation test of mean 0.
    p_holm : float
        The same, adjusted for the family of all remedies by Holm's method.
    ties : int
        Seeds in which the two are exactly equal.
    detectable : float
        Smallest true difference that so many seeds with this spread find four times in five, at the 5 % level shared
        by all contrasts.
    tier : str
        The finding in words.
    """

    mean: float
    low: float
    high: float
    p: float
    p_holm: float
    ties: int
    detectable: float
    tier: str


def t_interval(values: Sequence[float] | Floats, strata: Sequence[Hashable] | None = None) -> Interval:
    """Return the mean and its 95 % t interval, mean +- t_{n-k} s / sqrt(n).

    s is the deviation within k strata, of which there is one where none are given. A percentile bootstrap covers only
    81 to 84 % at five seeds; t covers 92 to 96 %.

    Parameters
    ----------
    values : sequence of float [seeds]
    strata : sequence [seeds], optional
        What each seed was given in turn and not by chance, as the order in which classes are rare: what differs between
        strata is then no sampling error, and an interval that counts it covers up to 99.7 % (experiments/honesty).
        Neutral: none. Below five seeds a stratum, and without any spread within, it is as if there were none: wider
        than need be.

    References
    ----------
    Cochran (1977), "Sampling techniques", 3rd ed., section 5.6: proportional stratified sampling.
    """
    sample = np.asarray(values, float)
    mean = float(sample.mean())
    if len(sample) < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    centred, count = sample - mean, 1
    if strata is not None:
        places: dict[Hashable, int] = {}
        place = np.array([places.setdefault(stratum, len(places)) for stratum in strata])
        sizes = np.bincount(place)
        within = sample - (np.bincount(place, sample) / sizes)[place]
        if sizes.min() >= FEWEST_IN_STRATUM and within.any():
            centred, count = within, len(sizes)
    free = len(sample) - count
    spread = math.sqrt(float(centred @ centred) / free)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, free)) * spread / math.sqrt(len(sample))
    return Interval(mean, mean - half, mean + half)


def sign_flip_p(differences: Floats, flips: int = PERMUTATIONS) -> float:
    """Return the two-sided p value of mean 0 by flipping signs; 1 where all differences are 0.

    Exact up to :data:`EXACT_UP_TO` seeds; above, so many ``flips`` are drawn, and p is never below 2 / (flips + 1).
    Many differences between remedies are exact zeros, which rules out Wilcoxon's test; a flipped zero stays zero here.

    References
    ----------
    Fisher (1935), "The design of experiments", section 21.
    """
    return float(sign_flip_ps(differences[None], flips)[0])


def sign_flip_ps(differences: Floats, flips: int = PERMUTATIONS) -> Floats:
    """Return :func:`sign_flip_p` of each of many differences [contrasts, seeds], the same flips for all, at once."""
    contrasts, seeds = differences.shape
    result = stats.permutation_test(
        (differences,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if seeds <= EXACT_UP_TO else flips,
        batch=max(1, FLIPPED_AT_ONCE // max(1, contrasts * seeds)),
        axis=-1,
        rng=stream(0, "statistics"),
    )
    return np.asarray(result.pvalue)


def detectable(differences: Floats, power: float = 0.8, contrasts: int = 1) -> float:
    """Return the smallest difference that a paired t test of this size and spread finds with the given power.

    (t_{1 - alpha/(2m)} + t_{power}) s / sqrt(n), the usual approximation, for one of m contrasts that are adjusted
    together (Bonferroni's level, which Holm's method is never below); nan with fewer than two seeds, and where all
    differences are equal: no spread was seen.
    """
    if len(differences) < 2 or not np.ptp(differences):
        return math.nan
    free = len(differences) - 1
    reach = stats.t.ppf(1 - (1 - CONFIDENCE) / (2 * contrasts), free) + stats.t.ppf(power, free)
    return float(reach * stats.sem(differences))


def contrasts(
    values: Mapping[str, Sequence[float]], control: str = "none", strata: Sequence[Hashable] | None = None
) -> dict[str, Difference]:
    """Return every arm's difference to the control, adjusted together.

    The contrasts are fixed beforehand: each remedy against the control, nothing else.

    Parameters
    ----------
    values : mapping of arm to its values, one a seed, in the same order of seeds
    control : str
        A key of ``values``.
    strata : sequence [seeds], optional
        As for :func:`t_interval`. The test needs none: where a remedy does nothing, every seed's difference is as
        likely to be its opposite, whatever the seed was given.
    """
    base = np.asarray(values[control], float)
    arms = [arm for arm in values if arm != control]
    if not arms:
        return {}
    differences = {arm: np.asarray(values[arm], float) - base for arm in arms}
    raw = sign_flip_ps(np.stack([differences[arm] for arm in arms])).tolist()
    adjusted = multipletests(raw, alpha=1 - CONFIDENCE, method="holm")[1]
    found = {}
    for arm, p, p_holm in zip(arms, raw, adjusted, strict=True):
        difference = differences[arm]
        interval = t_interval(difference, strata)
        found[arm] = Difference(
            mean=interval.mean,
            low=interval.low,
            high=interval.high,
            p=p,
            p_holm=float(p_holm),
            ties=int((difference == 0).sum()),
            detectable=detectable(difference, contrasts=len(arms)),
            tier=_tier(interval.mean, float(p_holm), len(difference), len(arms)),
        )
    return found


def seeds_needed(arms: int) -> int:
    """Return the fewest seeds with which so many contrasts could find anything at all.

    The smallest p value that n sign flips can give is 2 / 2^n, and Holm multiplies the smallest by the contrasts.
    """
    return math.ceil(math.log2(2 * arms / (1 - CONFIDENCE)))


def need_of_seeds(arms: int) -> str:
    """Return in words how many seeds so many contrasts need at least."""
    return f"{'one contrast needs' if arms == 1 else f'{arms} contrasts need'} at least {seeds_needed(arms)}"


def _tier(mean: float, p_holm: float, seeds: int, arms: int) -> str:
    # The smallest p value that n sign flips can give is 2 / 2^n: below that many seeds nothing can be found.
    if 2 / 2**seeds * arms > 1 - CONFIDENCE:
        return UNDECIDED
    if p_holm > 1 - CONFIDENCE:
        return SAME
    return HELPS if mean > 0 else HURTS


def ranking(
    values: Mapping[str, Sequence[float]], control: str = "none", strata: Sequence[Hashable] | None = None
) -> list[dict[str, Any]]:
    """Return arms from the highest mean to the lowest, each with its interval, difference and tier.

    An order is not a finding: the tier says which differences to the control are.
    """
    found = contrasts(values, control, strata)
    rows = []
    for arm, sample in values.items():
        row: dict[str, Any] = {"name": arm, **asdict(t_interval(sample, strata)), "values": [float(v) for v in sample]}
        row["difference"] = asdict(found[arm]) if arm in found else None
        row["tier"] = found[arm].tier if arm in found else "control"
        rows.append(row)
    return sorted(rows, key=lambda row: -row["mean"])
