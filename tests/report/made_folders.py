"""Small folders of runs and comparisons, written as the project writes them, with figures made up by a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.statistics import ranking, t_interval
from edgefed.config import FederationConfig, catalogue
from edgefed.runs import Run, RunWriter, model_hash, write_json

if TYPE_CHECKING:
    from pathlib import Path

IRIS = ("setosa", "versicolor", "virginica")


def write_run(
    folder: Path,
    *,
    arm: str = "none",
    seed: int = 0,
    rounds: int = 3,
    classes: tuple[str, ...] = IRIS,
    clients: int = 4,
    gain: float = 0.0,
    evaluate_every: int = 1,
    validation: bool = True,
    rotate: bool = True,
) -> None:
    """Write a run whose test rows are ten a class and whose recall rises by round, by ``gain`` more at the end."""
    rng = np.random.default_rng([seed, 7])
    own = np.random.default_rng([seed, *arm.encode()])
    count = len(classes)
    known = arm in catalogue("imbalance")
    config = FederationConfig(
        imbalance=arm if known else "none",
        seed=seed,
        num_clients=clients,
        num_server_rounds=rounds,
        validation_fraction=0.2 if validation else 0.0,
    )
    weights = {"0.weight": np.zeros((2, 2), np.float32)}
    base = rng.normal(0.8, 0.06)
    history: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        row: dict[str, Any] = {"round": number, "train_loss": 1.0 / number}
        if number % evaluate_every == 0 or number == rounds:
            right = np.clip(base + gain + own.normal(0, 0.02, count) - 0.4 / number, 0, 1)
            hits = np.round(10 * right).astype(int)
            confusion = np.diag(hits)
            confusion[np.arange(count), (np.arange(count) + 1) % count] += 10 - hits
            row["test"] = {"balanced_accuracy": float(hits.mean() / 10), "confusion": confusion.tolist()}
            if validation:
                row["validation"] = {"balanced_accuracy": float(base), "log_loss": 0.3 + 1.0 / number}
        history.append(row)
    totals = np.round(60 * 10 ** (-np.arange(count) / max(1, count - 1))).astype(int)
    order = np.roll(np.arange(count), seed if rotate else 0)
    counts = np.zeros((clients, count), int)
    for place, label in enumerate(order):
        counts[:, label] = rng.multinomial(totals[place], rng.dirichlet(np.full(clients, 0.3)))
    manifest = {
        "classes": list(classes),
        "long_tail_order": [classes[label] for label in order],
        "shards": {
            "class_counts": counts.tolist(),
            "idle": ["one class only" if (row > 0).sum() == 1 else "" for row in counts],
        },
        "summary": {"model_sha256": model_hash(weights)},
    }
    folder.mkdir(parents=True)
    writer = RunWriter(folder, durable=False)
    writer.begin(config, manifest)
    writer.rows(history, [])
    writer.end(weights, manifest)


def write_comparison(
    folder: Path,
    gains: dict[str, float],
    *,
    seeds: int = 4,
    references: bool = True,
    **of_runs: Any,
) -> None:
    """Write a comparison of arms with the given true gains over ``none``, its figures taken from its runs."""
    values: dict[str, list[float]] = {}
    for arm, gain in gains.items():
        values[arm] = []
        for seed in range(seeds):
            home = folder / "federations" / arm / "rate-0.3" / f"seed-{seed}"
            write_run(home, arm=arm, seed=seed, gain=gain, **of_runs)
            values[arm].append(Run.read(home).rounds[-1]["test"]["balanced_accuracy"])

    def score(sample: list[float]) -> dict[str, Any]:
        interval = t_interval(sample)
        return {"mean": interval.mean, "low": interval.low, "high": interval.high, "values": sample}

    around = {"pooled": 0.9, "pooled-before-tail": 0.95, "local-only": 0.4}
    rng = np.random.default_rng(5)
    result = {
        "comparison": folder.name,
        "seeds": list(range(seeds)),
        "finding": "made up",
        "generalises_over": f"on iris, over random splits, partitions and initialisations ({seeds} seeds)",
        "strategies": [
            {
                "name": row["name"],
                "tier": row["tier"],
                "difference": row["difference"],
                "balanced_accuracy": score(row["values"]),
                "learning_rate": 0.3,
            }
            for row in ranking(values, "none")
        ],
        "references": {
            name: score(np.clip(rng.normal(mean, 0.03, seeds), 0, 1).tolist()) for name, mean in around.items()
        }
        if references
        else {},
    }
    write_json(folder / "comparison.json", result, durable=False)
