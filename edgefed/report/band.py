"""Mean and interval of many seeds at once, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """Mean over seeds by round with its 95 % t interval; low and high are nan below two seeds."""

    mean: Floats
    low: Floats
    high: Floats

    def within(self, least: float, most: float) -> Band:
        """Return the band cut at values that what it is of cannot pass."""
        return Band(self.mean, np.clip(self.low, least, most), np.clip(self.high, least, most))


def band(values: Floats) -> Band:
    """Return mean and 95 % t interval, mean +- t_{n-1} s / sqrt(n), of each column over its finite values.

    Parameters
    ----------
    values : float ndarray [seeds, rounds]
    """
    finite = np.isfinite(values)
    n = finite.sum(0).astype(float)
    n[n == 0] = np.nan
    mean = np.where(finite, values, 0).sum(0) / n
    squares = np.where(finite, (values - mean) ** 2, 0).sum(0)
    free = np.where(n > 1, n - 1, np.nan)
    half = stats.t.ppf(0.975, free) * np.sqrt(squares / free / n)
    return Band(mean, mean - half, mean + half)
