"""Curves of test accuracy by round: a row a set, a column a share of stragglers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence

STYLES = {
    "fedavg": ("#000000", "-", "FedAvg, stragglers dropped"),
    "fedprox, mu=0": ("#E69F00", "--", "partial work taken, mu = 0"),
    "fedprox, mu=1": ("#0072B2", "-.", "FedProx, mu = 1"),
}


def draw(results: Sequence[Path], picture: Path) -> None:
    """Draw the curves of results files of the same rounds: the mean over seeds, and each seed as a thin line."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in results]
    rounds = files[0]["rounds"]
    sets = {name: (shares, len(kept["seeds"])) for kept in files for name, shares in kept["sets"].items()}
    shares = list(next(iter(sets.values()))[0])
    figure, axes = plt.subplots(
        len(sets),
        len(shares),
        figsize=(2.7 * len(shares), 0.7 + 2.3 * len(sets)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, (name, (by_share, seeds)) in enumerate(sets.items()):
        for column, share in enumerate(shares):
            axis = axes[row, column]
            for arm, (color, dash, label) in STYLES.items():
                curves = np.array(by_share[share][arm]["curves"])
                axis.plot(rounds, curves.T, color=color, linestyle=dash, linewidth=0.4, alpha=0.4)
                axis.plot(rounds, curves.mean(0), color=color, linestyle=dash, linewidth=1.6, label=label)
            axis.grid(alpha=0.25, linewidth=0.5)
            if row == 0:
                axis.set_title(f"{float(share):.0%} stragglers", fontsize=10)
            if row == len(sets) - 1:
                axis.set_xlabel("round")
            if column == 0:
                title = f"Synthetic({name})" if name != "iid" else "Synthetic iid"
                axis.set_ylabel(f"{title}, {seeds} seeds\ntest accuracy", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.25 / figure.get_figheight(), 1, 1))
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    draw([Path(path) for path in sys.argv[1:-1]], Path(sys.argv[-1]))
