"""How long the server waits for the rest of a reply that a node has announced: until the time for it is up.

A node announces a reply and then sends it piece by piece. Flower's grid, once it has the announcement, fetches one
reply after the other and waits for each one's pieces until three minutes after the last of them came. A device whose
link is cut in between, or that means to, would hold up everybody's round for so long, whatever its timeout.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOONEST, LATEST = 0.1, 1.0
"""Seconds until a piece that is not there is asked for again: they double from the first to the second."""


@contextmanager
def pieces_until(deadline: float) -> Iterator[None]:
    """While this lasts, let Flower's grid wait for pieces of a reply until a time of the monotonic clock.

    A reply that is not whole by then is an error of Flower's code ``MESSAGE_UNAVAILABLE``; one that is there is taken
    even after it.
    """
    import flwr.superlink.grid.http_grid as http_grid  # not before there is a server to ask
    from flwr.supercore.inflatable.inflatable_utils import pull_objects

    def pull(object_ids: list[str], pull_object_fn: Callable[[str], bytes]) -> dict[str, bytes]:
        return pull_objects(
            object_ids,
            pull_object_fn,
            max_time=max(0.0, deadline - time.monotonic()),
            initial_backoff=SOONEST,
            backoff_cap=LATEST,
        )

    vars(http_grid)["pull_objects"] = pull
    try:
        yield
    finally:
        vars(http_grid)["pull_objects"] = pull_objects
