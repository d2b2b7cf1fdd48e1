"""Train, validation and test rows, and the long tail that makes classes globally rare."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.errors import SettingsError, shown, unknown
from edgefed.rng import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.datasets import Dataset

#: Fewest training rows of a class after thinning: below three a remedy has nothing to work with.
MIN_CLASS_ROWS = 3


@dataclass(frozen=True)
class Split:
    """Row numbers of a dataset, sorted: int64 arrays that share no row.

    ``pool`` is what clients hold; ``dropped`` are the rows that the tail took from it, a part of ``test``.
    ``order`` lists the classes from common to rare (empty without a tail).
    """

    pool: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    dropped: NDArray[np.int64]
    order: tuple[int, ...] = ()


def split(dataset: Dataset, config: FederationConfig) -> Split:
    """Split by class, then thin the training rows to the long tail.

    Every class keeps its share in each part to within one row, and has at least one in training. What the tail
    drops joins the test set, where recall is per class.

    Raises
    ------
    SettingsError
        When nothing is left to train or test on, or the tail needs more rows than there are.
    """
    seed = config.split_stream
    rng = stream(seed, "split")
    fractions = (config.test_fraction, config.validation_fraction)
    test, validation, pool = _stratified(dataset.labels, dataset.num_classes, fractions, rng)
    if not len(test):
        raise SettingsError(
            f"test-fraction={config.test_fraction:g}: no test row in {len(dataset.labels)} rows of "
            f"{dataset.num_classes} classes; a larger fraction, or more rows, would do"
        )
    if config.validation_fraction and not len(validation):
        raise SettingsError(
            f"validation-fraction={config.validation_fraction:g}: no validation row in "
            f"{len(dataset.labels)} rows of {dataset.num_classes} classes; a larger fraction, or 0, would do"
        )
    order = tail_order(dataset, config)
    if not order:
        return Split(pool, validation, test, np.empty(0, np.int64))
    kept = _thinned(dataset.labels[pool], order, config.long_tail, stream(seed, "long-tail"))
    dropped = np.delete(pool, kept)
    return Split(pool[kept], validation, np.sort(np.concatenate([test, dropped])), dropped, order)


def _stratified(
    labels: NDArray[np.int64], num_classes: int, fractions: tuple[float, float], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    owed = np.zeros(3)
    for label in range(num_classes):
        rows = rng.permutation(np.flatnonzero(labels == label))
        exact = np.round(np.multiply([*fractions, 1 - sum(fractions)], len(rows)), 9)
        sizes = np.floor(exact)
        left = len(rows) - int(sizes.sum())
        # Each part gets its share rounded down or up. What rounding took from a part in one class it is owed in the
        # next, so the totals are right as well; a part of training comes before all.
        claim = np.where(exact > sizes, exact - sizes + owed, -np.inf)
        claim[2] = np.inf if left and not sizes[2] else claim[2]
        sizes[np.argsort(-claim, kind="stable")[:left]] += 1
        owed += exact - sizes
        for part, piece in zip(parts, np.split(rows, np.cumsum(sizes[:2]).astype(np.int64)), strict=True):
            part.append(piece)
    test, validation, pool = (np.sort(np.concatenate(part)) for part in parts)
    return test, validation, pool


def tail_order(dataset: Dataset, config: FederationConfig) -> tuple[int, ...]:
    """Return the classes from common to rare, or nothing where ``long-tail`` is 1.

    ``rotate`` goes through all orders in turn by seed where there are few (up to four classes). With more classes
    every class is the rarest once in any C consecutive seeds; the most common one takes turns too, so that every
    pair of the two comes once in C (C - 1) seeds, and the order between them is random.

    Raises
    ------
    SettingsError
        When ``long-tail-order`` names no class, or not each class once.
    """
    given = () if config.long_tail_order == "rotate" else _given_order(dataset, config.long_tail_order)
    if config.long_tail == 1 or given:
        return given if config.long_tail > 1 else ()
    count, seed = dataset.num_classes, config.split_stream
    if count <= 4:
        orders = list(itertools.permutations(range(count)))
        return orders[seed % len(orders)]
    block, rarest = divmod(seed, count)
    commonest = (rarest + 1 + block % (count - 1)) % count
    between = np.setdiff1d(np.arange(count), [rarest, commonest])
    return (commonest, *stream(seed, "tail-order").permutation(between).tolist(), rarest)


def _given_order(dataset: Dataset, text: str) -> tuple[int, ...]:
    names = [part.strip() for part in text.split(",")]
    indices = {str(label) for label in range(dataset.num_classes)}
    order = []
    for name in names:
        if name in dataset.class_names:
            order.append(dataset.class_names.index(name))
        elif name in indices:
            order.append(int(name))
        else:
            raise SettingsError(f"long-tail-order={shown(text)}: {unknown('class', name, dataset.class_names)}")
    if sorted(order) != list(range(dataset.num_classes)):
        raise SettingsError(
            f"long-tail-order={shown(text)}: expected each of the {dataset.num_classes} classes once "
            f"({shown(','.join(dataset.class_names))}), or rotate"
        )
    return tuple(order)


def _thinned(
    labels: NDArray[np.int64], order: tuple[int, ...], tail: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the kept positions: class i of the order keeps n_0 tail^(-i / (C - 1)) rows.

    n_0 is what the order's first class holds, or less where a later class holds too few for its place.
    """
    held = np.bincount(labels, minlength=len(order))
    shares = tail ** (-np.arange(len(order)) / (len(order) - 1))
    head = float((held[list(order)] / shares).min())
    sizes = [_nearest(size) for size in head * shares]
    scarce = int(held.min())
    if scarce < MIN_CLASS_ROWS or sizes[-1] < MIN_CLASS_ROWS:
        # A size is rounded to whole rows, so a tail fits while its rarest class rounds to three.
        fits = math.floor(scarce / (MIN_CLASS_ROWS - 0.5) * 10) / 10
        would = f"at most {fits:g} fits" if scarce >= MIN_CLASS_ROWS else "this dataset bears no tail"
        raise SettingsError(
            f"long-tail={tail:g}: the rarest class would keep {min(sizes[-1], scarce)} training rows, "
            f"at least {MIN_CLASS_ROWS} are needed; {would} whatever the order"
        )
    kept = []
    for label, size in zip(order, sizes, strict=True):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept.append(rows[:size])
    return np.sort(np.concatenate(kept))


def _nearest(size: float) -> int:
    """Return the nearest whole number, halves (and what floating point left just below them) upwards."""
    return math.floor(size + 0.5 + 1e-9)
