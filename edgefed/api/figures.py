"""A finished comparison in figures: means, intervals, differences, and what each remedy could act on."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.statistics import SAME, UNDECIDED, contrasts, ranking, seeds_needed, t_interval
from edgefed.api.plan import CONTROL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.api.plan import Cell, Plan
    from edgefed.config import FederationConfig
    from edgefed.runs import Run

RANKED = "balanced_accuracy"
MEASURES = ("balanced_accuracy", "accuracy", "macro_f1", "worst_recall", "g_mean", "log_loss")
#: Loss on validation rows that falls by more than this over the last tenth of the rounds is still falling.
CONVERGED_WITHIN = 0.01


def last_round(runs: Sequence[Run], measure: str, rows: str = "test") -> list[float]:
    """Return a measure of each run's last round on ``test`` or ``validation`` rows."""
    return [_number(run.rounds[-1][rows][measure]) for run in runs]


def _number(value: float | None) -> float:
    """Return a figure; null stands in a folder for what JSON cannot hold: the log-loss of a model that diverged."""
    return math.inf if value is None else float(value)


def figures(
    work: Plan,
    runs: dict[Cell, Run],
    reference: dict[str, Any],
    folder: Path | None,
    seconds: float,
) -> dict[str, Any]:
    """Return what a comparison prints and keeps: see the command line's contract."""
    picks = {arm: _pick(work, runs, arm) for arm in work.arms}
    chosen = {arm: [runs[arm, picks[arm], seed] for seed in work.seeds] for arm in work.arms}
    # Not ranked by, but looked at: what an average over the last rounds would have said.
    averaged = {arm: [_last_tenth(run) for run in chosen[arm]] for arm in work.arms}
    steadier = contrasts(averaged, CONTROL)
    strategies = []
    for row in ranking({arm: last_round(chosen[arm], RANKED) for arm in work.arms}, CONTROL):
        arm = row["name"]
        entry: dict[str, Any] = {"name": arm, "tier": row["tier"], "difference": row["difference"]}
        for measure in MEASURES:
            values = last_round(chosen[arm], measure)
            interval = t_interval(values)
            entry[measure] = {"mean": interval.mean, "low": interval.low, "high": interval.high, "values": values}
        entry |= {
            "learning_rate": picks[arm],
            "validation_balanced_accuracy": float(np.mean(last_round(chosen[arm], RANKED, "validation")))
            if work.base.validation_fraction
            else 0.0,
            "acts_on_rows": _share_acted_on(chosen[arm]),
            "needs_global_counts": bool(chosen[arm][0].manifest["class_counts_asked"]),
            "not_converged": sum(_still_falling(run) for run in chosen[arm]),
            "last_tenth": {
                "mean": float(np.mean(averaged[arm])),
                "difference": asdict(steadier[arm]) if arm in steadier else None,
                "tier": steadier[arm].tier if arm in steadier else "control",
            },
        }
        strategies.append(entry)
    return {
        "comparison": folder.name if folder is not None else work.base.dataset,
        "federations": len(runs),
        "client_updates": sum(run.summary["client_updates"] for run in runs.values()),
        "seconds": seconds,
        "seeds": list(work.seeds),
        "ranked_by": f"test {RANKED}, last round",
        "finding": _finding(strategies),
        "generalises_over": _generalises_over(work),
        "setting": _setting(work.base, chosen[CONTROL][0]),
        "strategies": strategies,
        "references": {name: _reference(values) for name, values in reference.items()},
        "tuned": _tuned(work, runs, picks),
    }


def _setting(config: FederationConfig, run: Run) -> str:
    """Return in a line what was compared under."""
    tail = f"long tail {config.long_tail:g}" if config.long_tail > 1 else "no long tail"
    clients = f"{run.summary['clients']} clients, {config.partition}"
    clients += f"({config.alpha:g})" if config.partition in ("dirichlet", "quantity") else ""
    rows = run.manifest["rows"]
    return (
        f"{clients}, {tail}, {config.num_server_rounds} rounds; first seed: {rows['train']} training, "
        f"{rows['validation']} validation, {rows['test']} test rows"
    )


