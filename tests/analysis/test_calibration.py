"""Reliability: bins of equal mass and the calibration error, by hand."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from edgefed.analysis.calibration import reliability


def test_two_bins_by_hand():
    """Twenty rows, ten of which are 60 % sure and six times right, ten 90 % sure and seven times right."""
    sure = np.repeat([0.6, 0.9], 10)
    right = np.array([1] * 6 + [0] * 4 + [1] * 7 + [0] * 3, bool)
    probabilities = np.stack([sure, 1 - sure], axis=1)

    found = reliability(probabilities, np.where(right, 0, 1))

    assert found.rows.tolist() == [10, 10]
    np.testing.assert_allclose(found.confidence, [0.6, 0.9])
    np.testing.assert_allclose(found.accuracy, [0.6, 0.7])
    assert found.error == pytest.approx((0 + 10 * 0.2) / 20)
    np.testing.assert_allclose([found.low[0], found.high[0]], proportion_confint(6, 10, method="wilson"))


@pytest.mark.parametrize(("rows", "bins"), [(1, 1), (19, 1), (20, 2), (99, 9), (1000, 10)])
def test_every_bin_holds_about_as_many_rows(rows, bins):
    rng = np.random.default_rng(0)
    found = reliability(rng.dirichlet([1, 1, 1], rows), rng.integers(0, 3, rows))

    assert len(found.rows) == bins
    assert found.rows.sum() == rows
    assert found.rows.max() - found.rows.min() <= 1
    assert (np.diff(found.confidence) >= 0).all()


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large_one():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1, 1, 1], 20_000)
    labels = (rng.random((len(p), 1)) < p.cumsum(1)).argmax(1)
    sharper = p**3 / (p**3).sum(1, keepdims=True)

    assert reliability(p, labels).error < 0.01
    assert reliability(sharper, labels).error > 0.1
