"""Class weights: rare classes' rows count more in the loss.

Weights are scaled to mean 1 over the rows that the counts came from: a client's shard for local counts, all
training rows for global ones. (Scaled per shard, global weights would cancel on a one-class shard.) Three schemes,
each from local, global or noisy global counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgefed.imbalance.remedy import Remedy, nothing_to_balance

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def effective_number(counts: Floats, beta: float) -> Floats:
    """Return w_c proportional to (1 - beta) / (1 - beta^n_c), mean 1 over rows; 1 for absent classes.

    beta = 0 weighs all classes alike, beta -> 1 is :func:`balanced`.

    References
    ----------
    Cui, Jia, Lin, Song, Belongie (2019), "Class-balanced loss based on effective number of samples", CVPR.
    """
    # 1 - beta^n by expm1: it loses no digits as beta nears 1.
    gathered = -np.expm1(counts * np.log(beta)) if beta > 0 else np.ones(counts.shape)
    return _scaled(counts, np.divide(1.0 - beta, gathered, out=np.zeros(counts.shape), where=counts > 0))


def _scaled(counts: Floats, weights: Floats) -> Floats:
    """Scale weights so that sum_c n_c w_c / n = 1; absent classes get 1."""
    rows = counts.sum(-1, keepdims=True)
    mass = (counts * weights).sum(-1, keepdims=True)
    scaled = weights * np.divide(rows, mass, out=np.ones(mass.shape), where=mass > 0)
    return np.where(counts > 0, scaled, 1.0)


class _Weights(Remedy, ABC):
    """Weights by one of the schemes; subclasses say which, and where the counts come from."""

    family: ClassVar[str] = "class weights"

    @abstractmethod
    def scheme(self, counts: Floats) -> Floats:
        """Return weights [..., classes] from counts [..., classes]."""

    def class_weights(self, local: Ints, total: Floats | None) -> Floats:
        """Return each client's own weights, or the same for all where the counts are global."""
        if total is None:
            return self.scheme(local.astype(np.float64))
        return np.broadcast_to(self.scheme(total), local.shape).copy()

    def idle_because(self, local: Ints) -> list[str]:
        """Weights from a shard without two unequal classes are all 1; global ones act everywhere."""
        return super().idle_because(local) if self.needs_global_counts else nothing_to_balance(local)


class _Balanced(_Weights):
    def scheme(self, counts: Floats) -> Floats:
        return balanced(counts)


class _InverseSqrt(_Weights):
    def scheme(self, counts: Floats) -> Floats:
        return inverse_sqrt(counts)


class _Effective(_Weights):
    neutral: ClassVar[Mapping[str, float]] = {"effective_number_beta": 0.0}

    def scheme(self, counts: Floats) -> Floats:
        return effective_number(counts, self.config.effective_number_beta)


class BalancedLocal(_Balanced):
    """Weights n / (C n_c) from each client's own counts: nothing leaves it, but objectives differ."""


class BalancedGlobal(_Balanced):
    """Weights n / (C n_c) from all clients' counts: every client has the same objective."""

    needs_global_counts: ClassVar[bool] = True


class BalancedNoisy(BalancedGlobal):
    """Weights n / (C n_c) from all clients' counts under Laplace noise (histogram-epsilon)."""

    noisy_counts: ClassVar[bool] = True
    acts_on_level_classes: ClassVar[bool] = True


class InverseSqrtLocal(_InverseSqrt):
    """Weights ~ 1 / sqrt(n_c) from each client's own counts: half-way to balanced."""


class InverseSqrtGlobal(_InverseSqrt):
    """Weights ~ 1 / sqrt(n_c) from all clients' counts: half-way to balanced."""

    needs_global_counts: ClassVar[bool] = True


class InverseSqrtNoisy(InverseSqrtGlobal):
    """Weights ~ 1 / sqrt(n_c) from all clients' counts under Laplace noise (histogram-epsilon)."""

    noisy_counts: ClassVar[bool] = True
    acts_on_level_classes: ClassVar[bool] = True


class EffectiveLocal(_Effective):
    """Weights (1-b) / (1-b^n_c) from each client's own counts (Cui et al. 2019; effective-number-beta)."""


class EffectiveGlobal(_Effective):
    """Weights (1-b) / (1-b^n_c) from all clients' counts (Cui et al. 2019; effective-number-beta)."""

    needs_global_counts: ClassVar[bool] = True


class EffectiveNoisy(EffectiveGlobal):
    """Weights (1-b) / (1-b^n_c) from all clients' counts under Laplace noise (histogram-epsilon)."""

    noisy_counts: ClassVar[bool] = True
    acts_on_level_classes: ClassVar[bool] = True
