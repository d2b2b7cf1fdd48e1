"""Whether predicted probabilities can be taken at their word: reliability and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from statsmodels.stats.proportion import proportion_confint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_BINS, ROWS_A_BIN = 10, 10
"""Bins at most, and rows that each should hold."""


@dataclass(frozen=True)
class Reliability:
    """Rows in bins of equal mass, from the least to the most confident: arrays with an entry a bin.

    Attributes
    ----------
    rows : int64 ndarray [bins]
    confidence, accuracy : float64 ndarray [bins]
        Mean probability of the predicted class, and the share of rows where it is the true one.
    low, high : float64 ndarray [bins]
        95 % Wilson interval of the accuracy.
    """

    rows: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats

    @property
    def error(self) -> float:
        """Expected calibration error, sum over bins of n_b / n |accuracy_b - confidence_b|."""
        return float(self.rows @ np.abs(self.accuracy - self.confidence) / self.rows.sum())


def reliability(probabilities: Floats, labels: NDArray[np.int64]) -> Reliability:
    """Return how often the predicted class is right, by how sure the model was, in bins of equal mass.

    Parameters
    ----------
    probabilities : float64 ndarray [rows, classes]
    labels : int64 ndarray [rows]
        At least one.

    References
    ----------
    Nixon, Dusenberry, Zhang, Jerfel, Tran (2019), "Measuring calibration in deep learning", CVPR workshops: bins of
    equal mass (adaptive). Wilson (1927), "Probable inference".
    """
    sure = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    order = np.argsort(sure, kind="stable")
    bins = np.array_split(order, int(np.clip(len(order) // ROWS_A_BIN, 1, MOST_BINS)))
    rows = np.array([len(part) for part in bins])
    hits = np.array([int(right[part].sum()) for part in bins])
    low, high = proportion_confint(hits, rows, method="wilson")
    return Reliability(rows, np.array([sure[part].mean() for part in bins]), hits / rows, low, high)
