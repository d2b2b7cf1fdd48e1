"""Permutation importance: scikit-learn's on the same permutations, and each client's own rows only."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance as sklearn_importance

from edgefed.learning.importance import permutation_importance
from edgefed.learning.metrics import log_softmax

ROWS, FEATURES, CLASSES = 60, 4, 3
WEIGHTS = np.random.default_rng(0).normal(size=(FEATURES, CLASSES))


def logits(x):
    return x @ WEIGHTS


class Linear(ClassifierMixin, BaseEstimator):
    """The same model as scikit-learn has it."""

    def fit(self, X, y):
        self.classes_ = np.arange(CLASSES)
        return self

    def predict_proba(self, X):
        return np.exp(log_softmax(logits(X)))

    def predict(self, X):
        return logits(X).argmax(1)


class Shuffler:
    """Stands for scikit-learn's random state: hands out given permutations, to every feature the same.

    scikit-learn permutes what the last permutation left: it is given the step from there to the next one.
    """

    def __init__(self, permutations):
        self.permutations = iter(permutations)
        self.last = np.arange(ROWS)

    def shuffle(self, order):
        wanted = next(self.permutations)
        order[:] = np.argsort(self.last)[wanted]
        self.last = wanted


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, FEATURES))
    y = (logits(x) + rng.gumbel(size=(ROWS, CLASSES))).argmax(1)
    return x, y


def test_one_client_is_scikit_learns_on_the_same_permutations(rows, monkeypatch):
    x, y = rows
    permutations = [np.random.default_rng(seed).permutation(ROWS) for seed in range(5)]
    monkeypatch.setattr(
        "sklearn.inspection._permutation_importance.check_random_state",
        lambda seed: np.random.RandomState(0) if seed is None else Shuffler(permutations),
    )
    theirs = sklearn_importance(
        Linear().fit(x, y), x, y, scoring=["neg_log_loss", "balanced_accuracy"], n_repeats=5, random_state=None
    )

    ours = permutation_importance(logits, x, y, np.zeros(ROWS, np.int64), 1, CLASSES, permutations)

    np.testing.assert_allclose(
        ours.loss_increase[0].sum(0) / ROWS, theirs["neg_log_loss"].importances_mean, rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(ours.accuracy_drop[0], theirs["balanced_accuracy"].importances_mean, atol=1e-12)
    assert (np.abs(ours.accuracy_drop[0]) > 0.01).any()


def test_each_client_of_many_is_what_it_is_alone(rows):
    x, y = rows
    owner = np.repeat([0, 1, 2, 3], [30, 20, 10, 0][:4])
    inner = [np.random.default_rng(seed) for seed in range(3)]
    permutations = [
        np.concatenate([rng.permutation(30), 30 + rng.permutation(20), 50 + rng.permutation(10)]) for rng in inner
    ]

    together = permutation_importance(logits, x, y, owner, 4, CLASSES, permutations)

    for client, (start, stop) in enumerate(((0, 30), (30, 50), (50, 60))):
        own = [order[start:stop] - start for order in permutations]
        nobody = np.zeros(stop - start, np.int64)
        alone = permutation_importance(logits, x[start:stop], y[start:stop], nobody, 1, CLASSES, own)
        for name in ("rows", "loss", "balanced_accuracy", "loss_increase", "accuracy_drop"):
            np.testing.assert_allclose(getattr(together, name)[client], getattr(alone, name)[0], atol=1e-12)
    assert together.rows[3].sum() == together.accuracy_drop[3].any() == 0


def test_a_feature_that_the_model_does_not_read_has_no_importance(rows):
    x, y = rows
    x = np.concatenate([x, np.random.default_rng(2).normal(size=(ROWS, 1))], axis=1)
    found = permutation_importance(
        lambda rows: logits(rows[:, :FEATURES]), x, y, np.zeros(ROWS, np.int64), 1, CLASSES, [np.arange(ROWS)[::-1]]
    )

    assert not found.loss_increase[..., -1].any()
    assert not found.accuracy_drop[:, -1].any()
    assert found.loss_increase[..., :-1].any()


def test_features_permuted_together_are_scikit_learns_one_column_that_holds_them(rows, monkeypatch):
    """One feature of a frame of objects, each a row's indicators: scikit-learn cannot but permute them as one."""
    x, y = rows
    permutations = [np.random.default_rng(seed).permutation(ROWS) for seed in range(4)]
    monkeypatch.setattr(
        "sklearn.inspection._permutation_importance.check_random_state",
        lambda seed: np.random.RandomState(0) if seed is None else Shuffler(permutations),
    )
    whole = np.empty((ROWS, 2), object)
    whole[:, 0] = list(x[:, [1, 3]])
    whole[:, 1] = list(x[:, [0, 2]])

    class OfObjects(Linear):
        def predict_proba(self, X):
            apart = np.empty((len(X), FEATURES))
            apart[:, [1, 3]], apart[:, [0, 2]] = (np.stack(list(X[:, place])) for place in (0, 1))
            return super().predict_proba(apart)

        def predict(self, X):
            return self.predict_proba(X).argmax(1)

    theirs = sklearn_importance(
        OfObjects().fit(whole, y), whole, y, scoring=["neg_log_loss", "balanced_accuracy"], n_repeats=4
    )
    ours = permutation_importance(
        logits, x, y, np.zeros(ROWS, np.int64), 1, CLASSES, permutations, [np.array([1, 3]), np.array([0, 2])]
    )
    alone = permutation_importance(logits, x, y, np.zeros(ROWS, np.int64), 1, CLASSES, permutations)

    np.testing.assert_allclose(
        ours.loss_increase[0, :, FEATURES:].sum(0) / ROWS, theirs["neg_log_loss"].importances_mean, atol=1e-12
    )
    np.testing.assert_allclose(
        ours.accuracy_drop[0, FEATURES:], theirs["balanced_accuracy"].importances_mean, atol=1e-12
    )
    np.testing.assert_array_equal(ours.loss_increase[..., :FEATURES], alone.loss_increase)
    np.testing.assert_array_equal(ours.accuracy_drop[:, :FEATURES], alone.accuracy_drop)


def test_it_leaves_the_rows_as_they_are(rows):
    x, y = rows
    before = x.copy()
    permutation_importance(logits, x, y, np.zeros(ROWS, np.int64), 1, CLASSES, [np.arange(ROWS)[::-1]])

    assert x.tobytes() == before.tobytes()


def test_a_model_that_diverged_counts_as_undecided():
    x, y = np.ones((4, 1)), np.array([0, 1, 0, 1])
    found = permutation_importance(
        lambda rows: np.full((4, 2), np.nan), x, y, np.zeros(4, np.int64), 1, 2, [np.arange(4)[::-1]]
    )

    np.testing.assert_allclose(found.loss.sum(), 4 * np.log(2))
    assert found.balanced_accuracy[0] == 0.5
