"""The server's own evaluation: many federations' models on their held-out rows in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.learning.metrics import balanced_accuracy, measures, measures_of_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.data.shards import FederatedData
    from edgefed.federation.guidance import Guidance
    from edgefed.learning.model import MLP

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Rows that the server holds.

    Attributes
    ----------
    features : float32 ndarray [rows, features]
        NaN: empty cell.
    labels : int64 ndarray [rows]
    mix : int64 ndarray [classes] or None
        Class counts of the population that accuracy, macro-F1, log-loss and Brier score stand at; None: the rows' own.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    mix: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, data: FederatedData, rows: str) -> HeldOut:
        """Return the ``validation`` or ``test`` rows of a dataset that was split.

        What a long tail drops from training joins the test rows, whose classes are then mixed nearly the other way
        round: a model that favours rare classes would look good for it. Such test rows stand for the data's own mix.
        """
        chosen = getattr(data.split, rows)
        labels = data.dataset.labels
        turned = rows == "test" and len(data.split.dropped)
        mix = np.bincount(labels, minlength=data.dataset.num_classes) if turned else None
        return cls(data.dataset.features[chosen], labels[chosen], mix)

    def ready(self, guidance: Guidance, standardize: str) -> Floats:
        """Return the features as the global model expects them, by the pooled mean and scale."""
        features = self.features.astype(np.float64)
        features = np.where(np.isnan(features), guidance.mean, features)
        return features if standardize == "none" else (features - guidance.mean) / guidance.scale


class StackedEvaluation:
    """Evaluates many models of one architecture, each on its own rows.

    Parameters
    ----------
    model : MLP
    dtype : torch.dtype
    features : sequence of float64 ndarray [rows, features], one a model, standardised
    labels : sequence of int64 ndarray [rows]
    shifts : sequence of float64 ndarray [classes]
        Added to each model's logits.
    mixes : sequence of ndarray [classes] or None, optional
        Class mix that each model's measures stand at; None: that of its rows.
    """

    def __init__(
        self,
        model: MLP,
        dtype: torch.dtype,
        features: Sequence[Floats],
        labels: Sequence[NDArray[np.int64]],
        shifts: Sequence[Floats],
        mixes: Sequence[NDArray[np.int64] | None] | None = None,
    ) -> None:
        rows = max((len(y) for y in labels), default=0)
        x = np.zeros((len(labels), rows, model.inputs))
        self.labels = np.zeros((len(labels), rows), np.int64)
        self.real = np.zeros((len(labels), rows), bool)
        for place, (part_x, part_y) in enumerate(zip(features, labels, strict=True)):
            x[place, : len(part_y)] = part_x
            self.labels[place, : len(part_y)] = part_y
            self.real[place, : len(part_y)] = True
        self.model = model
        self.features = torch.from_numpy(x).to(dtype)
        self.shifts = np.stack(shifts)[:, None, :]
        self.mix = _stacked(mixes, labels, model.classes) if mixes is not None else None

    @torch.no_grad()
    def __call__(self, stack: NDArray[np.floating]) -> list[dict[str, Any]]:
        """Return each model's measures, ready for JSON, from weights [models, size]."""
        params = torch.from_numpy(stack).to(self.features.dtype)
        logits = self.model.forward(self.model.unpack(params), self.features)[0].double().numpy() + self.shifts
        # A diverged model must not stop the others: its logits count as undecided, its loss shows infinity.
        decided = np.asarray(np.isfinite(logits).all(-1))
        columns = measures(np.where(decided[..., None], logits, 0.0), self.labels, self.real, self.mix)
        diverged = (self.real & ~decided).any(-1)
        columns["log_loss"] = np.where(diverged, np.inf, columns["log_loss"])
        listed = {name: values.tolist() for name, values in columns.items()}
        return [{name: values[place] for name, values in listed.items()} for place in range(len(stack))]


def _stacked(
    mixes: Sequence[NDArray[np.int64] | None], labels: Sequence[NDArray[np.int64]], classes: int
) -> NDArray[np.int64] | None:
    """Return a mix a model [models, classes], a model's own rows where none is given; None where none is at all."""
    if all(mix is None for mix in mixes):
        return None
    own = [np.bincount(part, minlength=classes) for part in labels]
    return np.stack([part if mix is None else mix for mix, part in zip(mixes, own, strict=True)])


def client_summary(scores: Floats, basis: str) -> dict[str, Any]:
    """Return how a measure is spread over clients [clients]: mean, worst, mean of the lowest tenth, SD.

    With fewer than ten clients the lowest tenth is the worst one. Clients with nan are left out.
    """
    scores = np.sort(scores[~np.isnan(scores)])
    if not len(scores):
        return {"mean": None, "worst": None, "bottom10": None, "std": None, "clients": 0, "basis": basis}
    tenth = max(1, len(scores) // 10)
    return {
        "mean": float(scores.mean()),
        "worst": float(scores[0]),
        "bottom10": float(scores[:tenth].mean()),
        "std": float(scores.std(ddof=1)) if len(scores) > 1 else 0.0,
        "clients": len(scores),
        "basis": basis,
    }


def by_label_shares(recall: Sequence[float], class_counts: NDArray[np.int64]) -> dict[str, Any]:
    """Summarise clients by the server's recalls [classes] weighted with each client's label shares.

    Valid under label skew only, where p(x | y) is the same for all; ``class_counts`` [clients, classes].
    """
    known = np.asarray(recall, float)
    tested = ~np.isnan(known)  # a class without test rows says nothing of a client
    counts = class_counts[:, tested]
    counts = counts[counts.sum(1) > 0]
    shares = counts / counts.sum(1, keepdims=True)
    return client_summary(
        shares @ known[tested], "label shares: server test recall weighted by the client's own labels"
    )


def by_held_out(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """Summarise clients by balanced accuracy over the classes they hold, from confusion [clients, C, C]."""
    return client_summary(balanced_accuracy(confusion), "held out: rows that the client never trains on")


def by_sums(confusion: NDArray[np.int64], loss: Floats, rows: Floats) -> dict[str, Any]:
    """Return a test's measures from what clients say of their held-out rows, summed: the pooled rows' own.

    Parameters
    ----------
    confusion : int64 ndarray [clients, classes, classes]
    loss : float64 ndarray [clients]
        Mean log-loss of each client's rows.
    rows : float64 ndarray [clients]

    Returns
    -------
    dict
        As :class:`StackedEvaluation` gives; ``brier`` is None, which no client tells.
    """
    listed = {name: values.tolist() for name, values in measures_of_counts(confusion.sum(0)).items()}
    total = rows.sum()
    return listed | {"log_loss": float(loss @ rows / total) if total else None, "brier": None}
