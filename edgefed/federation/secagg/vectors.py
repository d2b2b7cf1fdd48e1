"""A client's update as whole numbers that can be summed under masks, and the sum as an average again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Floats = NDArray[np.float64]
    Vector = NDArray[np.uint32]

HEADER = 4
"""Entries before the update's: the weight, the weighted loss, the steps, the numbers that were clipped."""

RING = 32
"""Bits of an entry: sums are modulo 2^32."""


@dataclass(frozen=True)
class Average:
    """What the server learns of a round.

    Attributes
    ----------
    update : float64 ndarray [size]
        sum_k p_k (theta_k - theta) / sum_k p_k.
    loss : float
        Training loss, averaged alike.
    steps, clipped : int
        Summed over clients: steps, and numbers of updates that lay beyond the range.
    """

    update: Floats
    loss: float
    steps: int
    clipped: int


@dataclass(frozen=True)
class Quantizer:
    """Fixed-point numbers of ``bits`` bits for what lies within [-clip, clip], weighted by a share of ``most_weight``.

    With L = 2^bits and the weight w_k = round(L min(p_k, most) / most) / L a client sends

        q_k = floor((w_k clip(theta_k - theta) + clip) L / (2 clip) + u),    u ~ U(0, 1)

    so that E[q_k] is right and |q_k step - clip - w_k (theta_k - theta)| < step = 2 clip / L. An average of K clients
    is off by less than K step / sum_k w_k. Every entry is at most L, so a sum of fewer than 2^(32 - bits) clients
    never wraps.

    The roundings u come from the run's named stream, so that a run repeats to the bit. They protect nothing and need
    not be secret: that the masked sum reveals nothing but itself holds for whatever whole numbers are summed.

    Parameters
    ----------
    clip : float
    bits : int
    most_weight : float
        Largest weight p_k that a client may have in the average.
    """

    clip: float
    bits: int
    most_weight: float

    @classmethod
    def of(cls, config: FederationConfig, most_weight: float) -> Quantizer:
        """Return the one that the settings name."""
        if not 0 < most_weight <= 1e9:
            raise ValueError(f"most-weight {most_weight:g}: expected more than 0, at most a billion")
        return cls(config.secagg_clipping_range, config.secagg_bits, most_weight)

    @property
    def levels(self) -> int:
        """Largest entry of one client's vector."""
        return 1 << self.bits

    @property
    def step(self) -> float:
        """Distance of two neighbouring numbers."""
        return 2 * self.clip / self.levels

    def encode(self, update: Floats, weight: float, loss: float, steps: int, draws: Floats) -> Vector:
        """Return one client's vector [HEADER + size].

        Parameters
        ----------
        update : float64 ndarray [size]
            theta_k - theta.
        weight, loss : float
            p_k, and the training loss; one that is not a number counts as 0.
        steps : int
        draws : float64 ndarray [1 + size]
            Roundings, in (0, 1).

        Raises
        ------
        ValueError
            For an update that is not finite: nobody could tell from a sum whose it was.
        """
        if not np.isfinite(update).all():
            raise ValueError("weights that are not finite")
        whole = round(min(max(weight, 0.0), self.most_weight) / self.most_weight * self.levels)
        values = np.concatenate([[np.nan_to_num(loss, nan=0.0)], update])
        clipped = int((np.abs(update) > self.clip).sum())
        scaled = (np.clip(values, -self.clip, self.clip) * (whole / self.levels) + self.clip) / self.step
        numbers = np.minimum(np.floor(scaled + draws), self.levels).astype(np.uint32)
        counts = np.minimum([max(steps, 0), clipped], self.levels).astype(np.uint32)
        return np.concatenate([np.array([whole], np.uint32), numbers[:1], counts, numbers[1:]])

    def decode(self, total: Vector, clients: int) -> Average | None:
        """Return what a sum of vectors [HEADER + size] stands for; None where no client had any weight.

        Raises
        ------
        ValueError
            For a sum that no so many clients' vectors have.
        """
        if (total > clients * self.levels).any():
            raise ValueError("the sum is none of vectors that clients may send")
        weight = int(total[0]) / self.levels
        if not weight:
            return None
        sums = np.concatenate([total[1:2], total[HEADER:]]).astype(np.float64) * self.step - clients * self.clip
        return Average(sums[1:] / weight, float(sums[0] / weight), int(total[2]), int(total[3]))


def roundings(config: FederationConfig, round_number: int, client: int, size: int) -> Floats:
    """Return the draws by which a client rounds its loss and update [1 + size], in (0, 1)."""
    return uniforms(counter_keys(config.seed, "secagg", round_number, client, np.arange(size + 1)))
