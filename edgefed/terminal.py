"""What a person reads in the terminal: tables on stdout, notes on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from edgefed.runs import plain

if TYPE_CHECKING:
    from edgefed.runs import Run


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    sys.stdout.write(json.dumps(plain(value)) + "\n")


def note(text: str) -> None:
    """Print a line to stderr, unless it is empty."""
    if text:
        print(text, file=sys.stderr)


def show(table: Table, width: int | None = None) -> None:
    """Print a table to stdout. Names come from a person's file: brackets and colons in them are no mark-up."""
    Console(width=width, markup=False, emoji=False).print(table)


def show_run(run: Run) -> None:
    """Print a run's measures to stdout, where it is and what it cost to stderr."""
    summary = run.summary
    table = Table(title=f"{run.config.dataset}: {summary['rounds']} rounds, {summary['clients']} clients", box=None)
    table.add_column("test measure")
    table.add_column("", justify="right")
    for name in ("balanced_accuracy", "accuracy", "macro_f1", "worst_recall", "g_mean", "log_loss", "brier"):
        value = summary["test"][name]
        # Null stands in a folder for the log-loss of a model that diverged.
        table.add_row(name.replace("_", " "), "inf" if value is None else f"{value:.4f}")
    for name, value in zip(run.manifest["classes"], summary["test"]["recall"], strict=True):
        table.add_row(f"recall of {name}", "no rows" if value is None else f"{value:.4f}")
    show(table)
    moved = summary["bytes"]
    note(
        f"{summary['client_updates']} client updates in {summary['seconds']:.2f} s; "
        f"moved {moved['up'] / 1e6:.2f} MB up, {moved['down'] / 1e6:.2f} MB down"
    )
    note(f"folder: {run.folder}; edgefed plot {run.folder} draws it")


def show_comparison(result: dict[str, Any]) -> None:
    """Print a comparison's table to stdout, what to beware of and what it cost to stderr."""
    note(f"setting: {result['setting']}")
    table = Table(title=f"Test balanced accuracy, last round: {result['generalises_over']}", caption=result["finding"])
    for title in ("remedy", "mean", "95 % interval", "minus none", "95 % interval", "p (Holm)", "rate", "finding"):
        table.add_column(
            title, justify="left" if title in ("remedy", "finding") else "right", no_wrap=title == "remedy"
        )
    for entry in result["strategies"]:
        measure, difference = entry["balanced_accuracy"], entry["difference"]
        cells = [entry["name"], f"{measure['mean']:.3f}", _interval(measure)]
        if difference is None:
            cells += ["", "", ""]
        else:
            cells += [f"{difference['mean']:+.3f}", _interval(difference, "+"), f"{difference['p_holm']:.3f}"]
        table.add_row(*cells, f"{entry['learning_rate']:g}", entry["tier"])
    table.add_section()
    for name, reference in result["references"].items():
        table.add_row(f"reference: {name}", f"{reference['mean']:.3f}", _interval(reference))
    show(table, width=None if sys.stdout.isatty() else 140)
    for line in _warnings(result):
        note(line)
    note(f"{result['federations']} federations, {result['client_updates']} client updates in {result['seconds']:.1f} s")


def _interval(values: dict[str, Any], sign: str = "") -> str:
    return f"{values['low']:{sign}.3f} to {values['high']:{sign}.3f}"


def _warnings(result: dict[str, Any]) -> list[str]:
    lines = []
    compared = [entry for entry in result["strategies"] if entry["difference"] is not None]
    reach = [
        f"{entry['name']} {100 * entry['difference']['detectable']:.1f}"
        for entry in compared
        if entry["difference"]["detectable"] is not None
    ]
    if reach:
        lines.append(f"smallest difference that so many seeds find four times in five, in points: {', '.join(reach)}")
    swings = []
    for entry in compared:
        steadier = entry["last_tenth"]
        if steadier["tier"] != entry["tier"]:
            swings.append(f"{entry['name']} ({100 * steadier['difference']['mean']:+.1f} points, {steadier['tier']})")
    if swings:
        lines.append(f"note: averaged over the last tenth of the rounds the finding is another: {', '.join(swings)}")
    same = [entry["name"] for entry in compared if entry["difference"]["ties"] == len(result["seeds"])]
    if same:
        lines.append(f"note: exactly as none under every seed, nothing to remedy or nothing done: {', '.join(same)}")
    edge = [f"{name} ({row['learning-rate']:g})" for name, row in result["tuned"].items() if row["on_the_edge"]]
    if edge:
        lines.append(f"note: picked on the edge of the tuned rates, a wider --tune may change it: {', '.join(edge)}")
    falling = [
        f"{entry['name']} ({entry['not_converged']} of {len(result['seeds'])} seeds)"
        for entry in result["strategies"]
        if entry["not_converged"]
    ]
    if falling:
        lines.append(f"note: not converged, validation loss still falling by over 1 %: {', '.join(falling)}")
    idle = [
        f"{entry['name']} ({entry['acts_on_rows']:.0%})" for entry in result["strategies"] if entry["acts_on_rows"] < 1
    ]
    if idle:
        lines.append(f"note: acts on a part of the training rows only: {', '.join(idle)}")
    return lines
