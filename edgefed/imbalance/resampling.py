"""Resampling: another set of rows to train on, drawn once per (seed, client) with imbalanced-learn.

Shards are tiny, and imbalanced-learn's samplers are not made for that: they raise below two classes or at fewer rows
than neighbours, or return the rows unchanged without a word. Each case has its defined answer here, and what could not
be done as asked is noted by class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgefed.imbalance.remedy import Draw, Remedy, nothing_to_balance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.imbalance.remedy import Floats, Ints

#: SD of the noise on repeats of a class's only row, in the shard's SDs.
LONE_ROW_JITTER = 0.1


class _Resampling(Remedy):
    family: ClassVar[str] = "resampling"
    resamples: ClassVar[bool] = True

    def idle_because(self, local: Ints) -> list[str]:
        """One class, or classes already level, leave nothing to resample."""
        return nothing_to_balance(local)


def below_two_classes(local: Ints) -> list[str]:
    """Return for each client whether its shard is empty or of one class; empty text where neither."""
    held = (local > 0).sum(1)
    return [str(reason) for reason in np.select([held == 0, held == 1], ["empty shard", "one class only"], default="")]


def held_classes(labels: Ints) -> tuple[Ints, Ints]:
    """Return the classes that have rows, and how many each."""
    return np.unique(labels, return_counts=True)


class RandomOversampling(_Resampling):
    """Repeat rows of a shard's rarer classes until all its classes are level (imbalanced-learn).

    A client's weight in the average stays its row count *before* resampling.
    """

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return the shard's rows, then the repeated ones; the shard as it is below two classes."""
        if len(np.unique(labels)) < 2:
            return super().draw(features, labels, rng)
        from imblearn.over_sampling import RandomOverSampler

        sampler = RandomOverSampler(random_state=int(rng.integers(2**31)))
        sampler.fit_resample(np.arange(len(labels))[:, None], labels)
        return Draw(np.asarray(sampler.sample_indices_, np.int64))


class RandomUndersampling(_Resampling):
    """Leave out rows of a shard's commoner classes until all its classes are level (imbalanced-learn).

    On shards of a few rows it throws most of them away: its mean loss per step is over what is left.
    """

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return as many rows of each held class as the rarest has; the shard as it is where classes are level."""
        sizes = held_classes(labels)[1]
        if len(sizes) < 2 or (sizes == sizes[0]).all():
            return super().draw(features, labels, rng)
        from imblearn.under_sampling import RandomUnderSampler

        sampler = RandomUnderSampler(random_state=int(rng.integers(2**31)))
        sampler.fit_resample(np.arange(len(labels))[:, None], labels)
        return Draw(np.sort(np.asarray(sampler.sample_indices_, np.int64)))


class BalancedBatches(_Resampling):
    """Each step draws its rows anew, every class of the shard as likely: rows and steps stay (weights 1 / n_y).

    With replacement, from the shard's own rows; nothing is repeated on disk and no epoch exists. The cleanest of the
    resampling arms: only the mix of a batch changes.
    """

    balances_batches: ClassVar[bool] = True
    acts_on_level_classes: ClassVar[bool] = True

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return the shard's rows sorted by class, which is what the sampler of batches counts by."""
        return Draw(np.argsort(labels, kind="stable"))

    def idle_because(self, local: Ints) -> list[str]:
        """Say where there is one class, or none: no mix to change."""
        return below_two_classes(local)


class Oversampling(_Resampling, ABC):
    """Make rows for a shard's rarer classes until all its classes are level; subclasses say how."""

    @abstractmethod
    def made_for(
        self, features: Floats, labels: Ints, label: int, missing: int, rng: np.random.Generator
    ) -> tuple[Floats, str]:
        """Return new rows [made, features] of a class that has at least two, and what could not be done as asked."""

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return the shard's rows and those made for its rarer classes; the shard as it is below two classes.

        A class of one row has no neighbour and no spread: the row is repeated with Gaussian noise.
        """
        classes, sizes = held_classes(labels)
        if len(classes) < 2:
            return super().draw(features, labels, rng)
        made, made_labels, notes = [], [], []
        for label, size in zip(classes.tolist(), sizes.tolist(), strict=True):
            missing = int(sizes.max()) - size
            if not missing:
                continue
            if size == 1:
                rows, note = _around(features, labels == label, missing, rng), "one row: repeated with jitter"
            else:
                rows, note = self.made_for(features, labels, label, missing, rng)
            made.append(rows)
            made_labels.append(np.full(len(rows), label, np.int64))
            if note:
                notes.append((label, note))
        if not sum(map(len, made)):
            return Draw(np.arange(len(labels)), notes=tuple(notes))
        return Draw(np.arange(len(labels)), np.concatenate(made), np.concatenate(made_labels), tuple(notes))


def _around(features: Floats, which: Sequence[bool] | np.ndarray, count: int, rng: np.random.Generator) -> Floats:
    """Return repeats of one row with noise of a tenth of the shard's SD."""
    spread = features.std(0) * LONE_ROW_JITTER
    return np.asarray(features[which] + rng.normal(size=(count, features.shape[1])) * spread)


