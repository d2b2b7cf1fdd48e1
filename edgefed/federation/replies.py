"""Replies opened: a message's records as arrays, whoever sent it, with nothing taken on trust and nothing unpickled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.durable import MOST_HEADER, parsed_array
from edgefed.federation.exchange import LATE
from edgefed.federation.flat_record import FlatRecord
from edgefed.federation.messages import ARRAYS, METRICS, Broadcast, CohortReplies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flwr.app import Array, ArrayRecord, Message, RecordDict
    from numpy.typing import NDArray

    from edgefed.edge.codecs import Codec
    from edgefed.learning.model import MLP

MOST_EXAMPLES = 10**9
"""Rows that a client may say it has."""


@dataclass(frozen=True)
class Failure:
    """A client's error in place of a reply: the node that sent it (Flower's own for a dead one) and the reason."""

    node: int
    reason: str
    kind: str = "failed"
    """``failed``, ``late`` or ``refused``."""

    @property
    def verdict(self) -> str:
        """What ``clients.csv`` says."""
        return f"{self.kind}: {self.reason}"


@dataclass(frozen=True)
class Column:
    """What one metric of a reply must be: its shape, its range (``low`` and ``high`` are within it), whether whole.

    A metric that is not ``required`` may be missing: it reads as nan, or as -1 where it is whole.
    """

    shape: tuple[int, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    finite: bool = True
    required: bool = True


@dataclass(frozen=True)
class Expected:
    """What replies to one kind of message must hold.

    Attributes
    ----------
    columns : mapping of str to Column
        Metrics by name; others are let pass where every reply has them alike.
    model : MLP or None
        Names and shapes of the arrays; None where replies carry none.
    dtype : str
        Of the arrays.
    told : int64 ndarray [clients] or None
        ``num-examples`` that each client gave in the query, which every later reply must repeat.
    most_steps : int64 ndarray [clients] or None
        Largest number of steps that each client may say it took; None is no bound.
    start : ndarray [size] or None
        Weights that the round began with.
    codec : Codec or None
        What unpacks arrays that are compressed updates.
    most_norm : float
        Largest L2 norm of a client's update, theta_k - theta; infinity is no bound.
    """

    columns: Mapping[str, Column]
    model: MLP | None = None
    dtype: str = "float32"
    told: NDArray[np.int64] | None = None
    most_steps: NDArray[np.int64] | None = None
    start: NDArray[np.floating] | None = None
    codec: Codec | None = None
    most_norm: float = field(default=math.inf)


def failure_of(reply: Message) -> Failure:
    """Return what a reply with an error stands for."""
    lines = (reply.error.reason or f"error code {reply.error.code}").strip().splitlines()
    reason = lines[-1] if lines else f"error code {reply.error.code}"
    return Failure(reply.metadata.src_node_id, reason, "late" if reply.error.code == LATE else "failed")


def opened(content: RecordDict, expected: Expected) -> tuple[NDArray[np.floating] | None, dict[str, NDArray[Any]]]:
    """Return a reply's weights [size], if it should have any, and its metrics by name.

    Raises
    ------
    ValueError
        When a record, array or metric is missing, extra or not of the expected form.
    """
    names = list(content.array_records)
    if names != ([] if expected.model is None else [ARRAYS]):
        raise ValueError(f"array records {names or 'none'}, expected {ARRAYS if expected.model else 'none'}")
    flat = None if expected.model is None else _flat(content.array_records[ARRAYS], expected.model, expected)
    if METRICS not in content.metric_records:
        raise ValueError("no metrics")
    record = content.metric_records[METRICS]
    metrics = {name: _metric(name, record.get(name), column) for name, column in expected.columns.items()}
    for name, value in record.items():
        if name not in metrics:
            metrics[name] = np.asarray(value)
    return flat, metrics


def _flat(record: ArrayRecord, model: MLP, expected: Expected) -> NDArray[np.floating]:
    if expected.codec is not None and expected.start is not None:
        packed = _packed(record, expected.codec)
        if problem := expected.codec.problem(packed):
            raise ValueError(problem)
        return expected.start + expected.codec.decode(packed)
    if isinstance(record, FlatRecord) and record.flat is not None and record.model == model:
        if record.flat.dtype != expected.dtype:
            raise ValueError(f"weights of {record.flat.dtype}, expected {expected.dtype}")
        return record.flat
    names = list(record)
    if missing := [name for name in model.shapes if name not in names]:
        raise ValueError(f"no array {missing[0]}")
    if extra := [name for name in names if name not in model.shapes]:
        raise ValueError(f"array {extra[0]!r:.60} is none of the model's")
    return np.concatenate(
        [_array(name, record[name], shape, expected.dtype).ravel() for name, shape in model.shapes.items()]
    )


def _packed(record: ArrayRecord, codec: Codec) -> dict[str, NDArray[Any]]:
    """Return a compressed update's arrays, none larger than the largest that there may be."""
    largest = max(np.dtype(dtype).itemsize * length for dtype, length in codec.layout().values())
    if len(record) > MOST_PACKED:
        raise ValueError(f"{len(record)} arrays, expected {len(codec.layout())}")
    return {name: _parsed(name, array, largest) for name, array in record.items()}


MOST_PACKED = 16
"""Arrays of a compressed update that are looked at: codecs have three at most."""


def _parsed(name: str, array: Array, size: int) -> NDArray[Any]:
    if array.stype != "numpy.ndarray":
        raise ValueError(f"{name}: serialised as {array.stype!r:.40}, expected numpy.ndarray")
    if len(array.data) > size + MOST_HEADER:
        raise ValueError(f"{name}: {len(array.data)} bytes, expected {size}")
    try:
        return parsed_array(array.data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _array(name: str, array: Array, shape: tuple[int, ...], dtype: str) -> NDArray[np.floating]:
    found = _parsed(name, array, math.prod(shape) * np.dtype(dtype).itemsize)
    if found.shape != shape:
        raise ValueError(f"{name}: shape {found.shape}, expected {shape}")
    if found.dtype != dtype:
        raise ValueError(f"{name}: {found.dtype}, expected {dtype}")
    return found


def _metric(name: str, value: Any, column: Column) -> NDArray[Any]:
    if value is None:
        if column.required:
            raise ValueError(f"no {name}")
        return np.full(column.shape, -1 if column.whole else math.nan)
    if isinstance(value, list) and len(value) != math.prod(column.shape):
        raise ValueError(f"{name}: {len(value)} numbers, expected {math.prod(column.shape)}")
    found = np.asarray(value)
    if found.shape != column.shape:
        raise ValueError(f"{name}: shape {found.shape}, expected {column.shape}")
    if found.dtype.kind not in ("iu" if column.whole else "biuf") or (column.whole and (found > _LARGEST).any()):
        raise ValueError(f"{name} is no {'whole ' if column.whole else ''}number")
    return found.astype(np.int64) if column.whole else found


_LARGEST = np.iinfo(np.int64).max


def senders(replies: Sequence[Message]) -> NDArray[np.uint64]:
    """Return the node that each reply came from [replies]."""
    if isinstance(replies, CohortReplies) and isinstance(replies.requests, Broadcast):
        return replies.requests.nodes
    return np.array([reply.metadata.src_node_id for reply in replies], np.uint64)
