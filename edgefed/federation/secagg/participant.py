"""One client's side of one round of SecAgg+: its secrets, and what it refuses to do with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flwr.app import ConfigRecord
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, private_key_to_bytes

from edgefed.federation.client_state import put_record
from edgefed.federation.secagg.graph import threshold_of
from edgefed.federation.secagg.keys import (
    SEED_BYTES,
    agreed,
    mask,
    new_key,
    pair_mask,
    public_bytes,
    sealed,
    split_key,
    split_seed,
    unsealed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from cryptography.hazmat.primitives.asymmetric import ec
    from flwr.app import RecordDict
    from numpy.typing import NDArray

KEPT = "secagg"
"""The record's name in a Flower node's ``context.state``."""

STAGES = ("keys", "shares", "masked", "unmasked")
"""What a client has last given away; it goes from one to the next and never back."""


@dataclass
class Participant:
    """A client in one round.

    All of its secrets are the operating system's randomness, made anew for each round: a named stream's would be known
    to whoever knows the seed. The sum does not depend on them, so a run still repeats to the bit.

    Parameters
    ----------
    identity : int
        The client's partition id.
    round_number : int
    share : float
        ``secagg-threshold``: of its own settings, so that no message can lower it.
    """

    identity: int
    round_number: int
    share: float
    stage: str = "keys"
    mask_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key, repr=False)
    cipher_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key, repr=False)
    seed: bytes = field(default_factory=lambda: os.urandom(SEED_BYTES), repr=False)
    mask_keys: dict[int, bytes] = field(default_factory=dict)
    """Neighbours' public keys for masks."""
    channels: dict[int, bytes] = field(default_factory=dict, repr=False)
    """The key under which it and a neighbour send each other shares."""
    seed_shares: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Shares of neighbours' seeds; of those that have sent any."""
    key_shares: dict[int, bytes] = field(default_factory=dict, repr=False)

    def public_keys(self) -> tuple[bytes, bytes]:
        """Return the public keys that others make masks and encrypt shares with."""
        return public_bytes(self.mask_key), public_bytes(self.cipher_key)

    @property
    def threshold(self) -> int:
        """How many neighbours bring this client's secrets back."""
        return threshold_of(self.share, len(self.mask_keys))

    def share_keys(
        self, round_number: int, ids: Sequence[int], mask_keys: Sequence[bytes], cipher_keys: Sequence[bytes]
    ) -> list[bytes]:
        """Return a pair of shares for each neighbour, encrypted for it alone.

        Raises
        ------
        ValueError
            For neighbours among whom this client would not be safe: too few, one twice, itself, a key twice.
        """
        self._check_next("shares", round_number)
        if len({*ids}) != len(ids) or self.identity in ids or not len(ids) == len(mask_keys) == len(cipher_keys):
            raise ValueError("neighbours that are not different clients with two keys each")
        keys = [*mask_keys, *cipher_keys, *self.public_keys()]
        if len({*keys}) != len(keys):
            raise ValueError("a public key that stands there twice")
        self.mask_keys = dict(zip(ids, mask_keys, strict=True))
        self._check_enough(ids, "neighbours")
        self.channels = {other: agreed(self.cipher_key, key) for other, key in zip(ids, cipher_keys, strict=True)}
        self.stage = "shares"
        of_seed = split_seed(self.seed, self.threshold, len(ids))
        of_key = split_key(self.mask_key, self.threshold, len(ids))
        return [
            sealed(self.channels[other], self.identity, other, of_seed[place], of_key[place])
            for place, other in enumerate(ids)
        ]

    def masked(
        self, round_number: int, sources: Sequence[int], closed: Sequence[bytes], vector: NDArray[np.uint32]
    ) -> NDArray[np.uint32]:
        """Return a vector under the private mask and one for each neighbour that has sent its shares.

            y_u = x_u + PRG(b_u) + sum_{v < u} PRG(s_uv) - sum_{v > u} PRG(s_uv)    modulo 2^32

        Parameters
        ----------
        round_number : int
        sources : sequence of int
            The neighbours.
        closed : sequence of bytes
            What each has sent.
        vector : uint32 ndarray [length]

        Raises
        ------
        ValueError
            For shares that are not of its neighbours, or of too few.
        """
        self._check_next("masked", round_number)
        if len({*sources}) != len(sources) or not {*sources} <= {*self.mask_keys} or len(sources) != len(closed):
            raise ValueError("shares that are not of this client's neighbours")
        self._check_enough(sources, "neighbours that have sent shares")
        for source, ciphertext in zip(sources, closed, strict=True):
            found = unsealed(self.channels[source], source, self.identity, ciphertext)
            self.seed_shares[source], self.key_shares[source] = found
        self.stage = "masked"
        total = vector + mask(self.seed, len(vector))
        for source in sources:
            common = pair_mask(self.mask_key, self.mask_keys[source], len(vector))
            total = total + common if self.identity > source else total - common
        return total

    def unmask(self, round_number: int, there: Sequence[int], gone: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """Return shares of the seeds of neighbours whose vectors are in the sum, of the keys of those that are gone.

        Never both of one neighbour, and once a round: with both, the vector that it had sent could be unmasked.

        Raises
        ------
        ValueError
            For a request that would let more than a sum be seen.
        """
        self._check_next("unmasked", round_number)
        if both := {*there} & {*gone}:
            raise ValueError(f"both shares of client {min(both)}: with them its own update could be unmasked")
        if not {*there, *gone} <= {*self.seed_shares}:
            raise ValueError("shares of clients that have given this one none")
        self._check_enough(there, "neighbours in the sum")
        self.stage = "unmasked"
        shares = [self.seed_shares[other] for other in there], [self.key_shares[other] for other in gone]
        self.seed_shares, self.key_shares = {}, {}
        return shares

    def _check_next(self, stage: str, round_number: int) -> None:
        if round_number != self.round_number or STAGES.index(stage) != STAGES.index(self.stage) + 1:
            raise ValueError(
                f"asked for {stage} of round {round_number} after {self.stage} of round {self.round_number}"
            )

    def _check_enough(self, some: Sequence[int], what: str) -> None:
        if len(some) < self.threshold:
            raise ValueError(f"{len(some)} {what}, at least {self.threshold} are needed")

    # ---- between two messages
    def save(self, kept: RecordDict) -> None:
        """Give all of it to a node to keep until the next message; nothing of it is ever in a checkpoint."""
        record: dict[str, Any] = {
            "identity": self.identity,
            "round": self.round_number,
            "share": self.share,
            "stage": self.stage,
            "mask-key": private_key_to_bytes(self.mask_key),
            "cipher-key": private_key_to_bytes(self.cipher_key),
            "seed": self.seed,
        }
        for name in _LISTS:
            found: dict[int, bytes] = getattr(self, name)
            record |= {f"{name}:of": list(found), name: list(found.values())}
        put_record(kept, KEPT, ConfigRecord(record))

    @classmethod
    def load(cls, kept: RecordDict) -> Participant:
        """Take it back from a node.

        Raises
        ------
        ValueError
            Where the node has kept nothing: it has not given keys, or was started again since.
        """
        if KEPT not in kept.config_records:
            raise ValueError("no keys of this round: none were given, or the device was started again since")
        record = cast("dict[str, Any]", kept.config_records[KEPT])
        lists = {name: dict(zip(record[f"{name}:of"], record[name], strict=True)) for name in _LISTS}
        return cls(
            record["identity"],
            record["round"],
            record["share"],
            record["stage"],
            bytes_to_private_key(record["mask-key"]),
            bytes_to_private_key(record["cipher-key"]),
            record["seed"],
            **lists,
        )


_LISTS = ("mask_keys", "channels", "seed_shares", "key_shares")
