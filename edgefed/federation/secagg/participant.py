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

NO_KEYS = "no keys of this round: none were given, or the device was started again since"
"""What a client says that is asked for a later stage and has kept nothing."""


@dataclass(frozen=True)
class Secrets:
    """What a client alone knows of a round: the operating system's randomness, made anew for each."""

    mask_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    cipher_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    seed: bytes = field(default_factory=lambda: os.urandom(SEED_BYTES))


@dataclass
class Participant:
    """A client in one round.

    Its secrets are no named stream's, which would be known to whoever knows the seed. The sum does not depend on them,
    so a run still repeats to the bit. Each is forgotten once it has served: its own after masking, others' shares after
    giving them back.

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
    shared: int = 0
    """The last round of this run in which it has shared its secrets; no such round begins again."""
    threshold: int = 0
    """How many neighbours bring this client's secrets back; known once it has shared them."""
    secrets: Secrets | None = field(default_factory=Secrets, repr=False)
    """None once it has masked."""
    mask_keys: dict[int, bytes] = field(default_factory=dict)
    """Neighbours' public keys for masks."""
    channels: dict[int, bytes] = field(default_factory=dict, repr=False)
    """The key under which it and a neighbour send each other shares."""
    seed_shares: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Shares of neighbours' seeds; empty where what a neighbour has sent cannot be opened."""
    key_shares: dict[int, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def begin(cls, identity: int, round_number: int, share: float, before: Participant | None) -> Participant:
        """Return the client in a new round, after what it was in before.

        Raises
        ------
        ValueError
            For a round no later than the last in which it shared its secrets: its batches and roundings would be the
            same again, and of two sums that differ by a client the difference is that client.
        """
        last = 0 if before is None else before.shared
        if round_number <= last:
            raise ValueError(f"asked for keys of round {round_number}: secrets of round {last} are shared already")
        return cls(identity, round_number, share, shared=last)

    def public_keys(self) -> tuple[bytes, bytes]:
        """Return the public keys that others make masks and encrypt shares with."""
        own = self._own()
        return public_bytes(own.mask_key), public_bytes(own.cipher_key)

    def _own(self) -> Secrets:
        if self.secrets is None:
            raise ValueError(f"the secrets of round {self.round_number} are forgotten: its vector is masked")
        return self.secrets

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
        own, self.threshold = self._own(), threshold_of(self.share, len(ids))
        self._check_enough(ids, "neighbours")
        self.channels = {other: agreed(own.cipher_key, key) for other, key in zip(ids, cipher_keys, strict=True)}
        self.mask_keys = dict(zip(ids, mask_keys, strict=True))
        self.stage, self.shared = "shares", round_number
        of_seed = split_seed(own.seed, self.threshold, len(ids))
        of_key = split_key(own.mask_key, self.threshold, len(ids))
        return [
            sealed(self.channels[other], self.identity, other, of_seed[place], of_key[place])
            for place, other in enumerate(ids)
        ]

    def masked(
        self,
        round_number: int,
        sources: Sequence[int],
        closed: Sequence[bytes],
        told: bytes,
        vector: NDArray[np.uint32],
    ) -> NDArray[np.uint32]:
        """Return a vector under the private mask and one for each neighbour that has sent its shares.

            y_u = x_u + PRG(b_u) + sum_{v < u} PRG(s_uv) - sum_{v > u} PRG(s_uv)    modulo 2^32

        Shares that cannot be opened are a neighbour's fault or the server's: this client masks with that neighbour all
        the same, and has none to give back.

        Parameters
        ----------
        round_number : int
        sources : sequence of int
            The neighbours.
        closed : sequence of bytes
            What each has sent.
        told : bytes
            A hash of what all clients of the round must be told alike.
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
        own = self._own()
        for source, ciphertext in zip(sources, closed, strict=True):
            try:
                found = unsealed(self.channels[source], source, self.identity, ciphertext)
            except ValueError:
                found = b"", b""
            self.seed_shares[source], self.key_shares[source] = found
        total = vector + mask(own.seed, len(vector))
        for source in sources:
            common = pair_mask(own.mask_key, self.mask_keys[source], told, len(vector))
            total = total + common if self.identity > source else total - common
        self.stage = "masked"
        self.secrets, self.mask_keys, self.channels = None, {}, {}
        return total

    def unmask(self, round_number: int, there: Sequence[int], gone: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """Return shares of the seeds of neighbours whose vectors are in the sum, of the keys of those that are gone.

        Never both of one neighbour, and once a round: with both, the vector that it had sent could be unmasked. That is
        what one client can see to; it cannot know what the others were asked.

        Raises
        ------
        ValueError
            For both of one, for strangers' shares, or for too few neighbours in the sum.
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
            "shared": self.shared,
            "threshold": self.threshold,
        }
        if self.secrets is not None:
            record |= {
                "mask-key": private_key_to_bytes(self.secrets.mask_key),
                "cipher-key": private_key_to_bytes(self.secrets.cipher_key),
                "seed": self.secrets.seed,
            }
        for name in _LISTS:
            found: dict[int, bytes] = getattr(self, name)
            if found:
                record |= {f"{name}:of": list(found), name: list(found.values())}
        put_record(kept, KEPT, ConfigRecord(record))

    @classmethod
    def load(cls, kept: RecordDict) -> Participant | None:
        """Take it back from a node; None where it has kept nothing."""
        if KEPT not in kept.config_records:
            return None
        record = cast("dict[str, Any]", kept.config_records[KEPT])
        own = None
        if "seed" in record:
            own = Secrets(
                bytes_to_private_key(record["mask-key"]), bytes_to_private_key(record["cipher-key"]), record["seed"]
            )
        lists: dict[str, Any] = {
            name: dict(zip(record[f"{name}:of"], record[name], strict=True)) for name in _LISTS if name in record
        }
        return cls(
            record["identity"],
            record["round"],
            record["share"],
            record["stage"],
            record["shared"],
            record["threshold"],
            own,
            **lists,
        )


def in_hand(participant: Participant | None) -> Participant:
    """Return what a client has kept of a round.

    Raises
    ------
    ValueError
        Where it has kept nothing: it has not given keys, or was started again since.
    """
    if participant is None:
        raise ValueError(NO_KEYS)
    return participant


_LISTS = ("mask_keys", "channels", "seed_shares", "key_shares")
