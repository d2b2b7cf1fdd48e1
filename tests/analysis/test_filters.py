"""Filters from additive statistics: scikit-learn's on the pooled rows, however they are shared out."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.feature_selection import f_classif, mutual_info_classif
from statsmodels.api import OLS

from edgefed.analysis.filters import Moments, anova_f, grouped, mutual_information

LOADERS = {"iris": load_iris, "wine": load_wine, "breast-cancer": load_breast_cancer}


def cells(x, y, owner):
    """Moments of each client's rows of each class [clients, classes, features], row by row from their definition."""
    clients, classes = owner.max() + 1, y.max() + 1
    found = np.zeros((3, clients, classes, x.shape[1]))
    for client in range(clients):
        for label in range(classes):
            rows = x[(owner == client) & (y == label)]
            found[0, client, label] = len(rows)
            if len(rows):
                found[1, client, label] = rows.mean(0)
                found[2, client, label] = ((rows - rows.mean(0)) ** 2).sum(0)
    return Moments(*found)


@pytest.mark.parametrize("clients", [1, 7, 140])
@pytest.mark.parametrize("dataset", LOADERS)
def test_anova_is_scikit_learns_on_the_pooled_rows(dataset, clients):
    x, y = LOADERS[dataset](return_X_y=True)
    owner = np.random.default_rng(0).integers(0, clients, len(y))
    owner[-1] = clients - 1

    f, p = anova_f(grouped(cells(x, y, owner), axis=1))

    expected, expected_p = f_classif(x, y)
    np.testing.assert_allclose(f, expected, rtol=1e-9)
    np.testing.assert_allclose(p, expected_p, rtol=1e-7, atol=1e-300)


def test_anova_of_a_constant_feature_and_of_one_that_tells_all():
    y = np.array([0, 0, 1, 1])
    x = np.array([[3.0, 0.0], [3.0, 0.0], [3.0, 1.0], [3.0, 1.0]])

    f, p = anova_f(grouped(cells(x, y, np.zeros(4, int)), axis=1))

    assert np.isnan(f[0])
    assert (f[1], p[1]) == (np.inf, 0)


@pytest.mark.parametrize("value", [0.1, 1 / 3, -1e9 / 7])
def test_what_rounding_leaves_of_a_constant_feature_is_nothing(value):
    """0.1 summed 7, 10 and 13 times gives means that differ in the last bit: no F follows from that."""
    y = np.repeat([0, 1, 2], [7, 10, 13])
    owner = np.arange(30) % 4
    constant = np.full((30, 1), value)
    by_class = value * np.array([1.0, -2.0, 0.7])[y][:, None]
    step = constant * (1 + 1e-7 * (np.arange(30) % 2)[:, None])  # what float32 still tells apart

    moments = cells(np.concatenate([constant, by_class, step], axis=1), y, owner)
    f, p = anova_f(grouped(moments, axis=1))

    assert np.isnan([f[0], p[0]]).all()
    assert (f[1], p[1]) == (np.inf, 0)
    assert np.isfinite([f[2], p[2]]).all()
    assert grouped(moments, axis=0).between()[0] == 0


def test_mutual_information_is_scikit_learns_on_the_pooled_rows_in_the_same_bins():
    x, y = load_wine(return_X_y=True)
    edges = np.quantile(x, np.arange(1, 6) / 6, axis=0).T
    binned = np.stack([np.searchsorted(edge, column, side="right") for edge, column in zip(edges, x.T, strict=True)])
    histogram = np.zeros((x.shape[1], 6, 3), int)
    for feature, column in enumerate(binned):
        np.add.at(histogram[feature], (column, y), 1)

    found = mutual_information(histogram)

    expected = mutual_info_classif(binned.T, y, discrete_features=True)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.max() > 0.2


def test_the_share_of_variance_between_clients():
    """Two clients: x1 is theirs alone (0 and 1), x2 is the same on both, x3 never varies."""
    x = np.array([[0.0, 5.0, 2.0], [0.0, 7.0, 2.0], [1.0, 5.0, 2.0], [1.0, 7.0, 2.0]])
    moments = grouped(cells(x, np.zeros(4, int), np.array([0, 0, 1, 1])), axis=0)

    np.testing.assert_allclose(moments.between(), [1.0, 0.0, 0.0], atol=1e-15)


@pytest.mark.parametrize("clients", [2, 10, 60])
def test_it_is_the_adjusted_share_of_a_regression_on_clients(clients):
    """epsilon^2 is adjusted R^2 with a dummy variable a group, which statsmodels knows."""
    x, y = load_iris(return_X_y=True)
    owner = np.random.default_rng(0).permutation(np.arange(len(y)) % clients)
    owner[y == 0] = 0  # a client has all flowers of one kind

    found = grouped(cells(x, y, owner), axis=0).between()

    who = np.eye(clients)[owner]
    who = who[:, who.any(0)]
    expected = [OLS(column, who).fit().rsquared_adj for column in x.T]
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-9)
    assert found.max() > 0.2


def test_rows_dealt_out_evenly_leave_nothing_between_many_small_clients():
    """Means of two or three rows differ by chance: eta^2 would say 0.4 of every feature."""
    x, y = load_iris(return_X_y=True)
    shares = []
    for seed in range(20):
        owner = np.random.default_rng(seed).permutation(np.arange(len(y)) % 60)
        shares.append(grouped(cells(x, y, owner), axis=0).between())

    assert np.mean(shares) < 0.06
    assert np.max(np.median(shares, axis=0)) < 0.06


def test_clients_of_one_row_each_tell_nothing_of_it():
    moments = grouped(cells(np.array([[1.0], [2.0], [4.0]]), np.zeros(3, int), np.arange(3)), axis=0)

    assert np.isnan(moments.between()).all()