def _generalises_over(work: Plan) -> str:
    base = work.base
    free = {"splits": base.split_seed, "partitions": base.partition_seed, "initialisations": base.init_seed}
    if base.partition == "natural":
        del free["partitions"]  # who holds what is given
    varied = [name for name, seed in free.items() if seed < 0] or ["orders of batches"]
    over = " and ".join(filter(None, [", ".join(varied[:-1]), varied[-1]]))
    return f"on {_data_name(base)}, over random {over} ({len(work.seeds)} seeds)"


def _data_name(config: FederationConfig) -> str:
    return Path(config.data_path).name if config.dataset == "csv" else config.dataset


def _pick(work: Plan, runs: dict[Cell, Run], arm: str) -> float:
    """Return the rate with the highest mean validation score; ties go to the lower validation loss."""
    if len(work.rates) == 1:
        return work.rates[0]

    def merit(rate: float) -> tuple[float, float]:
        sample = [runs[arm, rate, seed] for seed in work.seeds]
        loss = np.mean(last_round(sample, "log_loss", "validation"))
        return float(np.mean(last_round(sample, RANKED, "validation"))), -float(loss)

    return max(work.rates, key=merit)


def _tuned(work: Plan, runs: dict[Cell, Run], picks: dict[str, float]) -> dict[str, Any]:
    if not work.tuned:
        return {}
    edges = {min(work.rates), max(work.rates)} if len(work.rates) > 1 else set()
    tuned: dict[str, Any] = {}
    for arm in work.arms:
        scores = {
            f"{rate:g}": float(
                np.mean(last_round([runs[arm, rate, seed] for seed in work.seeds], RANKED, "validation"))
            )
            for rate in work.rates
        }
        tuned[arm] = {
            "learning-rate": picks[arm],
            "validation_balanced_accuracy": scores,
            "on_the_edge": picks[arm] in edges,
        }
    return tuned


def _share_acted_on(runs: Sequence[Run]) -> float:
    """Return the share of training rows that lie on clients where the remedy could act."""
    acted = total = 0
    for run in runs:
        shards = run.manifest["shards"]
        rows = [sum(counts) for counts in shards["class_counts"]]
        acted += sum(n for n, reason in zip(rows, shards["idle"], strict=True) if not reason)
        total += sum(rows)
    return acted / total


def _last_tenth(run: Run) -> float:
    """Return the ranked measure averaged over the last tenth of the rounds.

    At a rate at the edge of stability a model swings from round to round, and the last round is one of two answers.
    """
    scores = [_number(row["test"][RANKED]) for row in run.rounds if "test" in row]
    return float(np.mean(scores[-max(1, len(scores) // 10) :]))


def _still_falling(run: Run) -> bool:
    """Return whether the validation loss fell by more than 1 % over the last tenth of the rounds."""
    losses = [_number(row["validation"]["log_loss"]) for row in run.rounds if "validation" in row]
    tenth = max(1, len(losses) // 10)
    return len(losses) > tenth and losses[-1] < (1 - CONVERGED_WITHIN) * losses[-1 - tenth]


def _reference(values: list[float]) -> dict[str, Any]:
    interval = t_interval(values)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "values": values}


def _finding(strategies: Sequence[dict[str, Any]]) -> str:
    """Return the answer in one sentence that a careful statistician would sign."""
    tiers: dict[str, list[str]] = {}
    for entry in strategies:
        tiers.setdefault(entry["tier"], []).append(entry["name"])
    tiers.pop("control", None)
    if not tiers:
        return "nothing to compare: name remedies beside none"
    if UNDECIDED in tiers:
        needed = seeds_needed(len(strategies) - 1)
        return f"too few seeds to tell any remedy from none: {len(strategies) - 1} contrasts need at least {needed}"
    if list(tiers) == [SAME]:
        return "no remedy can be told from none with so many seeds"
    return "; ".join(f"{tier}: {', '.join(names)}" for tier, names in tiers.items())
