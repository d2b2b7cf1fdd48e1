"""From what clients said to figures: weights, intervals, ranks, by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from edgefed.analysis.explanation import (
    METHODS,
    agreement,
    by_class,
    by_client,
    importance,
    over_clients,
    pooled,
    rank_correlation,
    rankings,
    stability,
)

FEATURES = ("a", "b", "c")


def said(seed=0, clients=5, classes=2):
    """What clients might say; the last has no row."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 20, (clients, classes))
    rows[-1] = 0
    shape = (clients, classes, len(FEATURES))
    sums = rng.random(shape) * np.array([3.0, 1.0, 2.0]) * rows[..., None]
    count = np.repeat(rows[..., None], 3, 2).astype(float)
    return {
        "rows": rows,
        "loss-increase": sums,
        "accuracy-drop": rng.random((clients, 3)),
        "attributed-rows": rows,
        "shap": sums / 2,
        "integrated-gradients": sums / 3,
        "class-count": count,
        "class-mean": rng.normal(size=shape),
        "class-m2": rng.random(shape) * count,
        "histogram": rng.integers(1, 9, (3, 4, 2)),
    }


def test_a_clients_importance_is_the_mean_over_its_rows():
    told = said()
    values, rows = by_client(told, "loss")

    assert values[1, 0] == pytest.approx(told["loss-increase"][1, :, 0].sum() / told["rows"][1].sum())
    assert rows.tolist() == told["rows"].sum(1).tolist()
    assert np.isnan(values[-1]).all()
    expected = told["loss-increase"].sum((0, 1)) / told["rows"].sum()
    np.testing.assert_allclose(pooled(values, rows), expected)


def test_a_classes_importance_is_the_mean_over_its_rows_everywhere():
    told = said()
    told["rows"][:, 1] = 0

    found = by_class(told, "loss")

    np.testing.assert_allclose(found[0], told["loss-increase"][:, 0].sum(0) / told["rows"][:, 0].sum())
    assert np.isnan(found[1]).all()


def capped():
    """Two clients, the larger of which had a tenth of its rows attributed, and a third one none."""
    told = said(clients=3)
    told["rows"] = np.array([[150, 50], [0, 20], [7, 0]])
    told["attributed-rows"] = np.array([[10, 10], [0, 20], [0, 0]])
    mean = np.zeros((3, 2, 3))
    mean[0, 0], mean[0, 1], mean[1, 1] = (0.6, 0.1, 0.0), (0.2, 0.1, 0.0), (0.0, 0.0, 0.9)
    for method in ("shap", "integrated-gradients"):
        told[method] = mean * told["attributed-rows"][..., None]
    return told


@pytest.mark.parametrize("method", ["shap", "integrated-gradients"])
def test_rows_attributed_stand_for_all_rows_of_their_client(method):
    """Clients weigh 200 and 20, as they do under permutation, and not 20 and 20, as many as were drawn of each."""
    values, rows = by_client(capped(), method)

    assert rows.tolist() == [200, 20, 0]
    np.testing.assert_allclose(values[:2], [[0.4, 0.1, 0.0], [0.0, 0.0, 0.9]])
    assert np.isnan(values[2]).all()
    np.testing.assert_allclose(pooled(values, rows), [200 * 0.4 / 220, 20 / 220, 20 * 0.9 / 220])
    assert rankings(capped())[method].argmax() == 0


@pytest.mark.parametrize("method", ["shap", "integrated-gradients"])
def test_a_class_counts_each_client_by_its_rows_of_it(method):
    found = by_class(capped(), method)

    np.testing.assert_allclose(found[0], [0.6, 0.1, 0.0])
    np.testing.assert_allclose(found[1], [50 * 0.2 / 70, 50 * 0.1 / 70, 20 * 0.9 / 70])


def test_clients_of_one_size_have_the_t_interval():
    values = np.array([0.1, 0.4, 0.2, 0.7])

    found = over_clients(values, np.full(4, 12.0))

    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_clients_of_other_sizes_have_the_ratio_estimators_interval():
    """Regression through the origin of sums on sizes, weighted by 1 / size, is the ratio; K / (K - 1) HC0 its variance.

    With y_k = n_k d_k and the ratio r = sum y / sum n, residuals are n_k (d_k - r): Cochran's variance is theirs.
    """
    values, rows = np.array([0.1, 0.4, 0.2, 0.7]), np.array([5.0, 20.0, 1.0, 8.0])
    ratio = LinearRegression(fit_intercept=False).fit(rows[:, None], rows * values, sample_weight=1 / rows).coef_[0]
    residuals = rows * values - ratio * rows
    error = math.sqrt(4 / 3 * (residuals**2).sum()) / rows.sum()

    found = over_clients(np.append(values, np.nan), np.append(rows, 0.0))

    assert found.mean == pytest.approx(ratio)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 3) * error)


def test_one_client_has_no_interval():
    found = over_clients(np.array([0.3]), np.array([9.0]))
    assert found.mean == 0.3
    assert math.isnan(found.low)


def test_features_come_strongest_first_with_intervals_over_clients_or_seeds():
    one, several = importance([said()], FEATURES), importance([said(seed) for seed in range(4)], FEATURES)

    for found in (one, several):
        means = [row["mean"] for row in found]
        assert means == sorted(means, reverse=True)
        assert {row["feature"] for row in found} == set(FEATURES)
        assert all(row["low"] < row["mean"] < row["high"] for row in found)
    row = several[0]
    low, high = stats.t.interval(0.95, 3, np.mean(row["values"]), stats.sem(row["values"]))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    values, rows = by_client(said(), "loss")
    place = FEATURES.index(one[0]["feature"])
    assert one[0]["clients_std"] == pytest.approx(np.std(values[rows > 0, place], ddof=1))


def test_agreement_and_stability_are_rank_correlations():
    runs = [said(seed) for seed in range(3)]
    matrix = np.array(agreement(runs))

    assert matrix.shape == (len(METHODS), len(METHODS))
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    # SHAP is half and integrated gradients a third of the increase in loss here: the same order.
    names = list(METHODS)
    np.testing.assert_allclose(matrix[names.index("loss"), names.index("shap")], 1)
    means = [pooled(*by_client(run, "loss")) for run in runs]
    pairs = [stats.spearmanr(means[a], means[b]).statistic for a, b in ((1, 0), (2, 0), (2, 1))]
    assert stability(runs)["loss"] == pytest.approx(np.mean(pairs))


def test_stability_of_one_run_is_over_clients_with_ten_rows():
    told = said(clients=4)
    told["rows"] = np.array([[30, 0], [20, 2], [3, 1], [0, 0]])
    values, _ = by_client(told, "loss")

    found = stability([told])

    assert found["loss"] == pytest.approx(stats.spearmanr(values[0], values[1]).statistic)
    assert math.isnan(found["anova-f"])


def test_rank_correlation_of_what_does_not_vary_is_not_known():
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert rank_correlation(np.array([1.0, 5.0, 2.0, np.nan]), np.array([2.0, 9.0, 3.0, 0.0])) == pytest.approx(1)
