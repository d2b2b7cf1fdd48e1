"""Which strategy, remedy, codec and selection win when devices are slow, drop out and pay for bytes.

    python experiments/edge/run.py [--seeds 10] [--out DIR]

Writes results.json and pictures to results/ beside this file, or to DIR. README.md says what is asked and what was
seen. Seconds and joules are modelled (docs/edge.md).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed import FederationConfig, SettingsError
from edgefed.analysis.statistics import t_interval
from edgefed.api.assembly import in_process
from edgefed.api.cost import budgets, scores_within
from edgefed.api.course import Course
from edgefed.config import read_settings
from edgefed.data.datasets import load
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.record import environment, finished_run, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.report.costs import cost_figure
from edgefed.report.style import save
from edgefed.runs import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.runs import Run

HERE = Path(__file__).parent
SLOW = {"stragglers": 0.5, "partial_work": "accept"}
#: question -> arm -> settings; the first arm is what the others are compared with, seed by seed.
QUESTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "strategies": {
        "fedavg, stragglers dropped": {"stragglers": 0.5, "partial_work": "drop"},
        "fedavg": SLOW,
        "fedprox": SLOW | {"strategy": "fedprox"},
        "fednova": SLOW | {"strategy": "fednova"},
        "scaffold": SLOW | {"strategy": "scaffold"},
        "fedavgm": SLOW | {"strategy": "fedavgm", "server_momentum": 0.5},
        "fedadam": SLOW | {"strategy": "fedadam"},
        "fedyogi": SLOW | {"strategy": "fedyogi"},
        "qfedavg": SLOW | {"strategy": "qfedavg"},
    },
    "remedies": {
        "none, fedavg": SLOW,
        "balanced-softmax, fedavg": SLOW | {"imbalance": "balanced-softmax"},
        "none, scaffold": SLOW | {"strategy": "scaffold"},
        "balanced-softmax, scaffold": SLOW | {"imbalance": "balanced-softmax", "strategy": "scaffold"},
        "post-hoc, fedavg": SLOW | {"imbalance": "post-hoc"},
        "random-oversampling, fedavg": SLOW | {"imbalance": "random-oversampling"},
    },
    "codecs": {
        "none": {},
        "float16": {"compression": "float16"},
        "int8": {"compression": "int8"},
        "top-k 10 %": {"compression": "top-k"},
        "top-k 2 %": {"compression": "top-k", "top_k_share": 0.02},
    },
    "selections": {
        "uniform": {"fraction_train": 0.2},
        "power-of-choice": {"fraction_train": 0.2, "selection": "power-of-choice"},
        "oort": {"fraction_train": 0.2, "selection": "oort"},
        "deadline, late ones dropped": {"fraction_train": 0.2, "round_deadline": 0.15},
    },
}


def main() -> int:
    """Train every arm of every question under every seed, keep the figures and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    asked = parser.parse_args()
    if (asked.out / "results.json").exists():
        raise SettingsError(f"--out {asked.out}: exists already; give another folder")
    base = FederationConfig.from_mapping(read_settings(HERE / "base.toml"))
    found = {}
    for question, arms in QUESTIONS.items():
        begun = time.perf_counter()
        runs = trained(base, arms, range(asked.seeds))
        found[question] = figures(runs)
        asked.out.mkdir(parents=True, exist_ok=True)
        said = f"Digits, {base.num_clients} devices, over splits, partitions and initialisations."
        picture = cost_figure(runs, f"{question.capitalize()}: test balanced accuracy against cost", said)
        assert picture is not None
        save(picture, asked.out / f"{question}.png")
        print(f"{question}: {time.perf_counter() - begun:.0f} s", flush=True)
        for arm, entry in found[question].items():
            print(f"  {arm:<30} {entry['balanced_accuracy']['mean']:.3f}  {entry['difference']}", flush=True)
    write_json(asked.out / "results.json", {"seeds": list(range(asked.seeds)), "questions": found})
    return 0


def trained(base: FederationConfig, arms: dict[str, dict[str, Any]], seeds: Sequence[int]) -> dict[str, list[Run]]:
    """Return the finished runs of each arm, a seed each; all train in lockstep."""
    dataset, engine, surroundings = load(base), make_engine("batched"), environment()
    federations, openings = [], []
    for changes in arms.values():
        for seed in seeds:
            config, data = federate(base.replace(**changes, seed=seed), dataset)
            federations.append(in_process(config, data, engine))
            openings.append(opening_manifest(config, data, "batched", surroundings))
    query(federations, engine.exchange, [range(federation.config.num_clients) for federation in federations])
    begun = time.perf_counter()
    run_rounds(federations, engine.exchange)
    seconds = (time.perf_counter() - begun) / len(federations)
    finished = [
        finished_run(federation, opening, "edge", seconds, None)
        for federation, opening in zip(federations, openings, strict=True)
    ]
    count = len(list(seeds))
    return {arm: finished[place * count : (place + 1) * count] for place, arm in enumerate(arms)}


def figures(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Return each arm's accuracy, its paired difference to the first, its costs, and who took part."""
    courses = {arm: [Course.of(run) for run in own] for arm, own in runs.items()}
    afforded = budgets(courses)
    control = np.array([course.last("balanced_accuracy") for course in next(iter(courses.values()))])
    found = {}
    for arm, own in courses.items():
        values = np.array([course.last("balanced_accuracy") for course in own])
        summaries = [course.summary for course in own]
        found[arm] = {
            "balanced_accuracy": interval(values),
            "difference": interval(values - control) if (values != control).any() else None,
            "worst_recall": interval(np.array([summary["test"]["worst_recall"] for summary in summaries])),
            "megabytes": float(np.mean([sum(summary["bytes"].values()) / 1e6 for summary in summaries])),
            "payload_megabytes": float(
                np.mean([sum(summary["payload_bytes"].values()) / 1e6 for summary in summaries])
            ),
            "seconds": float(np.mean([summary["modelled"]["seconds"] for summary in summaries])),
            "joules": float(np.mean([summary["modelled"]["joules"] for summary in summaries])),
            "updates": float(np.mean([summary["client_updates"] for summary in summaries])),
            "at_equal": {
                name: {"budget": budget} | interval(np.array(scores_within(own, name, budget)))
                for name, budget in afforded.items()
            },
            "rounds_of_holders": by_rarity(runs[arm]),
        }
    return found


def by_rarity(runs: Sequence[Run]) -> list[float]:
    """Return the share of rounds in which a class's holders counted, from the commonest class to the rarest."""
    ordered = []
    for run in runs:
        share = dict(zip(run.manifest["classes"], run.manifest["edge"]["by_class"], strict=True))
        ordered.append([share[name] for name in run.manifest["long_tail_order"]])
    return np.mean(ordered, axis=0).round(4).tolist()


def interval(values: np.ndarray) -> dict[str, Any]:
    """Return mean and 95 % t interval, rounded to what is worth printing."""
    found = t_interval(values.tolist())
    return {"mean": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SettingsError as error:
        sys.exit(f"run.py: {error}")
