"""Filters that rank features before any model: from statistics that add up over clients, so no row is pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Rows, mean and sum of squared deviations of each feature in each group [groups, features]."""

    count: Floats
    mean: Floats
    m2: Floats

    def merged(self) -> Moments:
        """Return the moments of all groups' rows as one group [1, features]."""
        return _merged(self.count[None], self.mean[None], self.m2[None])

    def between(self) -> Floats:
        """Return each feature's share of variance that lies between the groups [features].

        epsilon^2 = 1 - (sum_k M2_k / (n - K)) / (M2 / (n - 1)) with K the groups that have rows, not below 0. Unlike
        eta^2 = 1 - sum_k M2_k / M2 it does not grow as groups shrink: means of few rows differ by chance. 0 where a
        feature is constant, nan where it is not and no group has two rows.

        References
        ----------
        Kelley (1935), "An unbiased correlation ratio measure", PNAS 21.
        """
        whole = self.merged()
        rows, groups, total = whole.count[0], (self.count > 0).sum(0), whole.m2[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 1 - (self.m2.sum(0) / (rows - groups)) / (total / (rows - 1))
        share = np.where(rows > groups, np.clip(share, 0.0, 1.0), np.nan)
        return np.where(total > whole.rounding()[0], share, 0.0)

    def rounding(self) -> Floats:
        """Return the sum of squared deviations that rounding alone can leave in groups of equal values.

        n ((n + 8) eps |mean|)^2 [groups, features]: summing n numbers one by one errs by (n - 1) eps / 2 of the sum at
        most (Higham 2002, "Accuracy and stability of numerical algorithms", section 4.2), a mean and the merged mean
        both do, and a few more operations follow.
        """
        return np.asarray(self.count * ((self.count + 8) * np.finfo(np.float64).eps * self.mean) ** 2)


def grouped(cells: Moments, axis: int) -> Moments:
    """Return the moments of groups along one axis of cells [a, b, features], the other axis merged into them.

    Parameters
    ----------
    cells : Moments
    axis : int
        0 or 1: what stays apart.
    """
    return _merged(*(np.moveaxis(array, axis, 0) for array in (cells.count, cells.mean, cells.m2)))


def _merged(count: Floats, mean: Floats, m2: Floats) -> Moments:
    """Merge the second axis of [groups, parts, features].

    n = sum_k n_k, mean = sum_k n_k mean_k / n, M2 = sum_k M2_k + n_k (mean_k - mean)^2 (Chan, Golub, LeVeque 1983).
    """
    total = count.sum(1)
    pooled = (count * mean).sum(1) / np.maximum(total, 1)
    return Moments(total, pooled, (m2 + count * (mean - pooled[:, None]) ** 2).sum(1))


def anova_f(classes: Moments) -> tuple[Floats, Floats]:
    """Return the F statistic of a one-way analysis of variance, and its p value [features], classes as groups.

    F = (sum_c n_c (mean_c - mean)^2 / (C - 1)) / (sum_c M2_c / (n - C)) with C the classes that have rows: what
    scikit-learn's ``f_classif`` gives on the pooled rows. nan where a feature is constant, infinite where it is so
    within every class; what rounding alone can leave counts as constant.
    """
    held = classes.count > 0
    groups, rows = held.sum(0), classes.count.sum(0)
    whole = classes.merged()
    within = classes.m2.sum(0)
    between = (classes.count * (classes.mean - whole.mean) ** 2).sum(0)
    within = np.where(within > classes.rounding().sum(0), within, 0.0)
    between = np.where(between > whole.rounding()[0], between, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (between / (groups - 1)) / (within / (rows - groups))
    return found, stats.f.sf(found, groups - 1, rows - groups)


def mutual_information(histogram: NDArray[np.int64]) -> Floats:
    """Return the mutual information of each binned feature and the class, in nats [features].

    I = sum over bins b and classes c of p_bc log(p_bc / (p_b p_c)): what scikit-learn's ``mutual_info_classif`` with
    ``discrete_features=True`` gives on the pooled rows in the same bins.

    Parameters
    ----------
    histogram : int64 ndarray [features, bins, classes]
        Rows, summed over clients.
    """
    from sklearn.metrics import mutual_info_score  # takes a second to import

    return np.array([mutual_info_score(None, None, contingency=table) for table in histogram])
