"""Thousands of small federations, in lockstep block by block, and what each scores in its last round."""

from __future__ import annotations

import gc
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.api.assembly import in_process
from edgefed.api.lockstep import BLOCK, without_garbage_collection
from edgefed.engines import make_engine
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from edgefed import FederationConfig
    from edgefed.data.shards import FederatedData

    Cell = tuple[FederationConfig, FederatedData]


def scores(cells: Iterable[Cell], rows: str = "test", measure: str = "balanced_accuracy") -> NDArray[np.float64]:
    """Return a measure of each federation's last round [federations]."""
    return np.array([last[rows][measure] for last in last_rounds(cells)])


def last_rounds(cells: Iterable[Cell]) -> Iterator[dict[str, Any]]:
    """Yield each federation's last row of history; no more than a block of federations is kept at a time."""
    waiting = iter(cells)
    with without_garbage_collection():
        while block := list(itertools.islice(waiting, BLOCK)):
            engine = make_engine("batched")
            federations = [in_process(config, data, engine) for config, data in block]
            query(federations, engine.exchange, [range(config.num_clients) for config, _ in block])
            run_rounds(federations, engine.exchange)
            yield from [federation.history[-1] for federation in federations]
            del federations, engine
            gc.collect()
