"""What secure aggregation costs: processor seconds and bytes a round, by clients and neighbours, and where they go."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.stats import hypergeom

from edgefed.api.assembly import in_process
from edgefed.config import FederationConfig
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.messages import Broadcast
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.federation.secagg.graph import threshold_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgefed.engines.grid import Engine

PARTS = {
    "query.secagg_keys": "keys",
    "query.secagg_shares": "shares",
    "train": "training and masking",
    "query.secagg_unmask": "giving shares back",
}
"""Type of message -> what clients do with it."""


class Stopwatch:
    """An engine whose processor seconds are kept by type of message; whatever else passes is the server's."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seconds: Counter[str] = Counter()

    def exchange(self, items: Sequence[Any]) -> Sequence[Iterable[Any]]:
        """Pass on, and time."""
        messages = items[0][1]
        kind = messages.message_type if isinstance(messages, Broadcast) else messages[0].metadata.message_type
        begun = time.process_time()
        answers = self.engine.exchange(items)
        self.seconds[PARTS.get(kind, kind)] += time.process_time() - begun
        return answers


def measured(clients: int, neighbours: int, rounds: int) -> dict[str, Any]:
    """Return processor seconds and bytes of a round of so many clients; no neighbours: in the clear."""
    secure = {"privacy": "secagg", "secagg_neighbors": neighbours + neighbours % 2} if neighbours else {}
    config, data = federate(
        FederationConfig(dataset="digits", partition="iid", num_clients=clients, num_server_rounds=rounds, **secure)
    )
    watch = Stopwatch(make_engine("batched", threads=1))
    federation = in_process(config, data, watch)
    query([federation], watch.exchange, [range(clients)])
    watch.seconds.clear()
    begun = time.process_time()
    run_rounds([federation], watch.exchange)
    total = (time.process_time() - begun) / rounds
    parts = {name: seconds / rounds for name, seconds in watch.seconds.items()}
    row = federation.history[-1]
    return {
        "clients": clients,
        "neighbours": row.get("secagg", {}).get("neighbors", 0),
        "threshold": row.get("secagg", {}).get("threshold", 0),
        "seconds": total,
        "parts": parts | {"server": total - sum(parts.values())},
        "bytes_a_client": {"up": row["bytes_up"] / clients, "down": row["bytes_down"] / clients},
    }


def risks(clients: int, neighbours: int, share: float = 0.66) -> dict[str, float]:
    """Return upper bounds of chances: that a server with so many clients on its side sees one update; of a lost round.

    A client's secrets are the server's where ``threshold`` of its neighbours are on its side; a round is lost where
    more than the others of some client's neighbours drop out. Both by the hypergeometric tail, times the clients.
    """
    needed = threshold_of(share, neighbours)
    seen = {
        f"seen, {part:.0%} colluding": hypergeom.sf(needed - 1, clients - 1, round(part * clients), neighbours)
        for part in (0.1, 0.2, 0.33)
    }
    lost = {
        f"lost, {part:.0%} dropping out": hypergeom.sf(
            neighbours - needed, clients - 1, round(part * clients), neighbours
        )
        for part in (0.05, 0.1, 0.2)
    }
    return {name: min(1.0, float(chance) * clients) for name, chance in (seen | lost).items()}


def main() -> None:
    """Measure, print a line each on stderr and all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="10,50,100", help="comma-separated")
    parser.add_argument("--neighbors", default="0,12,16,24,32", help="comma-separated; 0: in the clear")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results, chances = [], {}
    for clients in map(int, given.clients.split(",")):
        for neighbours in dict.fromkeys(min(int(part), clients - 1) for part in given.neighbors.split(",")):
            found = measured(clients, neighbours, given.rounds)
            results.append(found)
            parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["parts"].items())
            print(f"{clients} clients, {neighbours} neighbours: {found['seconds']:.2f} s ({parts})", file=sys.stderr)
            if neighbours:
                chances[f"{clients} clients, {neighbours} neighbours"] = risks(clients, neighbours)
    text = json.dumps({"costs": results, "risks": chances}, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
