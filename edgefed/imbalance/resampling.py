"""Resampling: another set of rows to train on, drawn once per (seed, client) with imbalanced-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgefed.imbalance.remedy import Draw, Remedy
from edgefed.imbalance.weights import nothing_to_balance

if TYPE_CHECKING:
    from edgefed.imbalance.remedy import Floats, Ints


class RandomOversampling(Remedy):
    """Repeat rows of a shard's rarer classes until all its classes are level (imbalanced-learn).

    A client's weight in the average stays its row count *before* resampling.
    """

    resamples: ClassVar[bool] = True

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return the shard's rows, then the repeated ones; the shard as it is below two classes."""
        if len(np.unique(labels)) < 2:
            return super().draw(features, labels, rng)
        from imblearn.over_sampling import RandomOverSampler

        sampler = RandomOverSampler(random_state=int(rng.integers(2**31)))
        sampler.fit_resample(np.arange(len(labels))[:, None], labels)
        return Draw(np.asarray(sampler.sample_indices_, np.int64))

    def idle_because(self, local: Ints) -> list[str]:
        """One class, or classes already level, leave nothing to repeat."""
        return nothing_to_balance(local)
