"""Membership inference: by remedy, and against epsilon.

    python experiments/privacy/membership.py [remedies|epsilon|pictures] [--seeds 10] [--out DIR]

Writes results and pictures to results/membership/ beside this file, or to DIR. membership.md says what is asked and
what was seen.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgefed
from edgefed import FederationConfig, SettingsError
from edgefed.analysis.statistics import t_interval
from edgefed.report.audit import plot_audit
from edgefed.report.folder import number
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
from edgefed.runs import read_json, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
DATASETS = ("breast-cancer", "digits")
REMEDIES = (
    "none",
    "class-weights-balanced-local",
    "class-weights-balanced-global",
    "balanced-softmax",
    "random-oversampling",
    "smote",
    "random-undersampling",
    "mixup",
)
NOISE = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Noise multipliers, beside a federation without differential privacy."""
FEW_ROWS = {
    "dataset": "digits",
    "test_fraction": 0.4,
    "validation_fraction": 0.4,
    "alpha": 1.0,
    "hidden": "64",
    "learning_rate": 0.3,
}
BY_HEART = {
    "dataset": "csv",
    "partition": "iid",
    "hidden": "64",
    "learning_rate": 0.3,
    "batch_size": 5,
    "local_epochs": 20,
    "test_fraction": 0.4,
    "validation_fraction": 0.4,
}
FEDERATIONS: dict[str, dict[str, Any]] = {
    "digits, 10 clients": FEW_ROWS | {"num_clients": 10},
    "digits, 100 clients": FEW_ROWS | {"num_clients": 100},
    "labels at random, 10 clients": BY_HEART | {"num_clients": 10},
}
LOOKS = {
    "digits, 10 clients": (BLUE, "-", "o"),
    "digits, 100 clients": (VERMILLION, "--", "s"),
    "labels at random, 10 clients": (GREEN, "-.", "^"),
}


def main() -> int:
    """Answer one question, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["remedies", "epsilon", "pictures"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "membership", metavar="DIR")
    asked = parser.parse_args()
    for part in ("remedies", "epsilon") if asked.part is None else (asked.part,):
        begun = time.perf_counter()
        {"remedies": remedies, "epsilon": against_epsilon, "pictures": pictures}[part](asked.out, asked.seeds)
        print(f"{part}: {time.perf_counter() - begun:.0f} s", flush=True)
    return 0


# ---------------------------------------------------------------------------------------------- by remedy
def remedies(out: Path, seeds: int) -> None:
    """Train every remedy under every seed, attack their models, keep the figures and draw them."""
    for dataset in DATASETS:
        base = FederationConfig(dataset=dataset, long_tail=10.0, num_server_rounds=100, learning_rate=0.3)
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / dataset
            edgefed.compare(
                base.replace(evaluate_every=10),
                strategies=",".join(REMEDIES),
                seeds=seeds,
                tune=None,
                out=folder,
                progress=False,
            )
            found = edgefed.audit(folder, progress=False).result
        order = {name: place for place, name in enumerate(REMEDIES)}
        found["strategies"].sort(key=lambda entry: order[entry["name"]])
        _kept(out / dataset, found)
        for entry in found["strategies"]:
            print(f"  {dataset:<14} {entry['name']:<30}", *_said(entry["attacks"]), flush=True)


def _kept(folder: Path, found: dict[str, Any]) -> None:
    """Keep an audit's figures where its pictures are drawn from, its curves left out, and draw them."""
    for entry in found["strategies"]:
        for attack in entry["attacks"].values():
            attack.pop("roc", None)
    (folder / "audit").mkdir(parents=True, exist_ok=True)
    write_json(folder / "audit" / "audit.json", found)
    plot_audit(folder, folder)


def _said(attacks: dict[str, Any]) -> list[str]:
    return [f"{kind} {number(attack['auc']['mean']):.3f}" for kind, attack in attacks.items()]


# ---------------------------------------------------------------------------------------------- against epsilon
def against_epsilon(out: Path, seeds: int) -> None:
    """Train federations under more and more noise, attack their models, keep the figures and draw them."""
    found: dict[str, Any] = {"seeds": list(range(seeds)), "federations": {}}
    with tempfile.TemporaryDirectory() as home:
        for name, changes in FEDERATIONS.items():
            base = FederationConfig(
                **({"data_path": str(_random_labels(Path(home)))} if changes["dataset"] == "csv" else {}),
                **changes,
                standardize="server",
                num_server_rounds=50,
                evaluate_every=50,
            )
            found["federations"][name] = []
            for noise in (None, *NOISE):
                private = {} if noise is None else {"privacy": "dp-fixed", "noise_multiplier": noise}
                runs = [edgefed.run(base.replace(**private, seed=seed), progress=False) for seed in range(seeds)]
                point = _point(noise, runs)
                found["federations"][name].append(point)
                print(f"  {name:<30} noise {noise}, epsilon {point['epsilon']}", *_said(point["attacks"]), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "epsilon.json", found)
    pictures(out, seeds)