class SMOTE(Oversampling):
    """Rows between a rare class's row and one of its nearest k (Chawla et al. 2002; smote-neighbors).

    With fewer than k + 1 rows of a class, k is what there is.
    """

    def made_for(
        self, features: Floats, labels: Ints, label: int, missing: int, rng: np.random.Generator
    ) -> tuple[Floats, str]:
        """Return interpolated rows of the class."""
        from imblearn.over_sampling import SMOTE as Sampler  # noqa: N811 -- the literature's name for both

        size = int((labels == label).sum())
        asked, k = self.config.smote_neighbors, min(self.config.smote_neighbors, size - 1)
        sampler = Sampler(
            sampling_strategy={label: size + missing}, k_neighbors=k, random_state=int(rng.integers(2**31))
        )
        rows = sampler.fit_resample(features, labels)[0][len(labels) :]
        return rows, "" if k == asked else f"{size} rows: {k} of {asked} neighbours"


class BorderlineSMOTE(Oversampling):
    """SMOTE from those rows of a rare class whose neighbours are mostly of others (Han et al. 2005).

    A class without such rows is left as it is, which is noted: imbalanced-learn says nothing.
    """

    def made_for(
        self, features: Floats, labels: Ints, label: int, missing: int, rng: np.random.Generator
    ) -> tuple[Floats, str]:
        """Return interpolated rows near the border; none where no row lies there."""
        from imblearn.over_sampling import BorderlineSMOTE as Sampler

        size = int((labels == label).sum())
        asked, k = self.config.smote_neighbors, min(self.config.smote_neighbors, size - 1)
        sampler = Sampler(
            sampling_strategy={label: size + missing},
            k_neighbors=k,
            m_neighbors=min(10, len(labels) - 1),
            random_state=int(rng.integers(2**31)),
        )
        rows = sampler.fit_resample(features, labels)[0][len(labels) :]
        if not len(rows):
            return rows, "no row on the border: as it is"
        return rows, "" if k == asked else f"{size} rows: {k} of {asked} neighbours"


class SMOTETomek(SMOTE):
    """SMOTE, then rows of different classes that are each other's nearest are removed (Batista et al. 2004).

    A class that would lose its last row keeps what it had.
    """

    acts_on_level_classes: ClassVar[bool] = True

    def idle_because(self, local: Ints) -> list[str]:
        """Say where there is one class, or none; rows of level classes are cleaned too."""
        return below_two_classes(local)

    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return what SMOTE returns without its Tomek links."""
        drawn = super().draw(features, labels, rng)
        if len(np.unique(labels)) < 2:
            return drawn
        from imblearn.under_sampling import TomekLinks

        rows, made = features[drawn.rows], drawn.made_features
        kinds = labels[drawn.rows]
        if made is not None and drawn.made_labels is not None:
            rows, kinds = np.concatenate([rows, made]), np.concatenate([kinds, drawn.made_labels])
        cleaner = TomekLinks(sampling_strategy="all")
        cleaner.fit_resample(rows, kinds)
        kept = np.zeros(len(kinds), bool)
        kept[cleaner.sample_indices_] = True
        notes = list(drawn.notes)
        for label in np.setdiff1d(kinds, kinds[kept]).tolist():
            kept[kinds == label] = True
            notes.append((label, "all rows lie in Tomek links: kept"))
        ours, new = kept[: len(drawn.rows)], kept[len(drawn.rows) :]
        if made is None or drawn.made_labels is None or not new.any():
            return Draw(drawn.rows[ours], notes=tuple(notes))
        return Draw(drawn.rows[ours], made[new], drawn.made_labels[new], tuple(notes))
