"""Small folders of explained runs, with figures made up by a seed, as the project writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from made_folders import IRIS, write_run

from edgefed.analysis.explanation import METHODS
from edgefed.runs import EXPLANATION, SELECTION, explanation_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FEATURES = ("petal length", "petal width", "sepal length", "sepal width")


def write_explained(
    folder: Path,
    *,
    features: Sequence[str] = FEATURES,
    classes: tuple[str, ...] = IRIS,
    clients: int = 6,
    seeds: int = 1,
    server_rows: bool = True,
    selection: bool = True,
    rows: str = "training",
    between: float | None = 0.2,
    columns: bool = False,
) -> dict[str, Any]:
    """Write a run and its explanation, features from strong to weak, and return its figures."""
    write_run(folder, classes=classes, clients=clients)
    rng = np.random.default_rng(0)
    count, labels = len(features), len(classes)
    strength = np.linspace(0.9, -0.02, count)
    importance = [
        {
            "feature": name,
            **_measure(strength[place], 0.15, seeds),
            "clients_std": 0.2 + place / 20,
            "accuracy": {**_measure(0.3 * strength[place], 0.05, seeds), "clients_std": 0.1},
            "shap": 0.2 * abs(strength[place]),
            "integrated-gradients": 0.25 * abs(strength[place]),
            "anova-f": 300.0 * abs(strength[place]),
            "anova_p": 1e-9 if place < count - 1 else 0.3,
            "mutual-information": abs(strength[place]),
            "between_clients": between,
        }
        for place, name in enumerate(features)
    ]
    sizes = np.sort(rng.integers(4, 40, clients))[::-1]
    result: dict[str, Any] = {
        "explained": "made, none, seed 0",
        "runs": seeds,
        "seeds": list(range(seeds)),
        "interval_over": "clients" if seeds == 1 else "seeds",
        "rows": rows,
        "rows_explained": int(sizes.sum()) * seeds,
        "clients": {
            "asked": clients + 1,
            "explained": clients,
            "under_ten_rows": int((sizes < 10).sum()),
            "share_of_rows_there": float(sizes[sizes < 10].sum() / sizes.sum()),
        },
        "repeats": 10,
        "background_rows": 10,
        "attributed_rows": 50,
        "log_loss": 0.2,
        "importance": importance,
        "classes": [
            {
                "class": name,
                "rows": 20,
                "attributed_rows": 15,
                **{
                    method: (strength * rng.random(count)).tolist()
                    for method in ("loss", "shap", "integrated-gradients")
                },
            }
            for name in classes
        ],
        "by_client": {
            "clients": clients,
            "client": list(range(clients)),
            "rows": sizes.tolist(),
            "loss": (strength + rng.normal(0, 0.3, (clients, count))).tolist(),
        },
        "agreement": {"methods": list(METHODS), "rank_correlation": np.eye(len(METHODS)).tolist()},
        "stability": dict.fromkeys(METHODS, 0.6) | ({"anova-f": None} if seeds == 1 else {}),
        "folders": ["."],
        "seconds": 1.5,
    }
    if server_rows:
        result |= _server_rows(features, classes, rng)
        if seeds > 1:
            result["calibration"]["bins"] = [row | {"low": None, "high": None} for row in result["calibration"]["bins"]]
    if columns:
        result["columns"] = _columns(features, seeds)
    home = explanation_folder(folder)
    write_json(home / EXPLANATION, result)
    if selection:
        write_json(home / SELECTION, _selection(features))
    del labels
    return result


def _columns(features: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """Return two columns: a category of thirteen values, and a number."""
    values = [f"soil=s{place}" for place in range(13)]
    return [
        {
            "column": name,
            "features": parts,
            **_measure(mean, 0.2, seeds),
            "clients_std": 0.1,
            "accuracy": {**_measure(mean / 4, 0.05, seeds), "clients_std": 0.1},
        }
        for name, parts, mean in (("soil", values, 1.2), (features[0], [features[0]], 0.1))
    ]


def _measure(mean: float, half: float, seeds: int) -> dict[str, Any]:
    values = [float(mean + half * (seed - (seeds - 1) / 2)) for seed in range(seeds)]
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half), "values": values}


def _server_rows(features: Sequence[str], classes: tuple[str, ...], rng: np.random.Generator) -> dict[str, Any]:
    grid = np.linspace(1, 6, 9)
    outputs = 1 if len(classes) == 2 else len(classes)
    average = rng.random((outputs, len(grid)))
    bins = [(10, 0.6, 0.5), (10, 0.8, 0.9), (10, 0.97, 1.0)]
    return {
        "test_rows": 30,
        "effect_rows": 30,
        "effects": [
            {
                "feature": name,
                "grid": grid.tolist(),
                "average": average.tolist(),
                "individual": rng.random((outputs, 5, len(grid))).tolist(),
                "deciles": np.percentile(grid, np.arange(10, 100, 10)).tolist(),
            }
            for name in features[:4]
        ],
        "examples": {
            "background": "the server's validation rows",
            "background_rows": 30,
            "rows": [
                {
                    "row": 7 + place,
                    "true": classes[0],
                    "predicted": classes[place],
                    "probability": 0.9,
                    "base": 0.3,
                    "values": rng.random(len(features)).tolist(),
                    "shap": (0.3 * rng.normal(size=len(features))).tolist(),
                }
                for place in range(2)
            ],
        },
        "calibration": {
            "bins": [
                {"rows": n, "confidence": c, "accuracy": a, "low": max(0.0, a - 0.2), "high": min(1.0, a + 0.1)}
                for n, c, a in bins
            ],
            "ece": {"mean": 0.08, "low": None, "high": None, "values": [0.08]},
            "brier": {"mean": 0.21, "low": None, "high": None, "values": [0.21]},
        },
        "confusion": (np.eye(len(classes), dtype=int) * 9 + 1).tolist(),
    }


def _selection(features: Sequence[str]) -> dict[str, Any]:
    count = min(3, len(features))
    steps = [
        {
            "count": place + 1,
            "forward": {"mean": 0.8 + 0.05 * place, "low": 0.75, "high": 0.97, "values": [0.8, 0.9]},
            "filter": {"mean": 0.7 + 0.05 * place, "low": 0.6, "high": 0.9, "values": [0.7, 0.8]},
        }
        for place in range(count)
    ]
    return {
        "dataset": "made",
        "features": list(features),
        "seeds": [0, 1],
        "chosen": [list(features[:count])] * 2,
        "filter": [list(features[:count])] * 2,
        "steps": steps,
        "all": {"mean": 0.91, "low": 0.88, "high": 0.94, "values": [0.9, 0.92]},
        "times": {name: [2 * (place <= step) for step in range(count)] for place, name in enumerate(features)},
        "federations": 40,
    }
