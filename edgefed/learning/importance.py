"""Permutation importance of many clients at once: each permutes its own rows and nobody else's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.learning.metrics import log_softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Importance:
    """What each client's rows say of a model, as it is and with one feature permuted, or several together.

    Attributes
    ----------
    rows : int64 ndarray [clients, classes]
        Rows of each class.
    loss : float64 ndarray [clients, classes]
        Summed log-loss of the rows of each class.
    balanced_accuracy : float64 ndarray [clients]
        Over the classes that the client holds; 0 without rows.
    loss_increase : float64 ndarray [clients, classes, features + together]
        Sum over a class's rows of (log-loss permuted - log-loss), mean over permutations.
    accuracy_drop : float64 ndarray [clients, features + together]
        Balanced accuracy - balanced accuracy permuted, mean over permutations.
    """

    rows: Ints
    loss: Floats
    balanced_accuracy: Floats
    loss_increase: Floats
    accuracy_drop: Floats


def permutation_importance(
    logits: Callable[[Floats], Floats],
    features: Floats,
    labels: Ints,
    owner: Ints,
    clients: int,
    classes: int,
    permutations: Iterable[Ints],
    together: Sequence[Ints] = (),
) -> Importance:
    """Return how much worse a model does where one feature's values are permuted among a client's own rows.

    I_f = E over permutations of [loss(y, model(x with x_f permuted)) - loss(y, model(x))], and the same of balanced
    accuracy with the sign turned. In one permutation all features follow the same order of rows, one at a time.

    Parameters
    ----------
    logits : callable
        float64 ndarray [rows, features] -> float64 ndarray [rows, classes].
    features : float64 ndarray [rows, features]
    labels, owner : int64 ndarray [rows]
        Class and client (0 to ``clients`` - 1) of each row.
    clients, classes : int
    permutations : iterable of int64 ndarray [rows]
        Row i takes the value of row ``permutation[i]``, which must be the same client's.
    together : sequence of int64 ndarray
        Features that are also permuted as one, as a category's indicators: a row then takes another's category whole.
        Neutral: none.

    References
    ----------
    Breiman (2001), "Random forests", Machine Learning 45; Fisher, Rudin, Dominici (2019), "All models are wrong, but
    many are useful", JMLR 20.
    """
    cell = owner * classes + labels
    cells = clients * classes
    rows = np.bincount(cell, minlength=cells).reshape(clients, classes)

    def scored(x: Floats) -> tuple[Floats, Floats]:
        found = logits(x)
        # A model that diverged is undecided about such rows: the loss of even odds, and class 0.
        found = np.where(np.isfinite(found).all(-1, keepdims=True), found, 0.0)
        loss = -log_softmax(found)[np.arange(len(labels)), labels]
        hits = np.bincount(cell, found.argmax(1) == labels, minlength=cells).reshape(clients, classes)
        return loss, _mean_recall(hits, rows)

    loss, accuracy = scored(features)
    parts = [*np.arange(features.shape[1])[:, None], *together]
    increase = np.zeros((clients, classes, len(parts)))
    drop = np.zeros((clients, len(parts)))
    repeats = 0
    x = features.copy()
    for permutation in permutations:
        repeats += 1
        for place, part in enumerate(parts):
            x[:, part] = features[np.ix_(permutation, part)]
            permuted_loss, permuted_accuracy = scored(x)
            x[:, part] = features[:, part]
            by_class = np.bincount(cell, permuted_loss - loss, minlength=cells)
            increase[..., place] += by_class.reshape(clients, classes)
            drop[:, place] += accuracy - permuted_accuracy
    return Importance(
        rows=rows,
        loss=np.bincount(cell, loss, minlength=cells).reshape(clients, classes).astype(np.float64),
        balanced_accuracy=accuracy,
        loss_increase=increase / max(repeats, 1),
        accuracy_drop=drop / max(repeats, 1),
    )


def _mean_recall(hits: NDArray[Any], rows: Ints) -> Floats:
    """Return balanced accuracy over the classes that have rows [clients]; 0 where none has."""
    recall = hits / np.maximum(rows, 1)
    return np.asarray(recall.sum(1) / np.maximum((rows > 0).sum(1), 1))
