"""What models give away of who was in the training rows, as pictures: ROC curves, classes, remedies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from edgefed.report.folder import CUT, AuditFolder, number, numbers, passes_its_ends, share_interval
from edgefed.report.glyphs import glyphs_told
from edgefed.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    label,
    light_grid,
    new_figure,
    save,
    settle,
)
from edgefed.report.swarm import draw_swarms
from edgefed.runs import AUDIT_HOME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS: dict[str, tuple[str, Any, str]] = {
    "global": (BLUE, "-", "D"),
    "update": (VERMILLION, (0, (5, 1.5)), "o"),
    "first-update": (GREEN, (0, (4, 1.5, 1, 1.5)), "^"),
    "whose": (GREY, (0, (1, 1.2)), "s"),
}
"""Colour, dashes and mark of each attack."""
HEADS = {
    "global": "global model",
    "update": "update, next round",
    "first-update": "update, first round",
    "whose": "whose row is it?",
}
SCALES = {"auc": 1.0, "tpr": 100.0}
LOWEST = 1e-3
"""Where logarithmic axes begin."""
ROW, DOT = 0.42, 2.4


@glyphs_told()
def plot_audit(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """Draw the pictures of an audit from its folder alone, PNG and SVG, and return their paths.

    Raises
    ------
    SettingsError
        One line, when the folder is not audited or pictures cannot be written.
    """
    found = AuditFolder.read(Path(folder))
    home = Path(out) if out is not None else Path(folder) / AUDIT_HOME / "plots"
    sheets = {"membership": remedies_figure(found) if found.over_seeds or len(found.entries) > 1 else roc_figure(found)}
    return [path for name, figure in sheets.items() for path in save(figure, home / name)]


@house_style()
def roc_figure(found: AuditFolder) -> Figure:
    """Return a run's ROC curves on logarithmic axes, and AUC by class with intervals."""
    attacks = found.entries[0]["attacks"]
    classes = attacks["global"]["classes"]
    title = f"Who was in the training rows? {found.result['audited']}, {found.entries[0]['name']}"
    figure = new_figure(WIDTH, max(4.2, 0.42 * len(classes) + 1.9), title)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    for kind, attack in attacks.items():
        colour, dashes, _ = LOOKS[kind]
        false, true = np.array(attack["roc"]["false"]), np.array(attack["roc"]["true"])
        mean, low, high = (number(attack["auc"][key]) for key in ("mean", "low", "high"))
        said = f"{HEADS[kind]}, AUC {mean:.2f}" + (f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else "")
        left.step(
            np.maximum(false, LOWEST / 10),
            np.maximum(true, LOWEST / 10),
            where="post",
            color=colour,
            linestyle=dashes,
            linewidth=1.5,
            label=said,
        )
    even = np.array([LOWEST, 1.0])
    left.plot(even, even, color=INK, linewidth=0.8, label="chance")
    left.axvline(0.01, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlim(LOWEST, 1)
    left.set_ylim(LOWEST, 1.1)
    left.set_xlabel("false-positive rate (%)")
    left.set_ylabel("true-positive rate (%)")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))
        axis.set_minor_formatter(NullFormatter())
    left.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
    light_grid(left)
    _classes(right, attacks)
    finest = number(attacks["global"]["resolution"])
    caption(
        figure,
        f"Left: one threshold on a row's loss for all classes (of whose row it is: on how far its loss fell), and AUC "
        "within a class with its 95 % interval; the dotted line is at 1 % false positives; "
        f"{attacks['global']['outsiders']} rows that nobody trained on tell no rate below {100 * finest:.2g} % from "
        "none. Right: how often a member's loss is below that of an outsider of its class, with 95 % intervals "
        "(DeLong; none where a class leaves no spread).",
    )
    settle(figure)
    return figure


