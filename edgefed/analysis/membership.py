"""Membership inference by the loss: whether who holds a model can tell the rows it was trained on from others.

Members differ from other rows in which classes they are (a long tail thins training rows, not test rows), and a client
of one class makes a model that favours it. So rows are compared within their class: what is left is membership.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from edgefed.analysis.statistics import CONFIDENCE, Interval
from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

FALSE_POSITIVES = 0.01
"""Share of outsiders that may be called members where the true-positive rate is taken (Carlini et al. 2022)."""
FEWEST = 2
"""Members and outsiders of a class, from which it is looked at: a spread needs two."""
PERMUTATIONS = 100
"""Exchanges of members and outsiders that chance is averaged over."""
ROC_POINTS = 200
_ROUNDING = 1e-12


@dataclass(frozen=True)
class View:
    """What an attacker sees: how sure one model is of some rows, and which of them it was trained on.

    Attributes
    ----------
    rows : int64 ndarray [rows]
        Numbers of the rows in the dataset: several models may be shown the same ones.
    labels : int64 ndarray [rows]
    scores : float64 ndarray [rows]
        The higher, the likelier a member: the model's confidence in the row's own class, any falling function of its
        loss.
    member : bool ndarray [rows]
    """

    rows: Ints
    labels: Ints
    scores: Floats
    member: Flags


def confidence(logits: Floats, labels: Ints) -> Floats:
    """Return log p_y - log(1 - p_y) [rows] from logits [rows, classes]: a falling function of the loss -log p_y.

    f_y - log sum_{c != y} exp f_c, which still tells rows apart where p_y is 1 in floating point.

    References
    ----------
    Yeom et al. (2018), "Privacy risk in machine learning", CSF: the threshold on the loss; Carlini et al. (2022),
    "Membership inference attacks from first principles", S&P: this form of it.
    """
    values = logits.astype(np.float64)
    own = np.arange(len(labels)), labels
    true = values[own]
    others = values.copy()
    others[own] = -np.inf
    top = others.max(1, keepdims=True)
    return np.asarray(true - (top[:, 0] + np.log(np.exp(others - top).sum(1))))


class Attack:
    """A threshold attack on one model, or on several that are looked at together.

    Rows of a view that has no member, or no outsider, of their class are left out, then classes (of all views together)
    with fewer than :data:`FEWEST` members or outsiders.

    Parameters
    ----------
    views : sequence of View
        A row is a member of one view at most; it may be an outsider of many.
    """

    def __init__(self, views: Sequence[View]) -> None:
        size = [len(view.rows) for view in views]
        place = np.repeat(np.arange(len(views)), size)
        columns = [
            np.concatenate([getattr(view, name) for view in views]) if views else np.empty(0)
            for name in ("rows", "labels", "scores", "member")
        ]
        rows, labels, scores = columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2].astype(np.float64)
        member = columns[3].astype(bool)
        classes = int(labels.max(initial=-1)) + 1
        stratum = place * classes + labels
        kept = np.ones(len(rows), bool)
        for side in (member, ~member):
            kept &= np.bincount(stratum[side], minlength=len(views) * classes)[stratum] > 0
        for side in (kept & member, kept & ~member):
            first = np.unique(rows[side], return_index=True)[1]
            kept &= (np.bincount(labels[side][first], minlength=classes) >= FEWEST)[labels]
        self.asked = int(member.sum())
        self.rows, self.labels, self.scores, self.member = rows[kept], labels[kept], scores[kept], member[kept]
        self.stratum = np.unique(stratum[kept], return_inverse=True)[1]

    @property
    def members(self) -> int:
        """Number of members that are compared."""
        return int(self.member.sum())

    @property
    def outsiders(self) -> int:
        """Number of distinct rows that they are compared with."""
        return len(np.unique(self.rows[~self.member]))

    @property
    def member_rows(self) -> Ints:
        """Rows that are compared as members [members]: each is one once."""
        return np.asarray(self.rows[self.member])

    def among(self, members: Ints) -> Attack:
        """Return the attack on these of its members alone [rows], beside the same outsiders."""
        kept = ~self.member | np.isin(self.rows, members)
        places = [np.flatnonzero(kept & (self.stratum == place)) for place in np.unique(self.stratum)]
        return Attack(
            [View(self.rows[place], self.labels[place], self.scores[place], self.member[place]) for place in places]
        )

    @cached_property
    def weights(self) -> Floats:
        """Weight of each row [rows]: 1 / M of a member; an outsider's gives its class, in its view, its members' share.

        v = m_s / (M n_s) for the m_s members and n_s outsiders of stratum s; each side sums to 1.
        """
        members, strangers = (np.bincount(self.stratum[side]) for side in (self.member, ~self.member))
        share = members / max(1, self.members)
        return np.where(self.member, 1 / max(1, self.members), share[self.stratum] / strangers[self.stratum])

    # ---- AUC
    @cached_property
    def placements(self) -> tuple[Floats, Floats]:
        """Return the share of its class's outsiders that each member beats, and of members that beat each outsider.

        A tie counts a half. Of an outsider that several models are shown, the mean over the members of all of them.
        """
        beaten = self._beaten
        rows, row = np.unique(self.rows[~self.member], return_inverse=True)
        wins = np.bincount(row, beaten[~self.member], minlength=len(rows))
        met = np.bincount(row, np.bincount(self.stratum[self.member])[self.stratum[~self.member]], minlength=len(rows))
        return beaten[self.member], wins / np.maximum(met, 1)

    @cached_property
    def _beaten(self) -> Floats:
        """Of each member the share of its stratum's outsiders that it beats; of each outsider the members that beat it.

        A tie counts a half.
        """
        beaten = np.zeros(len(self.rows))
        order = np.argsort(self.stratum, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(self.stratum[order])) + 1) if len(order) else []:
            own, other = places[self.member[places]], places[~self.member[places]]
            beaten[own] = _below(self.scores[own], self.scores[other]) / len(other)
            beaten[other] = len(own) - _below(self.scores[other], self.scores[own])
        return beaten

    def auc(self) -> Interval:
        """Return how often a member is found surer than an outsider of its class, with DeLong's 95 % interval.

        AUC = (1 / M) sum_i (share of the outsiders of i's class that i beats); 0.5 is chance. Its variance is
        sum_c w_c^2 (s_c^2 / m_c + t_c^2 / n_c) with the variances s^2, t^2 of the placements of members and outsiders,
        and w_c = m_c / M. nan where no class can be looked at. No interval where no placement varies. Where rows are
        members of one view and outsiders of others DeLong's two samples are one: see :meth:`_clustered`.

        References
        ----------
        DeLong, DeLong, Clarke-Pearson (1988), "Comparing the areas under two or more correlated ROC curves".
        """
        found = self.by_class()
        if not found:
            return Interval(math.nan, math.nan, math.nan)
        share = np.array([row["members"] for row in found]) / self.members
        mean = float(share @ np.array([row["auc"] for row in found]))
        variance = float(share**2 @ np.array([row["variance"] for row in found]))
        return _interval(mean, variance)

    def by_class(self) -> list[dict[str, Any]]:
        """Return each class's ``label``, ``members``, ``outsiders``, ``auc``, its ``variance`` and ``interval``."""
        if not len(self.rows):
            return []
        own, other = self.placements
        first = np.unique(self.rows[~self.member], return_index=True)[1]
        kinds, classes = self.labels[self.member], self.labels[~self.member][first]
        clustered = self._clustered()
        found = []
        for label in np.unique(kinds).tolist():
            ours, theirs = own[kinds == label], other[classes == label]
            variance = clustered.get(label, float(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs)))
            found.append(
                {
                    "label": label,
                    "members": len(ours),
                    "outsiders": len(theirs),
                    "auc": float(ours.mean()),
                    "variance": variance,
                    "interval": _interval(float(ours.mean()), variance),
                }
            )
        return found

    def _clustered(self) -> dict[int, float]:
        """Return each class's variance of AUC where rows stand on both sides; empty where none does.

        A row is one draw, whichever sides it stands on: R / (R - 1) sum_r e_r^2 over the R rows of a class, with
        e_r = [r is a member] (V_r - A) / m + sum_s m_s / (m n_s) (W_rs - A) over the strata s where r is an outsider.
        V_r is the share of its stratum's outsiders that r beats, W_rs the share of the members of s that beat r.

        References
        ----------
        Obuchowski (1997), "Nonparametric analysis of clustered ROC curve data", Biometrics 53: members and outsiders
        of one cluster vary together. Here the cluster is a row.
        """
        if not np.isin(self.rows[self.member], self.rows[~self.member]).any():
            return {}
        members, strangers = (np.bincount(self.stratum[side]) for side in (self.member, ~self.member))
        own, there = members[self.stratum], strangers[self.stratum]
        found = {}
        for label in np.unique(self.labels).tolist():
            here = self.labels == label
            count, mean = int((here & self.member).sum()), float(self._beaten[here & self.member].mean())
            parts = np.where(self.member, self._beaten - mean, (self._beaten - mean * own) / there)[here] / count
            rows, row = np.unique(self.rows[here], return_inverse=True)
            each = np.bincount(row, parts)
            found[label] = float(len(rows) / (len(rows) - 1) * each @ each)
        return found

    # ---- one threshold
    def roc(self) -> tuple[Floats, Floats]:
        """Return false and true positive rates of one threshold for all classes, from (0, 0) to (1, 1).

        Outsiders count by :attr:`weights`: they stand in the members' mix of classes.
        """
        falling = np.argsort(-self.scores, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(self.scores[falling]), -np.inf)[: len(falling)])
        weights, member = self.weights[falling], self.member[falling]
        rates = [np.append(0.0, np.cumsum(np.where(side, weights, 0.0))[ends]) for side in (~member, member)]
        return rates[0], rates[1]

    def pooled_auc(self) -> float:
        """Return the area under :meth:`roc`: what one threshold for all classes is worth."""
        return float(np.trapezoid(*self.roc()[::-1])) if self.members else math.nan

    def true_positives(self, most: float = FALSE_POSITIVES) -> tuple[float, float]:
        """Return the true-positive rate at no more than so many false positives, and the rate of those.

        The lowest threshold at an outsider's score that calls no more than ``most`` of the outsiders members; rows
        above it are called members. With fewer than 1 / ``most`` outsiders that is the surest outsider's own score, and
        chance alone finds more than ``most`` of the members: see :meth:`chance`.
        """
        return _at(most, np.argsort(-self.scores, kind="stable"), self.scores, self.member, self.weights)

    def chance(self, most: float = FALSE_POSITIVES) -> float:
        """Return the true-positive rate that chance gives: the mean over exchanges of members and outsiders.

        Members of a class and the outsiders that they are compared with trade places at random, which nothing changes
        where the model gives nothing away. (k + 1) / (n + 1) with k = floor(most n) for n outsiders of one class.
        """
        if not self.members:
            return math.nan
        rng = stream(0, "audit")
        by_stratum = np.argsort(self.stratum, kind="stable")
        flags, falling = self.member[by_stratum], np.argsort(-self.scores, kind="stable")
        members, strangers = (np.bincount(self.stratum[side]) for side in (self.member, ~self.member))
        outside = (members / max(1, self.members) / strangers)[self.stratum]
        found = []
        for _ in range(PERMUTATIONS):
            member = np.empty_like(flags)
            member[np.lexsort((rng.random(len(flags)), self.stratum))] = flags
            weights = np.where(member, 1 / self.members, outside)
            found.append(_at(most, falling, self.scores, member, weights)[0])
        return float(np.mean(found))

    @property
    def resolution(self) -> float:
        """The smallest false-positive rate that so many outsiders tell from none: 1 over their effective number.

        sum_c w_c^2 / n_c over classes: 1 / n where outsiders have the members' mix of classes (Kish 1965).
        """
        return float(sum((row["members"] / self.members) ** 2 / row["outsiders"] for row in self.by_class()))

    def curve(self) -> dict[str, list[float]]:
        """Return the ROC curve in at most :data:`ROC_POINTS` points, evenly spaced on a logarithmic axis."""
        false, true = self.roc()
        if len(false) > ROC_POINTS:
            wanted = np.append(0.0, np.geomspace(max(false[false > 0].min(), 1e-6), 1.0 + _ROUNDING, ROC_POINTS - 2))
            chosen = np.unique(np.append(0, np.searchsorted(false, wanted, side="right") - 1))
            false, true = false[chosen], true[chosen]
        return {"false": np.round(false, 6).tolist(), "true": np.round(true, 6).tolist()}


def given_threshold(rate: float, members: int) -> tuple[float, float]:
    """Return the 95 % interval of a true-positive rate whose threshold is given (Clopper & Pearson 1934)."""
    if not members or math.isnan(rate):
        return math.nan, math.nan
    found = stats.binomtest(round(rate * members), members).proportion_ci(CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def _below(scores: Floats, others: Floats) -> Floats:
    """Return how many of the others are below each score, ties a half."""
    ascending = np.sort(others)
    return (np.searchsorted(ascending, scores, "left") + np.searchsorted(ascending, scores, "right")) / 2


def _at(most: float, falling: Ints, scores: Floats, member: Flags, weights: Floats) -> tuple[float, float]:
    if not member.any():
        return math.nan, math.nan
    outside = np.where(member, 0.0, weights)
    place = int(np.argmax(np.cumsum(outside[falling]) > most + _ROUNDING))
    above = scores > scores[falling[place]]
    return float(weights[above & member].sum()), float(outside[above].sum())


def _interval(mean: float, variance: float) -> Interval:
    if not variance > 0:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * math.sqrt(variance)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))
