"""A client's update as whole numbers that can be summed under masks, and the sum as an average again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Floats = NDArray[np.float64]
    Vector = NDArray[np.uint32]

HEADER = 5
"""Entries before the update's: the weight, the rows, the loss by rows, the steps, the numbers that were clipped."""

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
        Training loss, averaged by rows.
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
    most_weight, most_rows : float
        Largest weight p_k that a client may have in the average, and its largest number of rows.
    """

    clip: float
    bits: int
    most_weight: float
    most_rows: float

    @classmethod
    def of(cls, config: FederationConfig, most_weight: float, most_rows: float) -> Quantizer:
        """Return the one that the settings name.

        Raises
        ------
        ValueError
        """
        for most in (most_weight, most_rows):
            if not 0 < most <= 1e9:
                raise ValueError(f"a largest weight of {most:g}: expected more than 0, at most a billion")
        return cls(config.secagg_clipping_range, config.secagg_bits, most_weight, most_rows)

    @property
    def levels(self) -> int:
        """Largest entry of one client's vector."""
        return 1 << self.bits

    @property
    def step(self) -> float:
        """Distance of two neighbouring numbers."""
        return 2 * self.clip / self.levels

    def encode(self, update: Floats, weight: float, rows: int, loss: float, steps: int, draws: Floats) -> Vector:
        """Return one client's vector [HEADER + size].

        Parameters
        ----------
        update : float64 ndarray [size]
            theta_k - theta.
        weight : float
            p_k.
        rows : int
        loss : float
            Training loss; one that is not a number counts as 0.
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
        say, part = self._whole(weight / self.most_weight), self._whole(rows / self.most_rows)
        clipped = int((np.abs(update) > self.clip).sum())
        factors = np.full(1 + len(update), say / self.levels)
        factors[0] = part / self.levels
        values = np.clip(np.concatenate([[np.nan_to_num(loss, nan=0.0)], update]), -self.clip, self.clip)
        numbers = np.minimum(np.floor((values * factors + self.clip) / self.step + draws), self.levels)
        counts = np.minimum([max(steps, 0), clipped], self.levels)
        return np.concatenate([[say, part], numbers[:1], counts, numbers[1:]]).astype(np.uint32)

    def _whole(self, share: float) -> int:
        return round(min(max(share, 0.0), 1.0) * self.levels)

    def decode(self, total: Vector, clients: int) -> Average | None:
        """Return what a sum of vectors [HEADER + size] stands for; None where no client had any weight.

        Raises
        ------
        ValueError
            For a sum that no so many clients' vectors have.
        """
        if (total > clients * self.levels).any():
            raise ValueError("the sum is none of vectors that clients may send")
        weight, rows = int(total[0]) / self.levels, int(total[1]) / self.levels
        if not weight:
            return None
        sums = np.concatenate([total[2:3], total[HEADER:]]).astype(np.float64) * self.step - clients * self.clip
        loss = float(sums[0]) / rows if rows else math.nan
        return Average(sums[1:] / weight, loss, int(total[3]), int(total[4]))


def roundings(config: FederationConfig, round_number: int, client: int, size: int) -> Floats:
    """Return the draws by which a client rounds its loss and update [1 + size], in (0, 1)."""
    return uniforms(counter_keys(config.seed, "secagg", round_number, client, np.arange(size + 1)))
