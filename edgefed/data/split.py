"""Train, validation and test rows, and the long tail that makes classes globally rare."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.config import SettingsError, unknown
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

    Every class keeps its share in each part to within one row; a class too small to be shared out stays in
    training first, then test. What the tail drops joins the test set, where recall is per class.

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
            f"test-fraction={config.test_fraction:g}: no test row in {len(dataset.labels)} rows; "
            "a larger fraction would do"
        )
    if config.validation_fraction and not len(validation):
        raise SettingsError(
            f"validation-fraction={config.validation_fraction:g}: no validation row in "
            f"{len(dataset.labels)} rows; a larger fraction, or 0, would do"
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
    carried = [0.0, 0.0]
    for label in range(num_classes):
        rows = rng.permutation(np.flatnonzero(labels == label))
        sizes = []
        for place, fraction in enumerate(fractions):
            # What rounding took from one class is carried to the next, so the totals are right as well.
            exact = fraction * len(rows) + carried[place]
            left = len(rows) - 1 - sum(sizes)
            size = min(max(math.floor(exact + 0.5), 0), max(left, 0))
            carried[place] = min(max(exact - size, -0.5), 0.5)
            sizes.append(size)
        cuts = np.cumsum(sizes)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    test, validation, pool = (np.sort(np.concatenate(part)) for part in parts)
    return test, validation, pool


def tail_order(dataset: Dataset, config: FederationConfig) -> tuple[int, ...]:
    """Return the classes from common to rare, or nothing where ``long-tail`` is 1.

    ``rotate`` goes through all orders in turn by seed where there are few (up to four classes); with more
    classes each block of C seeds rotates one random order, so that every class is the rarest once a block.
    """
    if config.long_tail == 1:
        return ()
    count, seed = dataset.num_classes, config.split_stream
    if config.long_tail_order != "rotate":
        return _given_order(dataset, config.long_tail_order)
    if count <= 4:
        orders = list(itertools.permutations(range(count)))
        return orders[seed % len(orders)]
    block, shift = divmod(seed, count)
    order = stream(block, "tail-order").permutation(count)
    return tuple(int(label) for label in np.roll(order, shift))


def _given_order(dataset: Dataset, text: str) -> tuple[int, ...]:
    names = [part.strip() for part in text.split(",")]
    order = []
    for name in names:
        if name in dataset.class_names:
            order.append(dataset.class_names.index(name))
        elif name.isdigit() and int(name) < dataset.num_classes:
            order.append(int(name))
        else:
            raise SettingsError(f"long-tail-order={text}: {unknown('class', name, dataset.class_names)}")
    if sorted(order) != list(range(dataset.num_classes)):
        raise SettingsError(
            f"long-tail-order={text}: expected each of the {dataset.num_classes} classes once "
            f"({','.join(dataset.class_names)}), or rotate"
        )
    return tuple(order)


def _thinned(
    labels: NDArray[np.int64], order: tuple[int, ...], tail: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the kept positions: class i of the order keeps n_0 tail^(-i / (C - 1)) rows."""
    held = np.bincount(labels, minlength=len(order))
    head = int(held[order[0]])
    sizes = [head * tail ** (-place / (len(order) - 1)) for place in range(len(order))]
    scarce = int(held[list(order)].min())
    if scarce < MIN_CLASS_ROWS or round(sizes[-1]) < MIN_CLASS_ROWS:
        # A size is rounded to whole rows, so a tail fits while its rarest class rounds to three.
        fits = math.floor(scarce / (MIN_CLASS_ROWS - 0.5) * 10) / 10
        would = f"at most {fits:g} fits" if scarce >= MIN_CLASS_ROWS else "this dataset bears no tail"
        raise SettingsError(
            f"long-tail={tail:g}: the rarest class would keep {min(sizes[-1], scarce):.1f} of {head} training "
            f"rows, at least {MIN_CLASS_ROWS} are needed; {would} whatever the order"
        )
    kept = []
    for label, size in zip(order, sizes, strict=True):
        rows = rng.permutation(np.flatnonzero(labels == label))
        kept.append(rows[: max(MIN_CLASS_ROWS, round(size))])
    return np.sort(np.concatenate(kept))
