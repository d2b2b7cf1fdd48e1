"""FedProx's Synthetic sets: FedAvg that drops stragglers against FedProx that takes what they got done.

    python experiments/fedprox_synthetic/run.py [--sets 1,1 0.5,0.5 0,0 iid] [--seeds 5] [--out FILE]

Writes results.json and curves.png beside this file, or FILE and a picture beside it. README.md says what is asked and
what was seen.
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
from edgefed.config import read_settings
from edgefed.data.datasets import load
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.runs import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
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
    if asked.out.exists():
        raise SettingsError(f"--out {asked.out}: exists already; give another file")
    base = FederationConfig.from_mapping(read_settings(HERE / "base.toml"))
    found = {}
    for name in asked.sets:
        begun = time.perf_counter()
        found[name] = trained(base.replace(synthetic=name), range(asked.seeds))
        print(f"synthetic={name}: {time.perf_counter() - begun:.0f} s", flush=True)
        for share, arms in found[name].items():
            means = ", ".join(f"{arm} {entry['mean']:.3f}" for arm, entry in arms.items())
            print(f"  stragglers {share}: {means}", flush=True)
    every = base.evaluate_every
    rounds = list(range(every, base.num_server_rounds + 1, every))
    write_json(asked.out, {"rounds": rounds, "seeds": list(range(asked.seeds)), "sets": found})
    from pictures import draw

    draw(asked.out, asked.out.with_suffix(".png") if asked.out != HERE / "results.json" else HERE / "curves.png")
    checked = found.get("1,1", {})
    above = [
        entry["fedprox, mu=1"]["mean"] > entry["fedavg"]["mean"] for share, entry in checked.items() if share != "0"
    ]
    return 0 if all(above) else 1


def trained(base: FederationConfig, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Return the figures of each arm at each share of stragglers; all federations of a set train in lockstep."""
    dataset, engine = load(base), make_engine("batched")
    cells = [(share, arm, seed) for share in STRAGGLERS for arm in ARMS for seed in seeds]
    federations = []
    for share, arm, seed in cells:
        config, data = federate(base.replace(**ARMS[arm], stragglers=share, seed=seed), dataset)
        federations.append(in_process(config, data, engine))
    query(federations, engine.exchange, [range(federation.config.num_clients) for federation in federations])
    run_rounds(federations, engine.exchange)
    curves = {
        cell: [row["test"]["accuracy"] for row in federation.history if "test" in row]
        for cell, federation in zip(cells, federations, strict=True)
    }
    return {
        f"{share:g}": {arm: figures([curves[share, arm, seed] for seed in seeds]) for arm in ARMS}
        for share in STRAGGLERS
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