def _point(noise: float | None, runs: list[edgefed.Run]) -> dict[str, Any]:
    attacks = edgefed.audit(runs, progress=False).result["strategies"][0]["attacks"]
    kept = ("auc", "tpr", "chance", "members", "outsiders")
    scores = [run.summary["test"]["balanced_accuracy"] for run in runs]
    interval = t_interval(scores)
    return {
        "noise_multiplier": noise,
        "epsilon": None if noise is None else runs[0].summary["privacy"]["epsilon"],
        "delta": None if noise is None else runs[0].summary["privacy"]["delta"],
        "balanced_accuracy": {"mean": interval.mean, "low": interval.low, "high": interval.high, "values": scores},
        "attacks": {kind: {key: attack[key] for key in kept} for kind, attack in attacks.items()},
    }


def _random_labels(home: Path) -> Path:
    """Write rows whose labels follow from nothing: whatever a model knows of them it has learned by heart."""
    path = home / "random.csv"
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow([*(f"x{column}" for column in range(10)), "label"])
        for row in rng.normal(size=(500, 10)):
            writer.writerow([*(f"{value:.4f}" for value in row), rng.choice(["no", "yes"])])
    return path


# ---------------------------------------------------------------------------------------------- pictures
def pictures(out: Path, seeds: int) -> None:
    """Draw every picture again from the figures kept."""
    for dataset in DATASETS:
        if (out / dataset / "audit" / "audit.json").is_file():
            plot_audit(out / dataset, out / dataset)
    if (out / "epsilon.json").is_file():
        save(epsilon_figure(read_json(out / "epsilon.json")), out / "epsilon")


@house_style()
def epsilon_figure(found: dict[str, Any]) -> Figure:
    """Return AUC of the global model and of updates, and accuracy, against epsilon."""
    figure = new_figure(WIDTH, 3.6, "What differential privacy hides, and from whom")
    panels = figure.subplots(1, 3)
    largest = max(number(p["epsilon"]) for points in found["federations"].values() for p in points if p["epsilon"])
    without = 12 * largest
    smallest = min(number(p["epsilon"]) for points in found["federations"].values() for p in points if p["epsilon"])
    along = np.geomspace(smallest / 2, largest, 300)
    panels[0].plot(along, [_most(epsilon, 0.01) for epsilon in along], color=GREY, linewidth=1, linestyle=":")
    panels[0].annotate("the most that\nε allows", (9, 0.985), fontsize=6.5, color=GREY, ha="left", va="top")
    heads = ("global model", "a client's update, as sent", "test balanced accuracy")
    for name, points in found["federations"].items():
        colour, dashes, mark = LOOKS[name]
        x = [without if p["epsilon"] is None else p["epsilon"] for p in points]
        order = np.argsort(x)
        for axes, figures in zip(
            panels,
            (
                [p["attacks"]["global"]["auc"] for p in points],
                [p["attacks"]["update"]["auc"] for p in points],
                [p["balanced_accuracy"] for p in points],
            ),
            strict=True,
        ):
            mean, low, high = (np.array([number(f[key]) for f in figures])[order] for key in ("mean", "low", "high"))
            at = np.array(x)[order]
            axes.fill_between(at[:-1], low[:-1], high[:-1], color=colour, alpha=0.15, linewidth=0)
            axes.plot(at[:-1], mean[:-1], color=colour, linestyle=dashes, marker=mark, markersize=3.5, label=name)
            axes.errorbar(
                at[-1:],
                mean[-1:],
                [mean[-1:] - low[-1:], high[-1:] - mean[-1:]],
                color=colour,
                fmt=mark,
                markersize=3.5,
            )
    for axes, head in zip(panels, heads, strict=True):
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 10, 100, 1000) if smallest / 2 <= tick <= largest]
        axes.set_xticks([*ticks, without], [*map(str, ticks), "no\nDP"])
        axes.minorticks_off()
        axes.set_xlabel("epsilon of a client, whole run")
        axes.set_title(head, loc="left")
        light_grid(axes)
    for axes in panels[:2]:
        axes.axhline(0.5, color=INK, linewidth=0.8)
        axes.set_ylim(0.44, 1.01)
        axes.set_ylabel("AUC of membership within a class")
    panels[2].set_ylim(0, 1.01)
    legend = panels[0].legend(loc="lower left", ncols=3, bbox_to_anchor=(-0.05, 1.09))
    legend.set_in_layout(False)  # it reaches over all pictures
    panels[0].set_title(" \n ", loc="right")
    caption(
        figure,
        f"Mean and 95 % t interval over {len(found['seeds'])} seeds; clipping norm 1, 50 rounds, every client in each, "
        "noise multipliers 30 to 0.1. The noise is added by the server to the sum: who sees the model meets it, the "
        "server itself does not. Dotted: the AUC that (ε, 0.01) bounds for a client's being there at all.",
    )
    settle(figure)
    return figure


def _most(epsilon: float, delta: float) -> float:
    """Return the largest AUC under (epsilon, delta): 1 minus the area under its trade-off curve (Dong et al. 2022)."""
    false, steep = np.linspace(0, 1, 20_001), np.exp(min(epsilon, 50.0))
    missed = np.maximum(0, np.maximum(1 - delta - steep * false, (1 - delta - false) / steep))
    return float(1 - np.trapezoid(missed, false))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SettingsError as error:
        sys.exit(f"membership.py: {error}")
