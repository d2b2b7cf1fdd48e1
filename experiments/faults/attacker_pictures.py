"""What attackers cost, as a picture and as tables: balanced accuracy against the average of honest clients."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from edgefed.report.style import BLUE, FAINT, GREEN, INK, VERMILLION, WIDTH, caption, house_style, new_figure, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]]
    """data -> partition -> strategy -> case -> balanced accuracy, one a seed."""

MARKS = {"none": (INK, "o"), "sign-flip": (BLUE, "s"), "scaled": (VERMILLION, "^"), "constant": (GREEN, "D")}
PARTITIONS = {"iid": "rows alike (iid)", "dirichlet": "label skew (Dirichlet, alpha 0.3)"}


def lost(by_strategy: Mapping[str, Mapping[str, Sequence[float]]], strategy: str, case: str) -> tuple[float, float]:
    """Return by how much a strategy under attack is below FedAvg without attackers: mean over seeds, 95 % half-width.

    Paired by seed; Student's t.
    """
    honest = np.array(by_strategy["fedavg"]["none 0%"])
    gaps = honest - np.array(by_strategy[strategy][case])
    width = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
    return float(gaps.mean()), float(width)


def table(results: Results) -> str:
    """Return tables in Markdown: mean balanced accuracy and its standard deviation over seeds."""
    lines = []
    for dataset, by_partition in results.items():
        for partition, by_strategy in by_partition.items():
            cases = list(next(iter(by_strategy.values())))
            lines += ["", f"| {dataset}, {partition} | " + " | ".join(cases) + " |", "|---" * (len(cases) + 1) + "|"]
            for strategy, by_case in by_strategy.items():
                cells = [f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}" for found in by_case.values()]
                lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


@house_style()
def draw(results: Results, picture: Path) -> None:
    """Draw what each case costs each strategy: a row a data set, a column a partition."""
    seeds = len(next(iter(next(iter(next(iter(results.values())).values()))["fedavg"].values())))
    title = "What attackers cost: robust rules hold, and where labels are skewed they cost by themselves"
    figure = new_figure(WIDTH, 2.75 * len(results) + 1.1, title)
    grid = figure.subplots(len(results), len(PARTITIONS), sharex=True, sharey=True, squeeze=False)
    for axes_row, (dataset, by_partition) in zip(grid, results.items(), strict=True):
        for axes, (partition, name) in zip(axes_row, PARTITIONS.items(), strict=True):
            by_strategy = by_partition[partition]
            strategies = list(by_strategy)
            cases = list(by_strategy["fedavg"])
            for place, strategy in enumerate(strategies):
                if place % 2:
                    axes.axhspan(place - 0.5, place + 0.5, color=FAINT, alpha=0.35, linewidth=0)
                for step, case in enumerate(cases):
                    attack, share = case.split()
                    colour, mark = MARKS[attack]
                    mean, width = lost(by_strategy, strategy, case)
                    axes.errorbar(
                        mean,
                        place + 0.8 * ((step + 0.5) / len(cases) - 0.5),
                        xerr=width,
                        color=colour,
                        marker=mark,
                        markersize=3.6,
                        markerfacecolor=colour if share == "30%" or attack == "none" else "white",
                        linewidth=0.9,
                        label=f"{share} {attack}" if attack != "none" else "no attackers",
                    )
            axes.axvline(0, color=INK, linewidth=0.7)
            axes.set_yticks(range(len(strategies)), strategies)
            axes.set_ylim(len(strategies) - 0.5, -0.5)
            axes.grid(visible=True, axis="x")
            axes.set_title(f"{dataset}: {name}", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("balanced accuracy lost, against\nFedAvg of honest clients")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    grid[0, 0].legend(handles[: len(cases)], labels[: len(cases)], loc="lower right")  # where no robust rule has marks
    caption(
        figure,
        f"Mean over {seeds} seeds and its 95 % interval, paired by seed. 20 clients, 40 rounds, malicious-share=0.3. "
        "Attackers send start - 3 (trained - start), start + 10^6 (trained - start), or 5 everywhere.",
    )
    save(figure, picture)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
