"""Class weights: rare classes' rows count more in the loss.

Weights are scaled to mean 1 over the rows that the counts came from: a client's shard for local counts, all
training rows for global ones. (Scaled per shard, global weights would cancel on a one-class shard.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgefed.imbalance.remedy import Remedy

if TYPE_CHECKING:
    from edgefed.imbalance.remedy import Floats, Ints


def balanced(counts: Floats) -> Floats:
    """Return w_c = n / (C n_c) over the C classes that have rows, mean 1 over rows; 1 for absent classes.

    Parameters
    ----------
    counts : float ndarray [..., classes]

    References
    ----------
    King & Zeng (2001), "Logistic regression in rare events data".
    """
    return _scaled(counts, np.divide(1.0, counts, out=np.zeros(counts.shape), where=counts > 0))


def inverse_sqrt(counts: Floats) -> Floats:
    """Return w_c proportional to 1 / sqrt(n_c), mean 1 over rows; 1 for absent classes.

    References
    ----------
    Mikolov et al. (2013) and Mahajan et al. (2018) use the same exponent for sampling.
    """
    return _scaled(counts, np.divide(1.0, np.sqrt(counts), out=np.zeros(counts.shape), where=counts > 0))


def _scaled(counts: Floats, weights: Floats) -> Floats:
    """Scale weights so that sum_c n_c w_c / n = 1; absent classes get 1."""
    rows = counts.sum(-1, keepdims=True)
    mass = (counts * weights).sum(-1, keepdims=True)
    scaled = weights * np.divide(rows, mass, out=np.ones(mass.shape), where=mass > 0)
    return np.where(counts > 0, scaled, 1.0)


class BalancedGlobal(Remedy):
    """Weights n / (C n_c) from all clients' counts: every client has the same objective."""

    needs_global_counts: ClassVar[bool] = True

    def class_weights(self, local: Ints, total: Floats | None) -> Floats:
        """Return the same weights for every client."""
        assert total is not None
        return np.broadcast_to(balanced(total), local.shape).copy()


class InverseSqrtGlobal(Remedy):
    """Weights ~ 1 / sqrt(n_c) from all clients' counts: half-way to balanced."""

    needs_global_counts: ClassVar[bool] = True

    def class_weights(self, local: Ints, total: Floats | None) -> Floats:
        """Return the same weights for every client."""
        assert total is not None
        return np.broadcast_to(inverse_sqrt(total), local.shape).copy()


class BalancedLocal(Remedy):
    """Weights n / (C n_c) from each client's own counts: nothing leaves it, but objectives differ."""

    def class_weights(self, local: Ints, total: Floats | None) -> Floats:
        """Return each client's own weights."""
        return balanced(local.astype(np.float64))

    def idle_because(self, local: Ints) -> list[str]:
        """Weights of a shard without two unequal classes are all 1."""
        return nothing_to_balance(local)


def nothing_to_balance(local: Ints) -> list[str]:
    """Return for each client why its shard leaves a local remedy nothing to balance; empty text where it does."""
    held = (local > 0).sum(1)
    fewest = np.where(local > 0, local, local.max(initial=1)).min(1)
    level = fewest == local.max(1)
    reasons = np.select(
        [held == 0, held == 1, level], ["empty shard", "one class only", "classes already level"], default=""
    )
    return [str(reason) for reason in reasons]
