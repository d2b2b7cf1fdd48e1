"""A comparison's tables as CSV: a federation a row, and a remedy a row."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from edgefed.api.course import number
from edgefed.api.figures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgefed.api.plan import Cell, Plan
    from edgefed.runs import Run


def results_table(work: Plan, runs: Mapping[Cell, Run], result: Mapping[str, Any]) -> str:
    """Return every federation's last-round test measures, sorted by remedy (as asked), rate and seed.

    ``recall of NAME`` is empty where a class has no test row; ``inf`` is the log-loss of a model that diverged.
    """
    picks = {entry["name"]: entry["learning_rate"] for entry in result["strategies"]}
    head = ["strategy", "learning_rate", "seed", "chosen", *MEASURES]
    head += [f"recall of {name}" for name in result["classes"]]
    rows = []
    for arm in work.arms:
        for rate in sorted(work.rates):
            for seed in work.seeds:
                test = runs[arm, rate, seed].manifest["summary"]["test"]
                measured = [f"{number(test[measure]):.6f}" for measure in MEASURES]
                recall = ["" if value is None or value != value else f"{value:.6f}" for value in test["recall"]]
                rows.append([arm, f"{rate:g}", seed, int(rate == picks[arm]), *measured, *recall])
    return _csv([head, *rows])


def strategies_table(result: Mapping[str, Any]) -> str:
    """Return a remedy a row, from the highest mean to the lowest: score, difference to none, finding, needs and cost.

    Empty where there is nothing to say: the control's difference, a target that half of the seeds do not reach.
    """
    head = (
        *("strategy", "family", "mean", "low", "high"),
        *("difference", "difference_low", "difference_high", "p", "p_holm", "tier", "wider_low", "wider_high"),
        "learning_rate",
        *("needs", "target", "target_reached", "rounds_to_target", "bytes_to_target"),
        *("bytes_up", "bytes_down", "steps", "pooled"),
    )
    rows = []
    for entry in result["strategies"]:
        score, difference, cost = entry["balanced_accuracy"], entry["difference"] or {}, entry["cost"]
        wider = entry["nadeau_bengio"] or {}
        rows.append(
            [
                *(entry["name"], entry["family"], *(_cell(score[name]) for name in ("mean", "low", "high"))),
                *(_cell(difference.get(name)) for name in ("mean", "low", "high", "p", "p_holm")),
                *(entry["tier"], _cell(wider.get("low")), _cell(wider.get("high"))),
                *(f"{entry['learning_rate']:g}", entry["needs"], _cell(cost["target"])),
                *(cost["rounds"]["reached"], _cell(cost["rounds"]["median"]), _cell(cost["bytes"]["median"])),
                *(_cell(entry["bytes"]["up"]), _cell(entry["bytes"]["down"]), _cell(entry["steps"])),
                _cell(entry["pooled"]["mean"]),
            ]
        )
    return _csv([head, *rows])


def _cell(value: float | None) -> str:
    """Return a number in ten digits; nothing for one that is not known."""
    return "" if value is None or value != value else f"{value:.10g}"


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
