"""What a person reads in the terminal: tables on stdout, notes on stderr."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from edgefed.runs import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgefed.runs import Run


IN_A_FILE, FEWEST_COLUMNS = 140, 100
"""Widths of a grid's tables that are no terminal's: at most, and of their titles at least."""


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    sys.stdout.write(json.dumps(plain(value)) + "\n")


def note(text: str) -> None:
    """Print a line to stderr, unless it is empty."""
    if text:
        print(text, file=sys.stderr)


def show(table: Table, width: int | None = None) -> None:
    """Print a table to stdout. Names come from a person's file: brackets and colons in them are no mark-up.

    With a ``width`` of its own it is for a file or another program: lines end where their words do.
    """
    console = Console(width=width, markup=False, emoji=False)
    if width is None:
        console.print(table)
        return
    with console.capture() as lines:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines.get().splitlines()))


def say(text: str) -> None:
    """Print a sentence to stdout: on as many lines as a terminal needs, for a file or another program on one."""
    if sys.stdout.isatty():
        Console(markup=False, emoji=False, highlight=False).print(text)
    else:
        sys.stdout.write(f"{text}\n")


def show_run(run: Run) -> None:
    """Print a run's measures to stdout, where it is and what it cost to stderr."""
    from edgefed.notes import tested_by_devices

    summary = run.summary
    config = run.config
    devices_own = tested_by_devices(run)
    table = Table(title=f"{config.data_name}: {summary['rounds']} rounds, {summary['clients']} clients", box=None)
    table.add_column("held-out measure" if devices_own else "test measure")
    table.add_column("", justify="right")
    for name in ("balanced_accuracy", "accuracy", "macro_f1", "worst_recall", "g_mean", "log_loss", "brier"):
        value = summary["test"][name]
        if value is None and devices_own and name == "brier":
            continue  # no device tells it
        # Null stands in a folder for the log-loss of a model that diverged.
        missing = "inf" if name == "log_loss" else "-"
        table.add_row(name.replace("_", " "), missing if value is None else f"{value:.4f}")
    for name, value in zip(run.manifest["classes"], summary["test"]["recall"], strict=True):
        table.add_row(f"recall of {name}", "no rows" if value is None or math.isnan(value) else f"{value:.4f}")
    show(table)
    if devices_own:
        note(f"measured on the {devices_own} rows that the devices held out: no test-path was given")
    moved = summary["bytes"]
    note(
        f"{summary['client_updates']} client updates in {summary['seconds']:.2f} s; "
        f"moved {moved['up'] / 1e6:.2f} MB up, {moved['down'] / 1e6:.2f} MB down"
    )
    modelled = summary["modelled"]
    if config.dataset != "devices":  # real ones took the time that they took
        note(
            f"on devices ({config.devices}), modelled and not measured: {modelled['seconds']:.3g} s, "
            f"{modelled['joules']:.3g} J over all clients"
        )
    for line in privacy_lines(summary.get("privacy"), run.folder):
        note(line)
    for line in secagg_lines(summary.get("secagg"), summary["rounds"]):
        note(line)
    if summary.get("secagg") is not None:
        note(unmasked_line(run.manifest.get("ledger") or []))
    if config.long_tail > 1:
        note("accuracy, macro F1, log loss and brier stand at the data's own class mix, before the long tail")
    note(f"folder: {run.folder}; edgefed report {run.folder} makes its page, edgefed plot {run.folder} its pictures")


def secagg_lines(found: dict[str, Any] | None, rounds: int) -> list[str]:
    """Return what secure aggregation did in a run, in lines; none where there was none."""
    if found is None:
        return []
    lines = [
        f"secure aggregation: {found['rounds']} of {rounds} rounds summed under masks, of {found['fewest_clients']} "
        "clients at least; the other rounds changed nothing"
        if found["rounds"] < rounds
        else f"secure aggregation: each round a sum under masks, of {found['fewest_clients']} clients at least"
    ]
    if found["clipped"]:
        lines.append(
            f"warning: {found['clipped']} numbers of updates lay beyond secagg-clipping-range="
            f"{found['clipping_range']:g} and were clipped to it"
        )
    return lines


def unmasked_line(ledger: Sequence[dict[str, Any]]) -> str:
    """Return which fields the server saw of each client beside the sums; empty where there are none."""
    seen = dict.fromkeys(str(row["field"]) for row in ledger if row["status"] == "exact" and row["bytes"] != 0)
    return f"beside the sums the server saw, of each client: {', '.join(seen)}" if seen else ""


