"""Who shares secrets with whom, and how many of them bring one back."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def drawn_neighbours(clients: Sequence[int], count: int) -> dict[int, list[int]]:
    """Return each client's neighbours, ascending: everybody, or ``count`` (even) around a circle in random order.

    The order is the operating system's randomness: whoever knew it could choose whom to corrupt. The sum is the same
    whatever it is.
    """
    if count >= len(clients) - 1:
        return {client: [other for other in clients if other != client] for client in clients}
    circle = list(clients)
    secrets.SystemRandom().shuffle(circle)
    half = count // 2
    found = {
        client: sorted(circle[(place + step) % len(circle)] for step in range(-half, half + 1) if step)
        for place, client in enumerate(circle)
    }
    return {client: found[client] for client in clients}


def threshold_of(share: float, neighbours: int) -> int:
    """Return how many of a client's neighbours bring its secrets back: the share asked for, always more than half.

    Two disjoint sets of neighbours can then not both bring the same secret back. That does not stop a server that lies
    about who dropped out: it can get a client's seed from some, and the keys of all of that client's neighbours from
    others, whose own seeds it then does without (``docs/secure_aggregation.md``).
    """
    return max(2, neighbours // 2 + 1, math.ceil(share * neighbours - 1e-9))
