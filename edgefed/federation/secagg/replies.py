"""Stage replies opened: each is what was asked for, or its client is out of the round with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.durable import MOST_HEADER, parsed_array
from edgefed.federation.messages import METRICS, PARTITION_ID
from edgefed.federation.secagg.keys import KEY_SHARE, SEALED, SEED_SHARE, opened
from edgefed.federation.secagg.messages import MASKED, SECAGG, VECTOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flwr.app import RecordDict
    from numpy.typing import NDArray


def keys_in(content: RecordDict) -> tuple[bytes, bytes]:
    """Return a client's public keys, for masks and for shares.

    Raises
    ------
    ValueError
        As all of these do: when a field is missing, extra or not of the expected form.
    """
    fields = _fields(content, ("mask-key", "cipher-key"))
    keys = fields["mask-key"], fields["cipher-key"]
    for key in keys:  # here, or else all neighbours of a client with a false key would be lost in the next stage
        if not isinstance(key, bytes):
            raise ValueError("a public key that is no bytes")
        opened(key)
    return keys


def shares_in(content: RecordDict, neighbours: Sequence[int]) -> dict[int, bytes]:
    """Return the encrypted shares that a client has for each of its neighbours."""
    fields = _fields(content, ("clients", "closed"))
    _same("clients", fields["clients"], neighbours)
    closed = _texts("closed", fields["closed"], len(neighbours), SEALED)
    return dict(zip(neighbours, closed, strict=True))


def vector_in(content: RecordDict, client: int, length: int) -> NDArray[np.uint32]:
    """Return a client's masked vector [length]: that nobody can look into it is the point of it."""
    if set(content) != {METRICS, MASKED} or set(content.metric_records[METRICS]) != {PARTITION_ID}:
        raise ValueError(f"records {sorted(content)!r:.80}, expected {METRICS} with {PARTITION_ID}, and {MASKED}")
    if content.metric_records[METRICS][PARTITION_ID] != client:
        raise ValueError(f"says that it is client {content.metric_records[METRICS][PARTITION_ID]!r:.40}")
    record = content.array_records[MASKED]
    if list(record) != [VECTOR]:
        raise ValueError(f"arrays {list(record)!r:.80}, expected {VECTOR}")
    array = record[VECTOR]
    if array.stype != "numpy.ndarray" or len(array.data) > 4 * length + MOST_HEADER:
        raise ValueError(f"{VECTOR}: {len(array.data)} bytes of {array.stype!r:.40}, expected {4 * length}")
    found = parsed_array(array.data)
    if found.shape != (length,) or found.dtype != np.uint32:
        raise ValueError(f"{VECTOR}: {found.dtype} {found.shape}, expected uint32 {(length,)}")
    return found


def unmasking_in(
    content: RecordDict, there: Mapping[int, int], gone: Mapping[int, int]
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return a client's shares of the seeds of those that are there and of the keys of those that are gone.

    Of a neighbour whose shares it could not open it has none: an empty one, which is left out.

    Parameters
    ----------
    content : RecordDict
    there, gone : mapping of int to int
        The neighbours, with the number that the share which each gave this client must have.
    """
    fields = _fields(content, ("there", "seed-shares", "gone", "key-shares"))
    found = []
    for who, shares, asked, size in (
        ("there", "seed-shares", there, SEED_SHARE),
        ("gone", "key-shares", gone, KEY_SHARE),
    ):
        _same(who, fields[who], list(asked))
        texts = _texts(shares, fields[shares], len(asked), size)
        for text, number in zip(texts, asked.values(), strict=True):
            if text and (len(text) != size or int.from_bytes(text[:4], "little") != number):
                raise ValueError(f"{shares}: one that is not the share which this client was given")
        found.append({client: text for client, text in zip(asked, texts, strict=True) if text})
    return found[0], found[1]


def _fields(content: RecordDict, names: tuple[str, ...]) -> dict[str, Any]:
    if set(content) != {SECAGG}:
        raise ValueError(f"records {sorted(content)!r:.80}, expected {SECAGG}")
    record = content.config_records[SECAGG]
    if set(record) != set(names):
        raise ValueError(f"fields {sorted(record)!r:.80}, expected {', '.join(names)}")
    return dict(record)


def _same(name: str, found: Any, asked: Sequence[int]) -> None:
    if found != list(asked):
        raise ValueError(f"{name}: not the clients that were asked for")


def _texts(name: str, found: Any, count: int, most: int) -> list[bytes]:
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"{name}: expected {count} of them")
    if not all(isinstance(text, bytes) and len(text) <= most for text in found):
        raise ValueError(f"{name}: expected bytes, at most {most} each")
    return found
