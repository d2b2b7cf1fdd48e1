"""What client-level differential privacy costs: accuracy against epsilon, for three remedies and three sizes.

    python experiments/privacy/run.py [--seeds 10] [--out DIR]
    python experiments/privacy/run.py --pictures [--out DIR]      # again, from results.json

Writes results.json and pictures to results/ beside this file, or to DIR. README.md says what is asked and what was
seen. Needs the extra edgefed[privacy].
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dp_accounting import dp_event, rdp
from scipy.optimize import brentq

from edgefed import FederationConfig, SettingsError
from edgefed.analysis.statistics import t_interval
from edgefed.api.assembly import in_process
from edgefed.config import read_settings
from edgefed.data.datasets import load
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.record import environment, finished_run, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.report.style import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    WIDTH,
    caption,
    house_style,
    light_grid,
    new_figure,
    save,
    settle,
)
from edgefed.runs import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
SIZES = (10, 100, 1000)
EPSILONS = (1.0, 4.0, 16.0, 64.0)
NORM = 3.0
REMEDIES = {
    "none": (VERMILLION, "o", "-"),
    "class-weights-balanced-local": (GREEN, "^", ":"),
    "balanced-softmax": (BLUE, "s", "--"),
}
"""Remedy -> how it is drawn."""
HISTOGRAMS = (0.01, 0.1, 1.0)
"""Values of histogram-epsilon: Laplace noise of scale 1/epsilon on each of a client's class counts."""


def main() -> int:
    """Train everything under every seed, keep the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--pictures", action="store_true", help="draw what is in DIR again")
    asked = parser.parse_args()
    if asked.pictures:
        draw(read_json(asked.out / "results.json"), asked.out)
        return 0
    if (asked.out / "results.json").exists():
        raise SettingsError(f"--out {asked.out}: exists already; give another folder")
    study = Study(FederationConfig.from_mapping(read_settings(HERE / "base.toml")), range(asked.seeds))
    found: dict[str, Any] = {"seeds": list(range(asked.seeds)), "models": {}, "uniform": {}, "counts": {}}
    for size in SIZES:
        found["models"][str(size)] = {remedy: by_epsilon(study, size, remedy) for remedy in REMEDIES}
        # Under differential privacy all clients have the same say, which alone changes what is learned.
        found["uniform"][str(size)] = scores(study(num_clients=size, imbalance="uniform"))
        found["counts"][str(size)] = by_histogram(study, size)
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(asked.out / "results.json", found)
    draw(found, asked.out)
    return 0


class Study:
    """Trains federations of several seeds in lockstep, on rows that are loaded once."""

    def __init__(self, base: FederationConfig, seeds: Sequence[int]) -> None:
        self.base = base
        self.seeds = seeds
        self._dataset = load(base)
        self._engine = make_engine("batched", threads=1)
        self._environment = environment()

    def __call__(self, **changes: Any) -> list[dict[str, Any]]:
        """Return the summary of each seed's run."""
        begun = time.perf_counter()
        federations, openings = [], []
        for seed in self.seeds:
            config, data = federate(self.base.replace(seed=seed, **changes), self._dataset)
            federations.append(in_process(config, data, self._engine))
            openings.append(opening_manifest(config, data, "batched", self._environment))
        query(federations, self._engine.exchange, [range(f.config.num_clients) for f in federations])
        run_rounds(federations, self._engine.exchange)
        done = [finished_run(f, o, "privacy", 0.0, None).summary for f, o in zip(federations, openings, strict=True)]
        score = np.mean([summary["test"]["balanced_accuracy"] for summary in done])
        print(f"{changes}: {score:.3f} in {time.perf_counter() - begun:.0f} s", flush=True)
        return done


def by_epsilon(study: Study, size: int, remedy: str) -> list[dict[str, Any]]:
    """Return accuracy at each epsilon, without privacy first."""
    rows = [{"epsilon": None, "noise_multiplier": 0.0} | scores(study(num_clients=size, imbalance=remedy))]
    for epsilon in EPSILONS:
        noise = noise_for(epsilon, study.base.num_server_rounds, 0.1 / size)
        done = study(num_clients=size, imbalance=remedy, privacy="dp-fixed", noise_multiplier=noise, clipping_norm=NORM)
        said = {summary["privacy"]["epsilon"] for summary in done}
        rows.append({"epsilon": max(said), "noise_multiplier": noise} | scores(done))
    return rows


def by_histogram(study: Study, size: int) -> list[dict[str, Any]]:
    """Return accuracy with class weights from noisy counts at each histogram-epsilon, from exact counts first."""
    exact = scores(study(num_clients=size, imbalance="class-weights-balanced-global"))
    rows = [{"epsilon": None} | exact]
    for epsilon in HISTOGRAMS:
        done = study(num_clients=size, imbalance="class-weights-balanced-noisy", histogram_epsilon=epsilon)
        rows.append({"epsilon": epsilon} | scores(done))
    return rows