def privacy_lines(account: dict[str, Any] | None, folder: Path | None = None) -> list[str]:
    """Return what a run's account promises, in lines; none where it has no noise.

    With a ``folder``, one line says where it has what the account assumes and leaves out. Neutral: each has a line.
    """
    if account is None:
        return []
    lines = []
    if account["epsilon"] is not None:
        lines.append(
            f"privacy: epsilon {account['epsilon']:.4g} at delta {account['delta']:.3g} for a client "
            f"({account['releases']} releases, noise {account['noise_multiplier']:g}, clipping norm "
            f"{account['clipping_norm']:g}, {account['cohort']} clients a round)"
        )
    if account["histogram"]:
        lines.append(
            f"privacy: epsilon {account['histogram']['epsilon']:g} for a row's class, of the class counts alone"
        )
    lines += [f"warning: {account['says']}"] if account["says"] else []
    if folder is not None:
        return [
            *lines,
            f"it assumes {len(account['assumes'])} things and leaves out {len(account['leaves_out'])}: edgefed report "
            f"{folder} lists them, under What the noise promises",
        ]
    lines += [f"assumes: {line}" for line in account["assumes"]]
    return lines + [f"not covered: {line}" for line in account["leaves_out"]]


def show_devices(rows: Sequence[dict[str, Any]]) -> None:
    """Print a row a device to stdout."""
    table = Table(box=None, pad_edge=False)
    for title in ("device", "id", "key", "connected", "last seen", "rows", "rounds", "last error"):
        table.add_column(title, justify="right" if title in ("id", "rows", "rounds") else "left")
    for row in rows:
        seen = "never" if row["seen"] is None else f"{row['seen']:.0f} s ago"
        held = "" if row["rows"] is None else str(row["rows"])
        told = ("yes" if row["connected"] else "no", seen, held, str(row["rounds"]), row["error"])
        table.add_row(row["name"], str(row["partition-id"]), row["state"], *told)
    show(table)


def show_rehearsal(found: dict[str, Any]) -> None:
    """Print what devices and simulation came to, side by side, to stdout; what it cost to stderr."""
    table = Table(title=f"{found['devices']} devices, {found['rounds']} rounds", box=None)
    for title in ("test measure", "devices", "simulation"):
        table.add_column(title, justify="left" if title == "test measure" else "right")
    for name in ("balanced_accuracy", "accuracy", "macro_f1", "worst_recall", "log_loss"):
        values = (found["test"][name], found["simulation"]["test"][name])
        table.add_row(name.replace("_", " "), *("-" if value is None else f"{value:.4f}" for value in values))
    table.add_row("largest difference in a weight", f"{found['max_weight_difference']:.1e}", "")
    for way in ("up", "down"):
        sides = (found["bytes"], found["simulation"]["bytes"])
        table.add_row(f"bytes {way}", *(str(side[way]) for side in sides))
    table.add_row("seconds a round", f"{found['seconds_per_round']:.2f}", "")
    show(table)
    took, memory = found["seconds"], found["megabytes_a_device"]
    held = "" if memory is None else f"; {memory:.0f} MB a device"
    note(f"start {took['start']:.0f} s, run {took['run']:.0f} s, stop {took['stop']:.0f} s{held}")


def show_comparison(result: dict[str, Any]) -> None:
    """Print a comparison's table to stdout, what to beware of and what it cost to stderr."""
    from edgefed.comparison_table import WIDE_ENOUGH, comparison_table, natural_width, target_in_words
    from edgefed.report.folder import CUT, passes_its_ends, references_of

    note(f"setting: {result['setting']}")
    target, references = target_in_words(result), references_of(result)
    table, left_out = comparison_table(result, Console().width if sys.stdout.isatty() else WIDE_ENOUGH)
    show(table, width=None if sys.stdout.isatty() else natural_width(table))
    say(result["finding"])
    if left_out:
        note(f"a wider terminal has room for {' and '.join(left_out)}")
    elif any(entry["cost"]["rounds"]["reached"] < len(result["seeds"]) for entry in result["strategies"]):
        note(f"{target}: the median over seeds; in brackets under how many of them it was reached at all")
    measures = [entry["balanced_accuracy"] for entry in result["strategies"]]
    if passes_its_ends([*measures, *references.values()]):
        note(f"note: {CUT[0].lower()}{CUT[1:-1]}")
    for line in _warnings(result):
        note(line)
    note(f"{result['federations']} federations, {result['client_updates']} client updates in {result['seconds']:.1f} s")


