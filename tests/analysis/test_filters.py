"""Filters from additive statistics: scikit-learn's on the pooled rows, however they are shared out."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.feature_selection import f_classif, mutual_info_classif

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
    assert found.max() > 0.3


def test_the_share_of_variance_between_clients():
    """Two clients: x1 is theirs alone (0 and 1), x2 is the same on both, x3 never varies."""
    x = np.array([[0.0, 5.0, 2.0], [0.0, 7.0, 2.0], [1.0, 5.0, 2.0], [1.0, 7.0, 2.0]])
    moments = grouped(cells(x, np.zeros(4, int), np.array([0, 0, 1, 1])), axis=0)

    np.testing.assert_allclose(moments.between(), [1.0, 0.0, 0.0], atol=1e-15)
