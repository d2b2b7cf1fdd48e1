"""What the server's own rows show of a model: effects, rows explained one by one, calibration, confusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.calibration import reliability
from edgefed.analysis.statistics import t_interval
from edgefed.api.classifier import FederatedClassifier
from edgefed.api.model import load_model
from edgefed.learning.attribution import probabilities, shap_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.data.shards import FederatedData
    from edgefed.runs import Run

    Floats = NDArray[np.float64]

EFFECTS, GRID, AVERAGED, CURVES = 12, 24, 500, 30
"""Features whose effect is drawn, points along each, rows that it is averaged over, and that have a curve, at most."""
BACKGROUND = 50
"""Validation rows that an example is compared to, at most."""
WRONG, UNSURE = 2, 1
"""Examples: rows that are wrong and sure of it, right and least sure of it; then the surest right one of each class."""
MOST_EXAMPLES = 8


def server_rows(runs: Sequence[Run], datas: Sequence[FederatedData | None], ranked: Sequence[str]) -> dict[str, Any]:
    """Return what test rows show; where the rows of a run are not here, what its history says: the confusion matrix.

    Effects and examples are those of the first run's model.
    """
    here = [(run, data) for run, data in zip(runs, datas, strict=True) if data is not None]
    if len(here) < len(runs):
        return {"confusion": _confusion(runs)}
    model = FederatedClassifier.from_run(runs[0])
    run, data = here[0]
    rows = _filled(run, data, data.split.test)
    labels = data.dataset.labels[data.split.test]
    return {
        "test_rows": len(labels),
        "effect_rows": min(AVERAGED, len(labels)),
        "effects": _effects(model, rows, run.manifest["features"], ranked),
        "examples": _examples(run, data, model, rows, labels, ranked),
        "calibration": _calibration(here),
        "confusion": _confusion(runs),
    }


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most so many places, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _filled(run: Run, data: FederatedData, which: NDArray[np.int64]) -> Floats:
    """Return rows of the dataset with empty cells at the federated mean."""
    values = data.dataset.features[which].astype(np.float64)
    return np.where(np.isnan(values), np.array(run.manifest["prediction"]["mean"]), values)


def _effects(
    model: FederatedClassifier, rows: Floats, names: Sequence[str], ranked: Sequence[str]
) -> list[dict[str, Any]]:
    """Return partial dependence and individual curves of the strongest features, by scikit-learn."""
    from sklearn.inspection import partial_dependence

    found = []
    rows = rows[_spread(len(rows), AVERAGED)]
    chosen = _spread(len(rows), CURVES)
    for name in ranked[:EFFECTS]:
        place = list(names).index(name)
        if not np.ptp(rows[:, place]):
            continue
        curves = partial_dependence(
            model, rows, [place], kind="both", grid_resolution=GRID, percentiles=(0.0, 1.0), method="brute"
        )
        found.append(
            {
                "feature": name,
                "grid": curves["grid_values"][0].tolist(),
                "average": np.round(curves["average"], 6).tolist(),
                "individual": np.round(curves["individual"][:, chosen], 6).tolist(),
                "deciles": np.percentile(rows[:, place], np.arange(10, 100, 10)).tolist(),
            }
        )
    return found


def _examples(
    run: Run,
    data: FederatedData,
    model: FederatedClassifier,
    rows: Floats,
    labels: NDArray[np.int64],
    ranked: Sequence[str],
) -> dict[str, Any]:
    """Return a few test rows with SHAP values of the probability of the class that the model gives them."""
    sure = model.predict_proba(rows)
    predicted = sure.argmax(1)
    chosen = _telling(sure.max(1), predicted, labels)
    against = data.split.validation
    against = against[_spread(len(against), BACKGROUND)]
    background = _filled(run, data, against) if len(against) else np.array(run.manifest["prediction"]["mean"])[None]
    scaled, scaled_background = ((part - model.mean_) / model.scale_ for part in (rows[chosen], background))
    pairs = (
        np.repeat(np.arange(len(chosen)), len(background)),
        np.tile(np.arange(len(background)), len(chosen)),
    )
    explained = probabilities(load_model(run), model.logit_shift_)
    shap = shap_values(explained, scaled, scaled_background, pairs, predicted[chosen], run.config.seed)
    base = model.predict_proba(background).mean(0)
    order = [run.manifest["features"].index(name) for name in ranked]
    names = run.manifest["classes"]
    return {
        "background": "the server's validation rows" if len(against) else "the federated mean",
        "background_rows": len(background),
        "rows": [
            {
                "row": int(data.split.test[place]) + 1,
                "true": names[labels[place]],
                "predicted": names[predicted[place]],
                "probability": float(sure[place].max()),
                "base": float(base[predicted[place]]),
                "values": rows[place][order].tolist(),
                "shap": values[order].tolist(),
            }
            for place, values in zip(chosen, shap, strict=True)
        ],
    }


def _telling(sure: Floats, predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return places of rows worth a look, in that order: wrong and sure, unsure and right, surest of each class."""
    right = predicted == labels
    falling = np.argsort(-sure, kind="stable")
    wrong = falling[~right[falling]][:WRONG]
    hits = falling[right[falling]]
    unsure = hits[::-1][:UNSURE]
    best = [hits[labels[hits] == label][:1] for label in np.unique(labels[hits])]
    together = np.concatenate([wrong, unsure, *best]).astype(np.int64)
    return together[np.sort(np.unique(together, return_index=True)[1])][:MOST_EXAMPLES]


def _calibration(here: Sequence[tuple[Run, FederatedData]]) -> dict[str, Any]:
    """Return the reliability of all runs' predictions together, and each run's calibration error and Brier score.

    Bins have an interval where there is one run: seeds test on rows of the same dataset, so predictions of several are
    not so many independent rows, which an interval of all would take them for.
    """
    parts = []
    for run, data in here:
        rows = _filled(run, data, data.split.test)
        parts.append((FederatedClassifier.from_run(run).predict_proba(rows), data.dataset.labels[data.split.test]))
    together = reliability(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    errors = [reliability(sure, labels).error for sure, labels in parts]
    brier = [((sure - np.eye(sure.shape[1])[labels]) ** 2).sum(1).mean() for sure, labels in parts]
    return {
        "bins": [
            {
                "rows": int(n),
                "confidence": float(c),
                "accuracy": float(a),
                "low": float(low) if len(here) == 1 else None,
                "high": float(high) if len(here) == 1 else None,
            }
            for n, c, a, low, high in zip(
                together.rows, together.confidence, together.accuracy, together.low, together.high, strict=True
            )
        ],
        "ece": vars(t_interval(errors)) | {"values": errors},
        "brier": vars(t_interval(brier)) | {"values": [float(value) for value in brier]},
    }


def _confusion(runs: Sequence[Run]) -> list[list[int]] | None:
    """Return the last round's test confusion matrix, summed over runs; None where a run has none."""
    found = [(run.rounds[-1].get("test") or {}).get("confusion") if run.rounds else None for run in runs]
    known = [np.array(part) for part in found if part is not None]
    return np.sum(known, axis=0).tolist() if len(known) == len(found) else None