def _warnings(result: dict[str, Any]) -> list[str]:
    from edgefed.notes import acting_on_a_part, few_test_rows, past_best

    lines = [f"note: {line}" for line in few_test_rows(result)]
    compared = [entry for entry in result["strategies"] if entry["difference"] is not None]
    reach = [
        (100 * entry["difference"]["detectable"], entry["name"])
        for entry in compared
        if entry["difference"]["detectable"] is not None
    ]
    if reach:
        (least, easiest), (most, hardest) = min(reach), max(reach)
        to = f" ({easiest}) to {most:.1f} points ({hardest})" if len(reach) > 1 else f" points ({easiest})"
        lines.append(
            f"what so many seeds can find: a true difference of {least:.1f}{to} would be found four times in five"
        )
    swings = []
    for entry in compared:
        steadier = entry["last_tenth"]
        if steadier["tier"] != entry["tier"]:
            swings.append(f"{entry['name']} ({100 * steadier['difference']['mean']:+.1f} points, {steadier['tier']})")
    if swings:
        lines.append(f"note: averaged over the last tenth of the rounds the finding is another: {', '.join(swings)}")
    lines += _other_answers(result, compared)
    lines += _own_mix(result)
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
        short = [entry["not_converged"] for entry in result["strategies"] if entry["not_converged"]]
        all_of_them = f"all of them, under {min(short)} to {max(short)} of {len(result['seeds'])} seeds"
        whose = all_of_them if len(falling) == len(result["strategies"]) > 2 else ", ".join(falling)
        lines.append(
            "note: not converged (validation loss still falling by over 1 % in the last tenth of rounds; more rounds "
            f"may change the order): {whose}"
        )
    if late := past_best(result):
        lines.append(
            "note: past its best, validation loss was lowest at round (median over seeds), and is over 5 % above that "
            f"in the last tenth of rounds: {', '.join(late)}; fewer rounds or a smaller rate"
        )
    if idle := acting_on_a_part(result):
        lines.append(f"note: acts on a part of the training rows only: {', '.join(idle)}")
    if result["empty_clients"]["mean"]:
        lines.append(f"note: clients without a training row, mean over seeds: {result['empty_clients']['mean']:.1f}")
    return lines


def _other_answers(result: dict[str, Any], compared: Sequence[dict[str, Any]]) -> list[str]:
    """Return what another fair way to look at the same federations says, where it says something else."""
    from edgefed.comparison_table import points
    from edgefed.notes import BEYOND, told_here_only

    lines = []
    turned = []
    for entry in compared:
        own = (entry["tuned_per_seed"] or {}).get("difference")
        # The sign counts only where the interval leaves no doubt of it.
        if own is not None and (_sign(own) != _sign(entry["difference"])):
            turned.append(f"{entry['name']} ({100 * own['mean']:+.1f} points, {points(own)})")
    if turned:
        lines.append(f"note: with each seed's rate chosen on its own validation rows: {', '.join(turned)}")
    wider = [f"{entry['name']} ({points(entry['nadeau_bengio'])})" for entry in compared if told_here_only(entry)]
    if wider:
        lines.append(f"note: {BEYOND} (Nadeau and Bengio's, in points): {', '.join(wider)}")
    return lines


def _own_mix(result: dict[str, Any]) -> list[str]:
    """Return what a client gains by taking part, on the classes that it holds: alone, and with the control's model."""
    control = next(entry for entry in result["strategies"] if entry["difference"] is None)
    alone = result["references"]["local-only-own-mix"]
    if not control["clients"]["basis"].startswith("label shares"):
        return []
    with_all, worst = control["clients"]["mean"]["mean"], control["clients"]["worst"]["mean"]
    return [
        f"on each client's own class mix: {alone['mean']:.3f} training alone, {with_all:.3f} with {control['name']} "
        f"(worst client {worst:.3f})"
    ]


def _sign(interval: dict[str, Any]) -> int:
    """Return the sign of what an interval leaves no doubt of; 0 where it holds zero or is not known."""
    low, high = interval["low"], interval["high"]
    return 0 if low is None or high is None else int(low > 0) - int(high < 0)


def show_grid(result: dict[str, Any]) -> None:
    """Print each remedy's gain in each block and where it wins to stdout, what to beware of to stderr."""
    from edgefed.comparison_table import natural_width
    from edgefed.grid_table import gain_tables, wins_table

    width = Console().width if sys.stdout.isatty() else IN_A_FILE
    for table in [*gain_tables(result, width), wins_table(result, width)]:
        show(table, width=None if sys.stdout.isatty() else max(natural_width(table), FEWEST_COLUMNS))
    say(result["finding"])
    note(
        f"▲ better, ▼ worse over all {result['contrasts']} contrasts of the grid, △ ▽ within its block only (Holm); "
        "± half of the 95 % interval; what is not told apart need not be equal"
    )
    ranks = result["across_blocks"]
    if not ranks["finding"].startswith("too few"):
        note(f"mean ranks over blocks: {ranks['finding']}; {ranks['basis']}")
    edge = [arm for block in result["blocks"] for arm in block["on_the_edge"]]
    if edge:
        often = ", ".join(f"{name} ({edge.count(name)} of {len(result['blocks'])})" for name in dict.fromkeys(edge))
        note(f"note: picked on the edge of the tuned rates in some blocks, a wider --tune may change it: {often}")
    note(f"{result['federations']} federations, {result['client_updates']} client updates in {result['seconds']:.1f} s")
