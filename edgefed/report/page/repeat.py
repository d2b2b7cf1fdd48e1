"""Sections for whoever repeats or reads the work: commands, settings, versions, and terms in plain words."""

from __future__ import annotations

import json
import math
import shlex
from typing import TYPE_CHECKING, Any

from edgefed.config import schema
from edgefed.report.folder import number
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Command, Fold, Line, Links, Section, Table, Terms, Text
from edgefed.runs import EXPLANATION, EXPLANATION_HOME, EXPLANATION_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SAID_ALWAYS = ("num-server-rounds", "long-tail")
"""Settings whose defaults in a comparison differ from those of a run: a command that repeats one names them."""
SET_ELSEWHERE = ("imbalance", "run-folder", "dataset", "data-path", "learning-rate")


def compare_command(settings: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Return the command that makes a comparison again, for a POSIX shell.

    Parameters
    ----------
    settings : mapping
        Every setting that all share, under its kebab-case key.
    plan : mapping
        ``strategies``, ``seeds``, ``rates``, ``tuned`` and, of a grid, ``grid``, as in ``plan.json``.
    """
    parts = ["edgefed", "compare", *_source(settings)]
    parts += ["--strategies", ",".join(plan["strategies"]), "--seeds", str(len(plan["seeds"]))]
    grid = plan.get("grid") or {}
    rates = [f"{float(rate):g}" for rate in plan.get("rates") or []]
    parts += ["--tune", f"learning-rate={','.join(rates)}"] if plan.get("tuned") else ["--no-tune"]
    for key, values in grid.items():
        texts = [_plain(value) for value in values]
        parts += ["--grid", f"{key}={(';' if any(',' in text for text in texts) else ',').join(texts)}"]
    left_out = {*SET_ELSEWHERE, *grid} - (set() if plan.get("tuned") else {"learning-rate"})
    return shlex.join([*parts, *_options(settings, left_out, SAID_ALWAYS)])


def run_command(settings: Mapping[str, Any]) -> str:
    """Return the command that makes a run again, for a POSIX shell; on devices, of the deployment in DEPLOYMENT."""
    if settings.get("dataset") == "devices":
        return shlex.join(["edgefed", "launch", "DEPLOYMENT", *_options(settings, {"run-folder", "dataset"})])
    return shlex.join(
        ["edgefed", "run", *_source(settings), *_options(settings, {"run-folder", "dataset", "data-path"})]
    )


def _source(settings: Mapping[str, Any]) -> list[str]:
    if settings.get("dataset") == "csv":
        return [str(settings.get("data-path"))]
    return ["-s", f"dataset={settings.get('dataset', 'iris')}"]


def _options(settings: Mapping[str, Any], left_out: set[str], always: Sequence[str] = ()) -> list[str]:
    defaults = {key: default for key, _, default, _, _ in schema()}
    options = []
    for key, value in settings.items():
        if key not in left_out and (key in always or (key in defaults and value != defaults[key])):
            options += ["-s", f"{key}={_plain(value)}"]
    return options


def _plain(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def repeat(
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    commands: Sequence[tuple[str, str]],
    facts: Sequence[tuple[str, str]],
) -> Section:
    """Return what it takes to do it again: commands, settings, versions.

    Parameters
    ----------
    environment : mapping
        Of a manifest: ``versions``, ``platform``, ``git``.
    commands : sequence of (label, command)
    facts : sequence of (name, value)
        What else identifies it: hashes, engine.
    """
    blocks: list[Any] = [Command(command, label) for label, command in commands if command]
    versions = environment.get("versions") if "versions" in environment else environment
    if versions:
        said = ", ".join(f"{name} {version}" for name, version in versions.items() if isinstance(version, str))
        blocks.append(Terms([("Made with", said), *facts], "compact"))
    elif facts:
        blocks.append(Terms(facts, "compact"))
    if settings:
        table = _settings(settings)
        changed = sum(line.look == "changed" for line in table.lines)
        blocks.append(Fold(f"All {len(table.lines)} settings ({changed} not at their default)", [table]))
    return Section("repeat", "Do it again", blocks)


def _settings(settings: Mapping[str, Any]) -> Table:
    known = {key: (default, text) for key, _, default, _, text in schema()}
    lines = []
    for key, value in settings.items():
        default, text = known.get(key, (None, ""))
        changed = key in known and value != default
        lines.append(
            Line(
                [
                    Cell(key, tone="name code"),
                    Cell(_shown(value), tone="changed" if changed else ""),
                    Cell(_shown(default) if key in known else words.NOTHING),
                    Cell(text, tone="words"),
                ],
                "not at its default" if changed else "at its default",
                "changed" if changed else "",
            )
        )
    columns = [Column("Setting"), Column("Value"), Column("Default"), Column("What it is")]
    return Table(
        "settings",
        "Every setting. ● marks those that are not at their default.",
        columns,
        lines,
        filtered=True,
        look="tall",
    )


def _shown(value: Any) -> str:
    if value == "":
        return "empty"
    number_of = number(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    return (
        f"{number_of:g}"
        if math.isfinite(number_of) and abs(number_of) < 1e6
        else (value if isinstance(value, str) else json.dumps(value))
    )


def explained(folder: Path | None, title: str) -> Section:
    """Return a link to the explanation's page where the folder has an explanation."""
    there = folder is not None and (folder / EXPLANATION_HOME / EXPLANATION).is_file()
    blocks = [Links([(EXPLANATION_PAGE, "Which features matter, for whom, and how sure that is")])] if there else []
    return Section("explanation", title, blocks)


# ---------------------------------------------------------------------------------------------- terms
MEANINGS = {
    "Balanced accuracy": "The mean of the classes' recalls: a rare class counts as much as a common one. It is what "
    "remedies are ranked by, on test rows, after the last round.",
    "None": "The control: plain federated averaging, no remedy. Its learning rate is found as every other's is.",
    "Seed": "Varies the split, who holds what, which class is rare, the first weights and the order of batches, for "
    "all remedies alike. So remedies are compared in pairs, seed by seed.",
    "95 % interval": "Were all repeated with other seeds, 95 of 100 such intervals would hold the true mean. It is a t "
    "interval over seeds, for one figure at a time.",
    "p, Holm": "How often chance alone, flipping each seed's sign, would give a mean difference as large; raised for "
    "how many remedies are tested together. Below 0.05 is called a finding.",
    "Tier": "Better than none, worse, or indistinguishable from it. Two remedies of one tier are not tested against "
    "each other.",
    "On these rows": "All seeds split the same rows anew, and the intervals over seeds speak of those. The wider one "
    "of Nadeau and Bengio is for other rows of the kind: where it includes zero, a finding is one on these rows.",
    "Indistinguishable": "Not the same as equal: a difference smaller than the detectable one would mostly be missed.",
    "Ties": "Seeds under which the remedy and none score exactly alike.",
    "Detectable": "The smallest true difference that so many seeds with this spread find four times in five.",
    "Macro-F1": "F1, the harmonic mean of precision and recall, of each class, then the mean over classes.",
    "Worst recall": "The recall of the class with the lowest.",
    "G-mean": "The geometric mean of the classes' recalls: zero as soon as one class is never found.",
    "Log-loss, Brier score": "How far predicted probabilities are from the truth; lower is better.",
    "Points": "Percentage points: from 80 % to 82 % is two points.",
    "Last tenth": "The mean over the last tenth of the rounds. Where it tells another story than the last round, the "
    "answer hangs on when training stops.",
    "Not converged": "The validation loss was still falling by more than 1 % over the last tenth of the rounds.",
    "Past its best": "The validation loss of the last tenth of the rounds was at least 5 % above its lowest.",
    "Global class counts": "How many rows of each class all clients hold together. A remedy that needs them asks each "
    "client for its own counts: one more message, and one more thing that leaves a device.",
    "Long tail": "The largest class over the smallest in the training rows. Rows that it drops join the test set.",
    "Pooled": "All training rows in one place, no federation. Without a remedy it is no ceiling: a federation with one "
    "can pass it.",
}


def terms(scope: str) -> Section:
    """Return the glossary, and what the figures say nothing about."""
    blocks = [
        Text(
            f"{scope} All seeds of a comparison share the rows of one dataset: it does not speak for other data, other "
            "models, or features that differ from client to client."
        ),
        Terms(list(MEANINGS.items())),
    ]
    return Section("terms", "In plain words", blocks)