def _classes(axes: Axes, attacks: dict[str, Any]) -> None:
    """Draw AUC by class: a mark an attack, side by side."""
    shown = [kind for kind in ("global", "update", "first-update") if kind in attacks]
    names = [row["class"] for row in attacks["global"]["classes"]]
    for offset, kind in enumerate(shown):
        colour, _, mark = LOOKS[kind]
        for row in attacks[kind]["classes"]:
            if row["class"] not in names:
                continue
            place = names.index(row["class"]) + (offset - (len(shown) - 1) / 2) * 0.24
            low, high = number(row["low"]), number(row["high"])
            if np.isfinite(low):
                axes.plot([low, high], [place, place], color=colour, linewidth=1.3)
            axes.plot([row["auc"]], [place], marker=mark, color=colour, markersize=4.5, linestyle="none")
    axes.axvline(0.5, color=INK, linewidth=0.8, zorder=1)
    members = {row["class"]: row["members"] for row in attacks["global"]["classes"]}
    axes.set_yticks(range(len(names)), [f"{label(name, 16)}\n{members[name]} members" for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("AUC within the class")
    axes.tick_params(axis="y", length=0)
    light_grid(axes, "x")


@house_style()
def remedies_figure(found: AuditFolder) -> Figure:
    """Return each remedy's AUC and true-positive rate over seeds, for the global model and for updates."""
    entries = found.entries
    shown = [kind for kind in ("global", "update", "first-update") if kind in found.kinds]
    figure = new_figure(
        WIDTH, ROW * len(shown) * len(entries) * 0.62 + 2.0, f"Who was in the training rows? {found.result['audited']}"
    )
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    places = np.arange(len(entries))
    spots = [(offset - (len(shown) - 1) / 2) * 0.27 for offset in range(len(shown))]
    for axes, measure in ((left, "auc"), (right, "tpr")):
        for kind, spot in zip(shown, spots, strict=True):
            _marks(axes, entries, measure, places + spot, kind)
        light_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
    left.axvline(0.5, color=INK, linewidth=0.8, zorder=1)
    for kind, spot in zip(shown, spots, strict=True):
        chance = [100 * number(entry["attacks"][kind]["chance"]) for entry in entries]
        right.plot(chance, places + spot, marker="|", markersize=9, color=INK, linestyle="none", zorder=4)
    right.plot([], [], marker="|", markersize=9, color=INK, linestyle="none", label="by chance")
    left.set_yticks(places, [label(entry["name"], 24) for entry in entries])
    left.set_ylim(len(entries) - 0.45, -0.55)
    left.set_xlabel("AUC within a class (0.5: chance)")
    right.set_xlabel("found at 1 % false positives (%)")
    right.set_xlim(left=0)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    handles = [
        left.plot([], [], color=LOOKS[kind][0], marker=LOOKS[kind][2], markersize=4.5, label=HEADS[kind])[0]
        for kind in shown
    ]
    handles += right.get_legend_handles_labels()[0]
    legend = left.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, columnspacing=1.2)
    legend.set_in_layout(False)  # it reaches over both pictures
    left.set_title(" ")
    seeds = len(found.result["seeds"])
    drawn = (entry["attacks"][kind][measure] for entry in entries for kind in shown for measure in SCALES)
    caption(
        figure,
        f"Mean and 95 % t interval over {seeds} seeds; dots are seeds. A threshold on the loss calls rows members: of "
        "the global model, rows that some client trained on; of an update, its client's own. Filled marks: the "
        "interval lies above chance." + (f" {CUT}" if passes_its_ends(drawn) else ""),
    )
    settle(figure)
    for axes, measure in ((left, "auc"), (right, "tpr")):
        for kind, spot in zip(shown, spots, strict=True):
            figures = [entry["attacks"][kind][measure] for entry in entries]
            _dots(axes, figures, places + spot + 0.11, kind, SCALES[measure])
    return figure


def _marks(axes: Axes, entries: list[dict[str, Any]], measure: str, places: Any, kind: str) -> None:
    """Draw means with their intervals, filled where the interval lies above chance."""
    colour, _, mark = LOOKS[kind]
    scale = SCALES[measure]
    for entry, place in zip(entries, places, strict=True):
        attack = entry["attacks"][kind]
        mean, (low, high) = scale * number(attack[measure]["mean"]), np.multiply(scale, share_interval(attack[measure]))
        if np.isfinite(low) and np.isfinite(high):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.5, zorder=3)
        chance = 0.5 if measure == "auc" else scale * number(attack["chance"])
        fill = colour if low > chance else "white"
        axes.plot([mean], [place], marker=mark, markersize=4.5, color=colour, markerfacecolor=fill, zorder=5)
        values = scale * numbers(attack[measure]["values"])
        axes.update_datalim([(value, place) for value in values[np.isfinite(values)]])  # every seed's dot is in sight
    axes.autoscale_view()


def _dots(axes: Axes, figures: list[dict[str, Any]], places: Any, kind: str, scale: float) -> None:
    """Draw each seed's value below its mark, none upon another."""
    look = {"markersize": DOT, "color": LOOKS[kind][0], "alpha": 0.45, "markeredgewidth": 0}
    samples = [scale * numbers(figure["values"]) for figure in figures]
    draw_swarms(axes, places, samples, diameter=DOT, height=0.12, below=0, look=look, within=(0, scale))
