"""Bytes that a federation moves: the deflated Flower objects of each message's content.

Envelope, HTTP and TLS are left out; an error in place of a reply weighs its text. The size of a message follows from
its structure (names, shapes, types, the length of each whole number), so each structure is deflated once and counted
from then on: a stack of a thousand replies costs one look.
"""

from __future__ import annotations

import json
import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from edgefed.federation.disclosure import ENVELOPE, ERROR, OTHER, RECORDS
from edgefed.federation.exchange import LATE, UNREACHABLE
from edgefed.federation.flat_record import FlatRecord
from edgefed.federation.messages import Broadcast, CohortReplies, reply_content
from edgefed.federation.screening import answers_among

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flwr.app import Message
    from numpy.typing import NDArray

    from edgefed.federation.disclosure import Left


def content_bytes(content: RecordDict) -> int:
    """Return the bytes of all deflated objects of a content, every array counted.

    (Flower stores two arrays of one record with the very same bytes once; that is not taken off.)
    """
    total = len(content.deflate())
    for record in content.values():
        total += len(record.deflate())
        if isinstance(record, ArrayRecord):
            total += sum(_array_bytes(array) for array in record.values())
    return total


def field_bytes(content: RecordDict) -> dict[str, int]:
    """Return the bytes of each field of a content, which sum to :func:`content_bytes`.

    A field is a record of arrays, by its name, or an entry of another record, by its own; what is left over, such as
    the names of records, is :data:`~edgefed.federation.disclosure.ENVELOPE`. A record whose name is none of edgefed's
    is :data:`~edgefed.federation.disclosure.OTHER`, its name and all.
    """
    found: dict[str, int] = {}
    for name, record in content.items():
        arrays = sum(_array_bytes(array) for array in record.values()) if isinstance(record, ArrayRecord) else 0
        if name not in RECORDS:
            found[OTHER] = found.get(OTHER, 0) + len(json.dumps(name)) - 2 + len(record.deflate()) + arrays
        elif isinstance(record, ArrayRecord):
            found[name] = found.get(name, 0) + len(record.deflate()) + arrays
        else:
            for key, value in record.items():
                entry: Any = {key: value}
                field = OTHER if key in (ENVELOPE, ERROR) else key
                found[field] = found.get(field, 0) + _body_bytes(type(record)(entry))
    found[ENVELOPE] = content_bytes(content) - sum(found.values())
    return found


def _body_bytes(record: Any) -> int:
    """Return the bytes of a deflated record behind its header, which ends with a zero: its entries, one by one."""
    deflated: bytes = record.deflate()
    return len(deflated) - deflated.index(b"\0") - 1


def payload_bytes(content: RecordDict) -> int:
    """Return the bytes of a content's arrays alone: their numbers, without names, shapes or headers."""
    total = 0
    for record in content.array_records.values():
        if isinstance(record, FlatRecord) and record.flat is not None:
            total += record.flat.nbytes
        else:
            total += sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in record.values())
    return total


def payload_of(messages: Sequence[Message]) -> int:
    """Return the bytes of the arrays of messages that all carry as many: those of one round, one way."""
    if not len(messages):
        return 0
    if isinstance(messages, CohortReplies):
        parts = [*(messages.packed or {}).values(), *([] if messages.stack is None else [messages.stack])]
        return sum(part.nbytes for part in parts)
    first = messages.content if isinstance(messages, Broadcast) else messages[0].content
    return len(messages) * payload_bytes(first)


def _array_bytes(array: Array) -> int:
    return len(array.deflate()) + sum(len(chunk.deflate()) for _, chunk in array.slice_array())


_VARINT_STEPS = np.array([1 << (7 * byte) for byte in range(1, 10)], np.uint64)

MAX_KNOWN = 10_000
"""Structures that are remembered: cohorts drawn anew each round would fill memory otherwise."""


