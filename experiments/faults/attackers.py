"""What attackers cost each server strategy: test accuracy with 10 and 30 % of clients that attack, over seeds.

    python experiments/faults/attackers.py [--seeds 10] [--out experiments/faults/results]

Iris and breast-cancer, 20 clients whose rows are alike (iid) or skewed by class (Dirichlet, alpha 0.3), 40 rounds;
malicious-share is 0.3; shares are of the clients that hold rows. Writes attackers.json (every federation's balanced
accuracy) and attackers.png, and prints tables. Seeds vary split, partition, weights and attackers, alike for all
strategies and attacks.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from attacker_pictures import draw, table
from attacks import ATTACKS, Attacked, attackers_among

from edgefed import FederationConfig
from edgefed.api.assembly import in_process
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds

DATASETS = ("iris", "breast-cancer")
PARTITIONS = ("iid", "dirichlet")
STRATEGIES = ("fedavg", "fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan")
CASES = [("none", 0.0)] + [(attack, share) for attack in ATTACKS if attack != "none" for share in (0.1, 0.3)]


def accuracies(dataset: str, partition: str, strategy: str, seed: int) -> list[float]:
    """Return the final models' balanced accuracies on the server's test rows, one a case, advanced in lockstep."""
    config, data = federate(
        FederationConfig(
            dataset=dataset,
            strategy=strategy,
            seed=seed,
            num_clients=20,
            partition=partition,
            num_server_rounds=40,
            evaluate_every=40,
            learning_rate=0.3,
            local_epochs=2,
            malicious_share=0.3,
        )
    )
    found = []
    for attack, share in CASES:
        engine = make_engine("batched")
        federation = in_process(config, data, engine)
        query([federation], engine.exchange, [range(config.num_clients)])
        holders = np.flatnonzero(federation.rows > 0)  # skew leaves some clients without rows: they send nothing
        attackers = attackers_among(holders, share, seed)
        run_rounds([federation], Attacked(engine, federation, attack, attackers).exchange)
        found.append(float(federation.history[-1]["test"]["balanced_accuracy"]))
    return found


def main() -> int:
    """Run all of it, write it down, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    names = [f"{attack} {share:.0%}" for attack, share in CASES]
    results: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for dataset in DATASETS:
        for partition in PARTITIONS:
            for strategy in STRATEGIES:
                found = [accuracies(dataset, partition, strategy, seed) for seed in range(asked.seeds)]
                by_case = dict(zip(names, map(list, zip(*found, strict=True)), strict=True))
                results.setdefault(dataset, {}).setdefault(partition, {})[strategy] = by_case
                print(f"{dataset} {partition} {strategy}", file=sys.stderr, flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "attackers.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, asked.out / "attackers.png")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