def noise_for(epsilon: float, rounds: int, delta: float) -> float:
    """Return the noise multiplier at which so many Gaussian releases cost epsilon at delta."""

    def excess(log_noise: float) -> float:
        accountant = rdp.RdpAccountant()
        accountant.compose(dp_event.GaussianDpEvent(float(np.exp(log_noise))), rounds)
        return float(accountant.get_epsilon(delta)) - epsilon

    return round(float(np.exp(brentq(excess, np.log(0.05), np.log(500.0), xtol=1e-4))), 4)


def scores(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and 95 % t interval of two measures over seeds."""
    return {
        name: interval([summary["test"][name] for summary in done]) for name in ("balanced_accuracy", "worst_recall")
    }


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, 95 % t interval and the values, rounded to what is worth printing."""
    found = t_interval(list(values))
    return {
        "mean": round(found.mean, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "values": [round(value, 4) for value in values],
    }


# ---------------------------------------------------------------------------------------------- pictures
def draw(found: dict[str, Any], folder: Path) -> None:
    """Draw both pictures into a folder."""
    seeds = len(found["seeds"])
    save(accuracy_figure(found["models"], seeds), folder / "accuracy.png")
    save(counts_figure(found["counts"], seeds), folder / "counts.png")


@house_style()
def accuracy_figure(models: dict[str, dict[str, list[dict[str, Any]]]], seeds: int) -> Figure:
    """Return balanced accuracy against epsilon, a panel a number of clients, a line a remedy."""
    figure = new_figure(WIDTH, 3.1, "What a client's epsilon costs: balanced accuracy by number of clients")
    panels = figure.subplots(1, len(models), sharey=True)
    for axes, (size, remedies) in zip(panels, models.items(), strict=True):
        axes.axvspan(10, 100, color="#F0F0F0", linewidth=0)
        for place, (remedy, rows) in enumerate(remedies.items()):
            drawn(axes, rows, REMEDIES[remedy], remedy, 1.06 ** (place - 1), "no\nprivacy")
        axes.set_xlim(0.7, 400)
        axes.set_title(f"{int(size):,} clients")
        axes.set_xlabel("epsilon of a client")
    panels[0].set_ylabel("balanced accuracy (%)")
    panels[0].set_ylim(0, 100)
    panels[-1].legend(loc="lower right", fontsize=7, frameon=True, framealpha=1, edgecolor="none")
    caption(
        figure,
        f"FedProx's synthetic rows, 20 rounds of all clients, clipping norm {NORM:g}, delta a tenth of one over the "
        f"clients. Bars: 95 % t intervals over {seeds} seeds. Shaded: epsilon beyond 10, near vacuous. "
        "Class counts of balanced-softmax have noise of their own: histogram-epsilon 1, but for no privacy.",
    )
    settle(figure)
    return figure


@house_style()
def counts_figure(counts: dict[str, list[dict[str, Any]]], seeds: int) -> Figure:
    """Return balanced accuracy against histogram-epsilon, a line a number of clients."""
    figure = new_figure(WIDTH * 0.62, 3.1, "What noise on class counts costs")
    axes = figure.subplots()
    looks = ((VERMILLION, "o", "-"), (GREEN, "^", ":"), (BLUE, "s", "--"))
    for place, ((size, rows), look) in enumerate(zip(counts.items(), looks, strict=True)):
        drawn(axes, rows, look, f"{int(size):,} clients", 1.06 ** (place - 1), "exact")
    axes.set_xlim(0.007, 9)
    axes.set_xlabel("histogram-epsilon: noise of scale 1/epsilon a count")
    axes.set_ylabel("balanced accuracy (%)")
    axes.set_ylim(0, 100)
    axes.legend(loc="lower right")
    caption(
        figure,
        "Class weights from all clients' counts, each under Laplace noise of scale 1/epsilon (2 epsilon for a row "
        "whose class is replaced); weights leave without noise. Exact: from the counts themselves. Bars: 95 % t "
        f"intervals over {seeds} seeds.",
    )
    settle(figure)
    return figure


def drawn(
    axes: Axes, rows: list[dict[str, Any]], look: tuple[str, str, str], label: str, shift: float, end_label: str
) -> None:
    """Draw a line of means with their intervals; what has no epsilon stands apart at the right end."""
    colour, marker, line = look
    known = [row for row in rows if row["epsilon"] is not None]
    end = 4 * max(row["epsilon"] for row in known)
    for part, style in ((known, line), ([row for row in rows if row["epsilon"] is None], "none")):
        x = np.array([end if row["epsilon"] is None else row["epsilon"] for row in part]) * shift
        mean, low, high = (100 * np.array([row["balanced_accuracy"][name] for row in part]) for name in BOUNDS)
        axes.errorbar(
            x,
            mean,
            yerr=[mean - low, high - mean],
            color=colour,
            marker=marker,
            markersize=4,
            linestyle=style,
            linewidth=1.2,
            capsize=2,
            label=label if style != "none" else None,
        )
    axes.set_xscale("log")
    ticks = [row["epsilon"] for row in known]
    axes.set_xticks([*ticks, end], [*(f"{tick:.3g}" for tick in ticks), end_label])
    axes.minorticks_off()
    axes.axvline(end / 2, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)))
    light_grid(axes, "y")


BOUNDS = ("mean", "low", "high")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SettingsError as error:
        sys.exit(f"run.py: {error}")