class Traffic:
    """Counts messages' bytes, by field where they leave a client, deflating each structure once."""

    def __init__(self) -> None:
        self._known: dict[Any, Mapping[str, int]] = {}

    def sent(self, messages: Iterable[Message]) -> int:
        """Return the bytes of messages' contents; a payload shared by many is looked at once."""
        if isinstance(messages, Broadcast):
            return len(messages) * self._total(messages.content) if len(messages) else 0
        counts: dict[int, tuple[RecordDict, int]] = {}
        for message in messages:
            if message.has_content():
                content, count = counts.get(id(message.content), (message.content, 0))
                counts[id(message.content)] = (content, count + 1)
        return sum(count * self._total(content) for content, count in counts.values())

    def left(self, kind: str, replies: Sequence[Message]) -> tuple[Left, int]:
        """Return what left clients in replies to a type of message, and its bytes in all.

        Errors that the server itself makes, for who is late or gone, come from nobody.
        """
        answered = answers_among(replies)
        found: Left = [(kind, self.fields(answered), len(answered))] if len(answered) else []
        errors = [reply.error for reply in replies if reply.has_error()] if len(answered) < len(replies) else []
        said = [error.reason or "" for error in errors if error.code not in (LATE, UNREACHABLE)]
        if said:
            found.append((kind, {ERROR: sum(len(text.encode(errors="replace")) for text in said)}, len(said)))
        return found, sum(sum(fields.values()) for _, fields, _ in found)

    def fields(self, replies: Iterable[Message]) -> Mapping[str, int]:
        """Return the bytes of each field of replies' contents."""
        if not isinstance(replies, CohortReplies):
            return _summed((self._fields(reply.content), 1) for reply in replies if reply.has_content())
        if not len(replies):
            return {}
        metrics, stack = replies.metrics, replies.stack
        whole = [values.reshape(len(replies), -1) for values in metrics.values() if values.dtype.kind == "i"]
        lengths = _varint_lengths(np.concatenate(whole, axis=1)) if whole else np.zeros((len(replies), 0), np.int64)
        packed = replies.packed or {}
        structure = (
            None if stack is None else (replies.model, stack.dtype.str),
            tuple((name, values.dtype.str, values.shape[1:]) for name, values in packed.items()),
            tuple((name, values.dtype.kind, values.shape[1:]) for name, values in metrics.items()),
        )
        # The same cohort comes back with numbers of the same lengths: known as a whole.
        key = (structure, lengths.shape, blake2b(lengths.tobytes(), digest_size=16).digest())
        if key not in self._known:
            kinds, first, count = np.unique(lengths, axis=0, return_index=True, return_counts=True)
            parts = []
            for kind, client, times in zip(kinds, first, count, strict=True):
                one = (structure, kind.tobytes())
                if one not in self._known:
                    weights = None if stack is None else stack[client]
                    reply = reply_content(replies.model, weights, metrics, int(client), replies.packed)
                    self._known[one] = field_bytes(reply)
                parts.append((self._known[one], int(times)))
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known[key] = _summed(parts)
        return self._known[key]

    def _total(self, content: RecordDict) -> int:
        return sum(self._fields(content).values())

    def _fields(self, content: RecordDict) -> Mapping[str, int]:
        key = tuple((name, _structure(record)) for name, record in content.items())
        if key not in self._known:
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known[key] = field_bytes(content)
        return self._known[key]


def _summed(parts: Iterable[tuple[Mapping[str, int], int]]) -> dict[str, int]:
    """Return fields' bytes summed, each mapping so many times."""
    total: dict[str, int] = {}
    for fields, times in parts:
        for name, size in fields.items():
            total[name] = total.get(name, 0) + times * size
    return total


def _structure(record: Any) -> tuple[Any, ...]:
    if isinstance(record, FlatRecord) and record.flat is not None:
        return (record.flat.dtype.str, record.model)
    if isinstance(record, ArrayRecord):
        # What its bytes are is a client's to say: not what their length is.
        return tuple((name, array.dtype, array.shape, array.stype, len(array.data)) for name, array in record.items())
    return tuple((name, _value_structure(value)) for name, value in record.items())


def _value_structure(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        if value and isinstance(value[0], int):
            return ("ints", tuple(_varint_lengths(np.array(value)).tolist()))
        if value and isinstance(value[0], str | bytes):
            return ("texts", tuple(len(item.encode() if isinstance(item, str) else item) for item in value))
        return ("list", len(value))
    if isinstance(value, bool | float):
        return (type(value).__name__,)
    if isinstance(value, int):
        return ("int", int(_varint_lengths(np.array([value]))[0]))
    return (type(value).__name__, len(value.encode() if isinstance(value, str) else value))


def _varint_lengths(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bytes of each whole number in protobuf's zigzag variable-length form."""
    zigzag = (values.astype(np.int64) << 1) ^ (values.astype(np.int64) >> 63)
    return np.searchsorted(_VARINT_STEPS, zigzag.astype(np.uint64), side="right") + 1
