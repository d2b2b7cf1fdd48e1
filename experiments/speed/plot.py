"""Draw w1: client updates a second against the number of clients, every system that was measured.

    python experiments/speed/plot.py w1.json [more.json] [--out updates-per-second]

Writes a PNG and an SVG. Several files of one machine are drawn as one; a system may stand at a size in one only.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.ticker import FuncFormatter, NullFormatter

from edgefed import SettingsError
from edgefed.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    light_grid,
    new_figure,
    save,
    settle,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PURPLE = "#CC79A7"  # Okabe & Ito (2008), as the other colours
ASIDE = 0.009
"""Decades that neighbouring systems are drawn apart, so that bars do not hide each other."""
LABEL_GAP = 0.052
"""Least distance between two labels, as a share of the axes' height."""


class Mark(NamedTuple):
    """How a system is drawn: told apart by marker, filling and line as well as by colour."""

    says: str
    color: str
    marker: str
    line: str
    filled: bool = True
    width: float = 1.1


MARKS = {
    "edgefed": Mark("edgefed: Flower messages, FedAvg", BLUE, "o", "-", width=2.4),
    "flower": Mark("Flower 1.41 on Ray, two actors", VERMILLION, "s", "-"),
    "pfl": Mark("pfl-research", GREEN, "^", "--"),
    "pfl x2": Mark("pfl-research, two processes", GREEN, "^", "--", filled=False),
    "fedjax": Mark("fedjax, jit", PURPLE, "D", "-."),
    "loop": Mark("plain PyTorch loop, not federated", GREY, "X", ":"),
    "fused": Mark("compiled kernel, not federated", INK, "v", ":"),
    "fused x2": Mark("compiled kernel, two threads", INK, "v", ":", filled=False),
}


def read(paths: list[Path]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Return each system's figures, by size, and the first result as a whole.

    Raises
    ------
    SettingsError
        For a file that is no result of w1, or a system that stands at one size twice.
    """
    results = []
    for path in paths:
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            workload = result["workload"]
        except (OSError, ValueError, KeyError, TypeError):
            raise SettingsError(f"{path}: is no result of experiments/speed/run.py") from None
        if workload != "w1":
            raise SettingsError(f"{path}: holds {workload}; only w1 is drawn")
        results.append(result)
    rows = [row for result in results for row in result["figures"]]
    places = [(row["system"], row["clients"]) for row in rows]
    for system, clients in places:
        if places.count((system, clients)) > 1:
            raise SettingsError(f"{system} with {clients} clients stands there twice: figures of one run are compared")
    systems = {name: [row for row in rows if row["system"] == name] for name in MARKS}
    return {name: sorted(of_one, key=_clients) for name, of_one in systems.items() if of_one}, results[0]


def _clients(row: dict[str, Any]) -> int:
    return int(row["clients"])


def draw(axes: Axes, systems: dict[str, list[dict[str, Any]]]) -> None:
    """Draw every system's line: medians, and from the smallest to the largest of the repeats."""
    ends = {}
    for name, rows in systems.items():
        mark = MARKS[name]
        aside = 10 ** (ASIDE * (list(MARKS).index(name) - len(MARKS) / 2))
        x = [row["clients"] * aside for row in rows]
        rates = [row["updates_per_second"] for row in rows]
        y = [rate["median"] for rate in rates]
        axes.errorbar(
            x,
            y,
            yerr=[
                [rate["median"] - rate["min"] for rate in rates],
                [rate["max"] - rate["median"] for rate in rates],
            ],
            color=mark.color,
            linestyle=mark.line,
            linewidth=mark.width,
            marker=mark.marker,
            markersize=6 if name == "edgefed" else 5,
            markerfacecolor=mark.color if mark.filled else "white",
            elinewidth=0.8,
            capsize=2.5,
            zorder=4 if name == "edgefed" else 3,
        )
        ends[name] = (x[-1], y[-1])
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({row["clients"] for rows in systems.values() for row in rows})
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(sizes[0] / 1.4, sizes[-1] * 1.4)
    axes.set_xlabel("clients, all of them in every round")
    axes.set_ylabel("client updates per second")
    light_grid(axes)
    _label(axes, ends)


def _label(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Write each system's name beside its line's end, moved apart where they would touch."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = {name: float(to_axes.transform(end)[1]) for name, end in ends.items()}
    placed = -1.0
    for name in sorted(heights, key=heights.__getitem__):
        placed = max(heights[name] - 0.01, placed + LABEL_GAP)
        axes.annotate(
            MARKS[name].says,
            xy=ends[name],
            xytext=(1.02, placed),
            textcoords="axes fraction",
            va="center",
            color=MARKS[name].color if name != "fedjax" else "#8F4A70",  # the marker's purple is faint as text
            fontsize=7.5,
            fontweight="bold" if name == "edgefed" else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": "#A0A0A0",
                "linewidth": 0.5,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 5,
            },
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", metavar="w1.json")
    parser.add_argument("--out", type=Path, default=Path("updates-per-second"), help="without suffix: PNG and SVG")
    asked = parser.parse_args()
    try:
        systems, result = read(asked.results)
        about = result["machine"]
        with house_style():
            figure = new_figure(WIDTH, 4.4, "Client updates per second, federations of many small clients")
            draw(figure.add_subplot(), systems)
            caption(
                figure,
                "Each client: 15 rows, 4 features, 3 classes; an MLP 4-16-3, 5 epochs of SGD in batches of 10. "
                f"Points: median of {result['repeats']} repeats, the systems taking turns; bars: smallest to largest "
                "(drawn a little apart). "
                f"Imports and set-up are left out. {about['cpu']}, {about['cores']} cores, {result['date'][:10]}.",
            )
            settle(figure)
            written = save(figure, asked.out)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
