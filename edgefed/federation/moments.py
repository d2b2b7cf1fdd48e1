"""Additive statistics of clients' rows, and what all clients' together come to: for scaling, and for class weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefed.imbalance import REMEDIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.partition import Partition

    Floats = NDArray[np.float64]

CLIENTS_BLOCK = 4096
"""Clients whose rows are looked at at once."""


def moments_of(features: NDArray[np.floating], rows: Partition) -> tuple[Floats, Floats, Floats]:
    """Return count, mean and sum of squared deviations of each client's rows [clients, features].

    Two passes in float64: raw sums of squares lose the deviation of a feature with a large mean. NaN is left out.
    """
    count, mean, m2 = (np.zeros((len(rows), features.shape[1])) for _ in range(3))
    # In blocks: a million clients' rows in float64, several times over, would set the peak of memory.
    for start in range(0, len(rows), CLIENTS_BLOCK):
        block = np.arange(start, min(start + CLIENTS_BLOCK, len(rows)))
        count[block], mean[block], m2[block] = _block_moments(features, rows.take(block))
    return count, mean, m2


def _block_moments(features: NDArray[np.floating], rows: Partition) -> tuple[Floats, Floats, Floats]:
    values = features[rows.indices].astype(np.float64)
    real = ~np.isnan(values)
    values = np.where(real, values, 0.0)
    count = _sums(real.astype(np.float64), rows)
    mean = _sums(values, rows) / np.maximum(count, 1)
    owner = np.repeat(np.arange(len(rows)), rows.sizes)
    deviation = np.where(real, values - mean[owner], 0.0)
    return count, mean, _sums(deviation * deviation, rows)


def _sums(values: Floats, rows: Partition) -> Floats:
    """Return sums over each client's rows [clients, columns]; zeros for an empty shard."""
    held = rows.sizes > 0
    sums = np.zeros((len(rows), values.shape[1]))
    if held.any():
        sums[held] = np.add.reduceat(values, rows.offsets[:-1][held], axis=0)
    return sums


def scale_of(count: Floats, mean: Floats, m2: Floats) -> Floats:
    """Return the deviation to divide by [..., features]: population sd, or 1 for a constant feature.

    Constant up to rounding, by the bound that scikit-learn's StandardScaler uses.
    """
    rows = np.maximum(count, 1)
    variance = m2 / rows
    epsilon = np.finfo(np.float64).eps
    constant = variance <= rows * epsilon * variance + (rows * mean * epsilon) ** 2
    return np.where(constant, 1.0, np.sqrt(variance))


def total_counts(config: FederationConfig, told: NDArray[np.generic]) -> Floats:
    """Return all clients' class counts [classes] from what each says [clients, classes].

    Noise can take a rare class below one row, where a weight or a logarithm would run away: such a class counts as one.
    """
    total = told.astype(np.float64).sum(0)
    return np.asarray(np.maximum(total, 1.0) if REMEDIES[config.imbalance](config).tells_noisy_counts else total)


def merged(columns: Mapping[str, NDArray[np.generic]]) -> tuple[Floats, Floats, Floats]:
    """Merge clients' moments [clients, features] into the pooled rows' count, mean and M2 [features].

    Chan, Golub, LeVeque (1983), "Algorithms for computing the sample variance", generalised to many parts:

    mean = sum_k n_k mean_k / n, M2 = sum_k M2_k + n_k (mean_k - mean)^2, all in float64: exact up to rounding.
    """
    count, mean, m2 = (columns[f"feature-{name}"].astype(np.float64) for name in ("count", "mean", "m2"))
    total = count.sum(0)
    pooled = (count * mean).sum(0) / np.maximum(total, 1)
    return total, pooled, (m2 + count * (mean - pooled) ** 2).sum(0)
