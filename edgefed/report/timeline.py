"""A round as its devices lived it: download, training and upload of each client, modelled."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch

from edgefed.edge.clock import Times, times, up_to
from edgefed.edge.epochs import epochs_of
from edgefed.edge.profiles import fleet
from edgefed.learning.schedule import schedule_of
from edgefed.report.folder import client_names
from edgefed.report.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    TINY,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    settle,
)
from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from edgefed.runs import Run

    Ints = NDArray[np.int64]

MOST_BARS = 40
"""Clients that a picture has bars for: the slowest, since they decide how long a round takes."""
PHASES = (("download", BLUE, ""), ("training", GREEN, "///"), ("upload", VERMILLION, "..."))


@dataclass(frozen=True)
class Timeline:
    """One round: its clients, what became of each, their modelled times [clients], their devices and own names."""

    round: int
    seconds: float
    clients: NDArray[np.int64]
    verdicts: list[str]
    times: Times
    devices: list[str]
    names: list[str]


def timeline_of(run: Run, number: int) -> Timeline | None:
    """Return a round of a run's folder; None for a run that has none, from before the clock, or of real devices.

    Real devices took the time that they took: what profiles would have made of it says nothing of them.
    """
    edge = run.manifest.get("edge")
    table = None if run.folder is None else run.folder / "clients.csv"
    if run.config.dataset == "devices" or edge is None or table is None or not table.is_file():
        return None
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["round"] == str(number)]
    if not rows:
        return None
    rows.sort(key=lambda row: int(row["client"]))
    config, wire = run.config, edge["message_bytes"]
    clients = np.array([int(row["client"]) for row in rows])
    verdicts = [row["verdict"] for row in rows]
    held = np.array(run.manifest["shards"]["class_counts"]).sum(1)
    applied, schedule = run.manifest.get("applied"), schedule_of(config)
    drawn = held if applied is None else np.add(applied["drawn"], applied["made"])
    held, drawn = held[clients], drawn[clients]
    counted = np.array([verdict.startswith("ok") for verdict in verdicts])
    taken = np.array([int(row["steps"]) for row in rows])
    devices = fleet(config.devices, len(edge["kind"]), config.seed, config.device_spread, config.device_profiles)
    weights = sum(array.size for array in run.weights.values())

    def times_of(steps: Ints) -> Times:
        walked = schedule.rows_walked(steps, drawn)
        return times(devices, clients, steps=steps, rows=walked, weights=weights, down=wire["down"], up=wire["up"])

    epochs, *_ = epochs_of(
        config, number, len(clients), lambda epochs: times_of(schedule.steps(drawn, held, epochs)).total
    )
    # Nobody is told the steps of a client under secure aggregation: those that its rows make, as the clock has it.
    spent = times_of(np.where(counted & (taken > 0), taken, schedule.steps(drawn, held, epochs)))
    seconds = float(run.rounds[number - 1]["modelled"]["seconds"])
    stopped = uniforms(counter_keys(config.seed, "drop-out", number, clients, 1))
    share = np.where([verdict == "dropped out" for verdict in verdicts], stopped, 1.0)
    share = np.where(counted, 1.0, np.minimum(share, seconds / np.maximum(spent.total, 1e-12)))
    kinds = [devices.names[kind] for kind in devices.kind[clients]]
    named = client_names(run)
    names = [named.get(client, f"client {client}") for client in clients.tolist()]
    return Timeline(number, seconds, clients, verdicts, up_to(spent, share), kinds, names)


@house_style()
def timeline_figure(run: Run, title: str, number: int | None = None) -> Figure | None:
    """Return a round's bars, one a client, from the slowest up; None where the folder does not have it.

    Parameters
    ----------
    run : Run
    title : str
    number : int, optional
        The round. Neutral: the one of median length.
    """
    if number is None:
        lengths = [row.get("modelled", {}).get("seconds", 0.0) for row in run.rounds]
        number = int(np.argsort(lengths, kind="stable")[len(lengths) // 2]) + 1 if lengths else 1
    found = timeline_of(run, number)
    if found is None:
        return None
    order = np.argsort(-found.times.total, kind="stable")[:MOST_BARS][::-1]
    figure = new_figure(WIDTH, 1.5 + 0.17 * max(len(order), 4), title)
    axes = figure.subplots()
    start = np.zeros(len(order))
    counted = [found.verdicts[place].startswith("ok") for place in order]
    for (_, color, hatch), phase in zip(PHASES, (found.times.down, found.times.compute, found.times.up), strict=True):
        bars = axes.barh(
            np.arange(len(order)), phase[order], 0.72, left=start, color=color, hatch=hatch, edgecolor="white",
            linewidth=0.3,
        )  # fmt: skip
        for bar, counts in zip(bars, counted, strict=True):
            bar.set_alpha(1.0 if counts else 0.35)
        start = start + phase[order]
    for row, place in enumerate(order):
        if counted[row]:
            axes.barh(row, found.seconds - start[row], 0.18, left=start[row], color=FAINT)
        else:
            axes.text(start[row], row, f" {label(found.verdicts[place], 24, 1)}", va="center", fontsize=TINY)
    axes.axvline(found.seconds, color=INK, linewidth=1, linestyle="--")
    axes.set_yticks(
        np.arange(len(order)),
        [f"{label(found.names[place], 24, 1)}, {found.devices[place]}" for place in order],
        fontsize=TINY,
    )
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_xlim(0, 1.12 * max(found.seconds, float(start.max(initial=0.0)), 1e-9))
    axes.set_xlabel("modelled seconds since the round began")
    light_grid(axes, "x")
    handles = [Patch(facecolor=color, hatch=hatch, edgecolor="white", label=name) for name, color, hatch in PHASES]
    handles.append(Patch(facecolor=FAINT, label="waiting"))
    if not all(counted):
        handles.append(Patch(facecolor=GREY, alpha=0.35, label="pale: does not count"))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=5, borderaxespad=0)
    shown = (
        f"the {len(order)} slowest of {len(found.clients)} clients"
        if len(order) < len(found.clients)
        else "all clients"
    )
    caption(
        figure,
        f"Round {found.round} ends after {found.seconds:.3g} modelled seconds (dashed); {shown} that were drawn "
        "for it. Training is real, its time is not measured but modelled from device profiles: see docs/edge.md.",
    )
    settle(figure)
    return figure
