"""A client's update as whole numbers that can be summed under masks, and the sum as an average again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Floats = NDArray[np.float64]
    Vector = NDArray[np.uint32]  # sums are modulo 2^32

HEADER = 6
"""Entries before the update's: weight, rows, rows with a loss, the loss by those, steps, numbers that were clipped."""

LARGEST_LOSS = 128.0
"""Training losses of 0 to this are told; one beyond, or that is no number, counts as none."""


class BareSumError(ValueError):
    """A sum that is refused although its masks are off, as its header shows: no other shares would change it."""


@dataclass(frozen=True)
class Average:
    """What the server learns of a round.

    Attributes
    ----------
    update : float64 ndarray [size]
        sum_k p_k (theta_k - theta) / sum_k p_k.
    loss : float
        Training loss, averaged by the rows of the clients that have one; nan where none has.
    told : float
        Share of the rows whose clients have one.
    steps, clipped : int
        Summed over clients: steps, and numbers of updates that lay beyond the range.
    """

    update: Floats
    loss: float
    told: float
    steps: int
    clipped: int


@dataclass(frozen=True)
class Quantizer:
    """Fixed-point numbers of ``bits`` bits for what lies within [-clip, clip], weighted by a share of ``most_weight``.

    With L = 2^bits and the weight w_k = round(L min(p_k, most) / most) / L a client sends

        q_k = floor((w_k clip(theta_k - theta) + clip) L / (2 clip) + u),    u ~ U(0, 1)

    so that E[q_k] is right and |q_k step - clip - w_k (theta_k - theta)| < step = 2 clip / L. A weight that would be
    rounded to nothing is 1 / L. An average of K clients is off by less than K step / sum_k w_k. Every entry is at most
    L, so a sum of fewer than 2^(32 - bits) clients
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
            Training loss; one that is not a number of 0 to ``LARGEST_LOSS`` is left out, with its rows.
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
        say, part = self._whole(weight, self.most_weight), self._whole(rows, self.most_rows)
        clipped = int((np.abs(update) > self.clip).sum())
        told = part if 0 <= loss <= LARGEST_LOSS else 0
        summed = told * (loss / LARGEST_LOSS) if told else 0.0
        values = np.clip(update, -self.clip, self.clip) * (say / self.levels)
        numbers = np.concatenate([[summed], (values + self.clip) / self.step])
        numbers = np.minimum(np.floor(numbers + draws), self.levels)
        counts = np.minimum([max(steps, 0), clipped], self.levels)
        return np.concatenate([[say, part, told], numbers[:1], counts, numbers[1:]]).astype(np.uint32)

    def _whole(self, part: float, most: float) -> int:
        """Return a weight as a whole number: 1 at least where there is any, or small clients would have no say."""
        if part <= 0:
            return 0
        return max(1, round(min(part / most, 1.0) * self.levels))

    def decode(
        self, total: Vector, rows: Sequence[int], say: tuple[float, float] | None = None, longest: float = math.inf
    ) -> Average | None:
        """Return what a sum of vectors [HEADER + size] stands for; None where no client had any weight.

        Parameters
        ----------
        total : uint32 ndarray [HEADER + size]
        rows : sequence of int
            Those of each client in the sum, as it said in the query.
        say : (float, float), optional
            The least and the largest weight that a client may have. Neutral: it is its rows, known to the server.
        longest : float
            Largest L2 norm of the average: an average is no longer than the longest update in it.

        Raises
        ------
        ValueError
            For a sum that no vectors of these clients have. A sum does not tell whose fault it is.
        BareSumError
            Where only what follows the header is none of theirs, or the average is longer.
        """
        clients = len(rows)
        weight, part, told = (int(total[place]) for place in range(3))
        held = sum(self._whole(count, self.most_rows) for count in rows)
        if say is None:
            least = most = sum(self._whole(count, self.most_weight) for count in rows)
        else:
            least, most = (clients * self._whole(bound, self.most_weight) for bound in say)
        known = part == held and least <= weight <= most and told <= part and total[3] <= told + clients
        if not known:
            raise ValueError(NONE_OF_THESE)
        if (total > clients * self.levels).any():
            raise BareSumError(NONE_OF_THESE)
        if not weight:
            return None
        average = (total[HEADER:].astype(np.float64) * self.step - clients * self.clip) / (weight / self.levels)
        off = clients * self.step / (weight / self.levels)  # what rounding may have added to each number
        if np.abs(average).max() > self.clip + off:
            raise BareSumError(NONE_OF_THESE)
        if (norm := float(np.linalg.norm(average))) > longest + off * math.sqrt(len(average)):
            raise BareSumError(
                f"the average is {norm:.3g} long, secagg-max-norm={longest:g}: so is some client's update, and a sum "
                "does not tell whose"
            )
        loss = LARGEST_LOSS * int(total[3]) / told if told else math.nan
        return Average(average, loss, told / part, int(total[4]), int(total[5]))


NONE_OF_THESE = "the sum is none of vectors that these clients may send, and a sum does not tell whose is false"


def roundings(config: FederationConfig, round_number: int, client: int, size: int) -> Floats:
    """Return the draws by which a client rounds its loss and update [1 + size], in (0, 1)."""
    return uniforms(counter_keys(config.seed, "secagg", round_number, client, np.arange(size + 1)))
