"""Masks taken off a sum, with the secrets that enough shares bring back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgefed.federation.secagg.keys import joined_key, joined_seed, mask, pair_mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgefed.federation.secagg.joining import Joining


@dataclass(frozen=True)
class Masks:
    """The masks of a round's sum.

    Attributes
    ----------
    there, gone : collection of int
        The clients whose vectors are in the sum, and those that shared their secrets and sent none.
    graph : mapping of int to sequence of int
        Each client's neighbours.
    needed : mapping of int to int
        How many of them bring its secret back.
    keys : mapping of int to (bytes, bytes)
        Each client's public keys.
    told : bytes
        A hash of what all clients of the round were told alike.
    """

    there: Collection[int]
    gone: Collection[int]
    graph: Mapping[int, Sequence[int]]
    needed: Mapping[int, int]
    keys: Mapping[int, tuple[bytes, bytes]]
    told: bytes

    def off(
        self,
        total: NDArray[np.uint32],
        seeds: Mapping[int, Mapping[int, bytes]],
        private: Mapping[int, Mapping[int, bytes]],
        joined: Joining,
    ) -> NDArray[np.uint32]:
        """Return a sum [length] without its masks.

        Parameters
        ----------
        total : uint32 ndarray [length]
        seeds, private : mapping of int to mapping of int to bytes
            Shares of the seeds of those that are there and of the private keys of those that are gone: by whose
            secret, and by who gave it back.
        joined : callable
            Makes secrets of shares.

        Raises
        ------
        TooFewError, ValueError
            As ``joined`` does.
        """
        length = len(total)
        for client in self.there:
            total = total - mask(joined(client, seeds[client], self.needed[client], joined_seed), length)
        for client in self.gone:
            others = [other for other in self.graph[client] if other in self.there]
            if not others:
                continue  # no vector in the sum has a mask of this client's
            join = partial(joined_key, public=self.keys[client][0])
            key = joined(client, private[client], self.needed[client], join)
            for other in others:
                common = pair_mask(key, self.keys[other][0], self.told, length)
                total = total - common if other > client else total + common
        return total
