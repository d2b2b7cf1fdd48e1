"""Measures of a classifier from its confusion matrix and probabilities: NumPy, over leading dimensions.

The label space is global: a class without rows has recall nan and is left out of averages, so that one client
or one round is never compared on another set of classes without notice.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int, real: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return counts [..., classes, classes]: row the true class, column the predicted one.

    Parameters
    ----------
    labels, predicted : int64 ndarray [..., rows]
    num_classes : int
    real : bool ndarray [..., rows]
        False for padding, which is not counted.
    """
    lead = labels.shape[:-1]
    group = np.arange(int(np.prod(lead)))[:, None]
    stacked = (len(group), labels.shape[-1])
    flat = (group * num_classes + labels.reshape(stacked)) * num_classes + predicted.reshape(stacked)
    counts = np.bincount(flat[real.reshape(stacked)], minlength=len(group) * num_classes**2)
    return counts.reshape(*lead, num_classes, num_classes)


def recall(confusion: NDArray[Any]) -> Floats:
    """Return recall by class [..., classes], n_cc / n_c; nan for a class without rows."""
    held = confusion.sum(-1).astype(float)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    return _ratio(hits, held)


def accuracy(confusion: NDArray[Any]) -> Floats:
    """Return the share of rows classified right [...]; nan without rows."""
    # Summed alike, class by class: weighted rows that are all right are then 1 to the last bit.
    held = confusion.sum(-1).astype(float)
    hits = np.array(np.diagonal(confusion, axis1=-2, axis2=-1), float, order="C")
    return _ratio(hits.sum(-1), held.sum(-1))


def balanced_accuracy(confusion: NDArray[Any]) -> Floats:
    """Return the mean recall over the classes that have rows [...] (Brodersen et al. 2010)."""
    return _quiet(np.nanmean, recall(confusion))


def worst_recall(confusion: NDArray[Any]) -> Floats:
    """Return the lowest recall of any class that has rows [...]."""
    return _quiet(np.nanmin, recall(confusion))


def macro_f1(confusion: NDArray[Any]) -> Floats:
    """Return the mean over all classes of F1 = 2 n_cc / (true_c + predicted_c) [...].

    A class that is neither held nor predicted is left out; one that is predicted but not held counts as 0.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    both = (confusion.sum(-1) + confusion.sum(-2)).astype(float)
    return _quiet(np.nanmean, _ratio(2 * hits, both))


def g_mean(confusion: NDArray[Any]) -> Floats:
    """Return the geometric mean of the recalls of classes that have rows [...] (Kubat & Matwin 1997)."""
    values = recall(confusion)
    with np.errstate(divide="ignore"):
        return np.exp(_quiet(np.nanmean, np.log(values)))


def log_loss(log_probabilities: Floats, labels: NDArray[np.int64], weight: NDArray[Any]) -> Floats:
    """Return -mean log p_y over rows [...], from log-probabilities [..., rows, classes]; nan without rows.

    ``weight`` [..., rows] is what a row counts: False or 0 for padding.
    """
    picked = np.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
    return _mean(-picked, weight)


def brier(probabilities: Floats, labels: NDArray[np.int64], weight: NDArray[Any]) -> Floats:
    """Return the mean over rows of sum_c (p_c - onehot_c)^2 [...] (Brier 1950); nan without rows.

    ``weight`` [..., rows] is what a row counts: False or 0 for padding.
    """
    onehot = np.eye(probabilities.shape[-1])[labels]
    return _mean(((probabilities - onehot) ** 2).sum(-1), weight)


def row_weights(held: NDArray[Any], mix: NDArray[Any]) -> Floats:
    """Return what a row of each class counts [..., classes], so that classes count as in ``mix``: mix_c / held_c.

    Parameters
    ----------
    held : ndarray [..., classes]
        Rows of each class that are measured.
    mix : ndarray [..., classes]
        Class counts or shares of the population that is spoken of. Equal to ``held``: all weights are exactly 1. A
        class without measured rows drops out, and the others keep their proportions.
    """
    weights: Floats = np.zeros(np.broadcast_shapes(held.shape, mix.shape))
    np.divide(mix, held, out=weights, where=held > 0)
    return weights


def _mean(values: Floats, weight: NDArray[Any]) -> Floats:
    return _ratio((np.where(weight > 0, values, 0.0) * weight).sum(-1), weight.sum(-1).astype(float))


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, nan where there is nothing to divide by."""
    ratio: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def measures(
    logits: Floats,
    labels: NDArray[np.int64],
    real: NDArray[np.bool_] | None = None,
    mix: NDArray[Any] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return every measure of logits [..., rows, classes] on labels [..., rows].

    Parameters
    ----------
    logits : float ndarray [..., rows, classes]
    labels : int64 ndarray [..., rows]
    real : bool ndarray [..., rows], optional
        False for padding. Neutral: all True.
    mix : ndarray [..., classes], optional
        Class mix (counts or shares) that ``accuracy``, ``macro_f1``, ``log_loss`` and ``brier`` stand at: with recalls
        r_c and shares q_c, accuracy is sum_c q_c r_c, log-loss and Brier the same of the classes' own means, and
        macro-F1 that of the confusion matrix with its rows weighted (:func:`row_weights`). Neutral: the rows' own mix.

    Returns
    -------
    dict
        Arrays [...]; ``recall`` is [..., classes], ``confusion`` (rows counted, not weighted) [..., classes, classes].
        Ties between classes go to the lower index. What averages recalls has no mix to stand at.
    """
    real = np.ones(labels.shape, bool) if real is None else real
    log_p = log_softmax(logits)
    confusion = confusion_matrix(labels, logits.argmax(-1), logits.shape[-1], real)
    weighted: NDArray[Any] = confusion
    weight: NDArray[Any] = real
    if mix is not None:
        by_class = row_weights(confusion.sum(-1), mix)
        weighted = confusion * by_class[..., None]
        weight = np.where(real, np.take_along_axis(by_class, labels, axis=-1), 0.0)
    return {
        "accuracy": accuracy(weighted),
        "balanced_accuracy": balanced_accuracy(confusion),
        "macro_f1": macro_f1(weighted),
        "worst_recall": worst_recall(confusion),
        "g_mean": g_mean(confusion),
        "log_loss": log_loss(log_p, labels, weight),
        "brier": brier(np.exp(log_p), labels, weight),
        "recall": recall(confusion),
        "confusion": confusion,
    }


def measures_of_counts(confusion: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the measures that a confusion matrix [..., classes, classes] alone gives, and itself."""
    return {
        "accuracy": accuracy(confusion),
        "balanced_accuracy": balanced_accuracy(confusion),
        "macro_f1": macro_f1(confusion),
        "worst_recall": worst_recall(confusion),
        "g_mean": g_mean(confusion),
        "recall": recall(confusion),
        "confusion": confusion,
    }


def log_softmax(logits: Floats) -> Floats:
    """Return log softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _quiet(reduce: Any, values: Floats) -> Floats:
    """Reduce over classes, giving nan without a warning where every class is empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(reduce(values, axis=-1))
