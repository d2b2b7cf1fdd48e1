"""What attackers cost each server strategy: test accuracy with 10 and 30 % of clients that attack, over seeds.

    python experiments/faults/attackers.py [--seeds 5]

Iris and breast-cancer, 20 clients with rows alike (iid), 40 rounds; malicious-share is 0.3. Prints a table of mean
balanced accuracy and its standard deviation over seeds, which vary split, partition, weights and attackers.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from attacks import ATTACKS, Attacked, attackers_among

from edgefed import FederationConfig
from edgefed.api.assembly import in_process
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds

STRATEGIES = ("fedavg", "fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan")
CASES = [("none", 0.0)] + [(attack, share) for attack in ATTACKS if attack != "none" for share in (0.1, 0.3)]


def accuracy(dataset: str, strategy: str, attack: str, share: float, seed: int) -> float:
    """Return the final model's balanced accuracy on the server's test rows."""
    config, data = federate(
        FederationConfig(
            dataset=dataset,
            strategy=strategy,
            seed=seed,
            num_clients=20,
            partition="iid",
            num_server_rounds=40,
            evaluate_every=40,
            learning_rate=0.3,
            local_epochs=2,
            malicious_share=0.3,
        )
    )
    engine = make_engine("batched")
    federation = in_process(config, data, engine)
    query([federation], engine.exchange, [range(config.num_clients)])
    attackers = attackers_among(config.num_clients, share, seed)
    run_rounds([federation], Attacked(engine, federation, attack, attackers).exchange)
    return float(federation.history[-1]["test"]["balanced_accuracy"])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    print("| data | strategy | " + " | ".join(f"{attack} {share:.0%}" for attack, share in CASES) + " |")
    print("|---|---|" + "---|" * len(CASES))
    for dataset in ("iris", "breast-cancer"):
        for strategy in STRATEGIES:
            cells = []
            for attack, share in CASES:
                found = [accuracy(dataset, strategy, attack, share, seed) for seed in range(asked.seeds)]
                cells.append(f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}")
            print(f"| {dataset} | {strategy} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
