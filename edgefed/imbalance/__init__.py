"""Imbalance remedies: one class a remedy, one row a remedy in :data:`REMEDIES`.

A remedy says what it changes through the hooks of :class:`~edgefed.imbalance.remedy.Remedy`; hooks that it leaves
alone are neutral, and a remedy that leaves all of them alone is plain FedAvg. NumPy alone: a remedy is numbers
(weights, shifts, row numbers) that the local update multiplies in, so clients of different remedies train in one
batch.
"""

from edgefed.imbalance.logits import BalancedSoftmax, PostHoc
from edgefed.imbalance.remedy import NoRemedy, Remedy
from edgefed.imbalance.resampling import RandomOversampling
from edgefed.imbalance.weights import BalancedGlobal, BalancedLocal, InverseSqrtGlobal

REMEDIES: dict[str, type[Remedy]] = {
    "none": NoRemedy,
    "post-hoc": PostHoc,
    "balanced-softmax": BalancedSoftmax,
    "class-weights-balanced-global": BalancedGlobal,
    "class-weights-balanced-local": BalancedLocal,
    "class-weights-inverse-sqrt-global": InverseSqrtGlobal,
    "random-oversampling": RandomOversampling,
    "class-weights": BalancedLocal,
}
"""``class-weights`` is short for ``class-weights-balanced-local``."""

__all__ = ["REMEDIES", "Remedy"]
