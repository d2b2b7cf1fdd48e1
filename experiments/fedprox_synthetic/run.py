"""FedProx's Synthetic sets: FedAvg that drops stragglers against FedProx that takes what they got done.

    python experiments/fedprox_synthetic/run.py [--sets 1,1 0.5,0.5 0,0 iid] [--seeds 5] [--out FILE]

Writes results.json and curves.png beside this file, or FILE and a picture beside it; a file that has some of the seeds
is gone on with. README.md says what is asked and what was seen.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed import FederationConfig, SettingsError
from edgefed.analysis.statistics import t_interval
from edgefed.api.assembly import in_process
from edgefed.api.progress import shown
from edgefed.config import read_settings
from edgefed.data.datasets import load
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.runs import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
Cell = tuple[str, float, str]
"""(set, share of stragglers, arm)"""
STRAGGLERS = (0.0, 0.5, 0.9)
ARMS: dict[str, dict[str, Any]] = {
    "fedavg": {"strategy": "fedavg", "partial_work": "drop"},
    "fedprox, mu=0": {"strategy": "fedavg", "partial_work": "accept"},
    "fedprox, mu=1": {"strategy": "fedprox", "proximal_mu": 1.0, "partial_work": "accept"},
}


def main() -> int:
    """Train every arm under every seed, keep the figures and draw them; 1 where FedProx is not above FedAvg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["1,1", "0.5,0.5", "0,0", "iid"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results.json", metavar="FILE")
    asked = parser.parse_args()
    base = FederationConfig.from_mapping(read_settings(HERE / "base.toml"))
    every = base.evaluate_every
    rounds = list(range(every, base.num_server_rounds + 1, every))
    curves = begun(asked.out, asked.sets, rounds)
    done = len(next(iter(curves.values())))
    if done >= asked.seeds:
        raise SettingsError(f"{asked.out}: has {done} seeds already; give another file, or more --seeds")
    for seed in range(done, asked.seeds):
        for cell, curve in trained(base, asked.sets, seed).items():
            curves[cell].append(curve)
        found = {
            name: {f"{share:g}": {arm: figures(curves[name, share, arm]) for arm in ARMS} for share in STRAGGLERS}
            for name in asked.sets
        }
        write_json(asked.out, {"rounds": rounds, "seeds": list(range(seed + 1)), "sets": found})
    from pictures import draw

    draw([asked.out], asked.out.with_suffix(".png") if asked.out != HERE / "results.json" else HERE / "curves.png")
    for name, shares in found.items():
        for share, arms in shares.items():
            means = ", ".join(f"{arm} {entry['last_50_rounds']:.3f}" for arm, entry in arms.items())
            print(f"synthetic={name}, stragglers {share}: {means}")
    above = [
        entry["fedprox, mu=1"]["mean"] > entry["fedavg"]["mean"]
        for share, entry in found.get("1,1", {}).items()
        if share != "0"
    ]
    return 0 if all(above) else 1


def begun(path: Path, sets: Sequence[str], rounds: Sequence[int]) -> dict[Cell, list[list[float]]]:
    """Return the curves of the seeds that a file has already, none where there is no file: a run goes on with it."""
    cells = [(name, share, arm) for name in sets for share in STRAGGLERS for arm in ARMS]
    if not path.exists():
        return {cell: [] for cell in cells}
    kept = read_json(path)
    if kept["rounds"] != list(rounds) or list(kept["sets"]) != list(sets):
        raise SettingsError(f"{path}: other sets or rounds than are asked for; give another file")
    return {(name, share, arm): kept["sets"][name][f"{share:g}"][arm]["curves"] for name, share, arm in cells}


def trained(base: FederationConfig, sets: Sequence[str], seed: int) -> dict[Cell, list[float]]:
    """Return test accuracy by round of each set, share of stragglers and arm under one seed, all in lockstep.

    The sets' clients hold as many rows, and a seed's cohorts are the same for all: whatever waits for the largest
    client waits once.
    """
    engine, federations = make_engine("batched"), {}
    for name in sets:
        own = base.replace(synthetic=name, seed=seed)
        dataset = load(own)
        for share, arm in itertools.product(STRAGGLERS, ARMS):
            config, data = federate(own.replace(**ARMS[arm], stragglers=share), dataset)
            federations[name, share, arm] = in_process(config, data, engine)
    together = list(federations.values())
    query(together, engine.exchange, [range(federation.config.num_clients) for federation in together])
    with shown(True, base.num_server_rounds, f"seed {seed}") as show:
        together[0].on_round = lambda federation: show(federation.history)
        run_rounds(together, engine.exchange)
    return {
        cell: [row["test"]["accuracy"] for row in federation.history if "test" in row]
        for cell, federation in federations.items()
    }


def figures(curves: list[list[float]]) -> dict[str, Any]:
    """Return the last round's accuracy, the mean of the last fifty rounds', and every curve."""
    last = [curve[-1] for curve in curves]
    interval = t_interval(last)
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "values": last,
        "last_50_rounds": float(np.mean([curve[-5:] for curve in curves])),
        "curves": curves,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SettingsError as error:
        sys.exit(f"run.py: {error}")
