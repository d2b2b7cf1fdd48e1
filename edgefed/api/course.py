"""A run's course: what the figures of a comparison need of it, taken out once."""

from __future__ import annotations

import math
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from edgefed.api.plan import RANKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.runs import Run

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class PackedRounds(Sequence[dict[str, Any]]):
    """A finished run's rounds, compressed: a comparison keeps those of hundreds, and looks at few.

    Rows come out as they went in, to the bit; each look unpacks them all (a millisecond or so).
    """

    def __init__(self, rounds: Sequence[dict[str, Any]]) -> None:
        self._count = len(rounds)
        self._packed = zlib.compress(pickle.dumps(list(rounds), protocol=5), 1)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._unpacked()[place]

    def __iter__(self) -> Any:
        return iter(self._unpacked())

    def _unpacked(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pickle.loads(zlib.decompress(self._packed))
        return rows


@dataclass(frozen=True)
class Course:
    """What the figures need of one run.

    Attributes
    ----------
    rounds : int64 ndarray [evaluated]
        Numbers of the rounds that were evaluated.
    score : float64 ndarray [evaluated]
        The ranked measure on test rows.
    moved : int64 ndarray [evaluated]
        Bytes moved up and down until then, the query round's among them.
    validation_loss : float64 ndarray [evaluated]
        Empty without validation rows.
    steps : float
        Mean local steps a client took in a round; nan where the run does not say.
    manifest : dict
    seconds, joules : float64 ndarray [evaluated]
        Modelled time and energy until then; empty where the run knows of none.
    """

    rounds: Ints
    score: Floats
    moved: Ints
    validation_loss: Floats
    steps: float
    manifest: dict[str, Any]
    seconds: Floats = field(default_factory=lambda: np.empty(0))
    joules: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, run: Run) -> Course:
        """Take out of a run what the figures need."""
        rows = list(run.rounds)
        tested = [place for place, row in enumerate(rows) if "test" in row]
        query = run.manifest["query_bytes"]
        moved = query["up"] + query["down"] + np.cumsum([row["bytes_up"] + row["bytes_down"] for row in rows])
        updates = sum(row["clients"] for row in rows)
        # A round without a reply took no step; a folder from before steps were kept knows of none.
        steps = sum(row.get("steps", math.nan if row["clients"] else 0) for row in rows)
        return cls(
            rounds=np.array([rows[place]["round"] for place in tested], np.int64),
            score=np.array([number(rows[place]["test"][RANKED]) for place in tested]),
            moved=moved[tested],
            validation_loss=np.array([number(row["validation"]["log_loss"]) for row in rows if "validation" in row]),
            steps=steps / updates if updates else math.nan,
            manifest=run.manifest,
            **{cost: _until(rows, cost, tested) for cost in ("seconds", "joules")},
        )

    @property
    def summary(self) -> dict[str, Any]:
        """The last round's measures, and what the run moved."""
        found: dict[str, Any] = self.manifest["summary"]
        return found

    def last(self, measure: str, rows: str = "test") -> float:
        """Return a measure of the last round on ``test`` or ``validation`` rows."""
        return number(self.summary[rows][measure])

    @property
    def last_tenth(self) -> float:
        """The ranked measure averaged over the last tenth of the rounds.

        At a rate at the edge of stability a model swings from round to round, and the last round is one of two answers.
        """
        return float(self.score[-max(1, len(self.score) // 10) :].mean())

    def still_falling(self, by: float) -> bool:
        """Return whether the validation loss fell by more than a share over the last tenth of the rounds."""
        losses = self.validation_loss
        tenth = max(1, len(losses) // 10)
        return len(losses) > tenth and bool(losses[-1] < (1 - by) * losses[-1 - tenth])

    def past_best(self, by: float) -> int | None:
        """Return the round of the lowest validation loss, where the last tenth of the rounds is a share above it.

        loss_best < mean(loss over the last tenth), by at least ``by`` times loss_best, and best lies before that tenth.
        """
        losses = self.validation_loss
        tenth = max(1, len(losses) // 10)
        if len(losses) <= tenth:
            return None
        best = int(losses[:-tenth].argmin())
        lowest, late = float(losses[best]), float(losses[-tenth:].mean())
        risen = math.isfinite(lowest) and lowest < late and late >= (1 + by) * lowest
        return int(self.rounds[best]) if risen and lowest <= losses.min() else None


def _until(rows: Sequence[dict[str, Any]], cost: str, tested: Sequence[int]) -> Floats:
    """Return what was spent until each evaluated round [evaluated]; empty for a folder from before costs were kept."""
    if not all("modelled" in row for row in rows):
        return np.empty(0)
    return np.asarray(np.cumsum([row["modelled"][cost] for row in rows], dtype=np.float64)[tested])


def number(value: float | None) -> float:
    """Return a figure; null stands in a folder for what JSON cannot hold: the log-loss of a model that diverged."""
    return math.inf if value is None else float(value)
