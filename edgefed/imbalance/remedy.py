"""The hooks through which an imbalance remedy changes local training, each with a neutral default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The rows that a client trains on: positions in its shard (repeats allowed), and rows made anew.

    ``made_features`` [made, features] and ``made_labels`` [made] are None where nothing is made.
    """

    rows: Ints
    made_features: Floats | None = None
    made_labels: Ints | None = None


class Remedy:
    """A remedy for class imbalance. Subclasses override what they change.

    Counts are arrays with a client a row, ``local`` int [clients, classes]; ``total`` float [classes] sums all
    clients' counts and is given where :attr:`needs_global_counts` says that the remedy asks for it.
    """

    #: Whether the server must learn class counts: one more thing that leaves each client.
    needs_global_counts: ClassVar[bool] = False
    #: Whether :meth:`draw` changes the rows.
    resamples: ClassVar[bool] = False
    #: Losses that the remedy is defined for.
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "mse", "hinge")
    #: Options of ``imbalance-options``: name -> (lowest, highest).
    option_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __init__(self, config: FederationConfig) -> None:
        self.config = config

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return the rows to train on, drawn once per (seed, client). Neutral: the shard as it is."""
        return Draw(np.arange(len(labels)))

    def class_weights(self, local: Ints, total: Floats | None) -> Floats:
        """Return the weight of a row by its class [clients, classes]. Neutral: ones."""
        return np.ones(local.shape)

    def logit_scale(self, local: Ints, total: Floats | None) -> Floats:
        """Return the factor on the logits that the loss sees [clients, classes]. Neutral: ones."""
        return np.ones(local.shape)

    def logit_shift(self, local: Ints, total: Floats | None) -> Floats:
        """Return what is added to the logits that the loss sees [clients, classes]. Neutral: zeros."""
        return np.zeros(local.shape)

    def prediction_shift(self, total: Floats | None, num_classes: int) -> Floats:
        """Return what is added to the logits when predicting [classes]. Neutral: zeros."""
        return np.zeros(num_classes)

    def idle_because(self, local: Ints) -> list[str]:
        """Return for each client why the remedy does nothing on its shard; empty text where it acts."""
        return [""] * len(local)


class NoRemedy(Remedy):
    """Plain FedAvg: the control that every remedy is compared with."""


def smoothed_prior(total: Floats) -> Floats:
    """Return the class prior [classes]; a class without rows counts as half a row, so its log is finite."""
    counts = np.maximum(total, 0.5)
    return np.asarray(counts / counts.sum())
