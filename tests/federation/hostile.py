"""Clients that send what they should not: the same faults on messages and on a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord

from edgefed.federation.messages import ARRAYS, METRICS, CohortReplies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

BAD = 4
"""The partition id of the client that is hostile."""


def arrays_of(reply: Any) -> dict[str, np.ndarray]:
    """Return a reply's arrays."""
    return {name: array.numpy().copy() for name, array in reply.content.array_records[ARRAYS].items()}


def put(reply: Any, arrays: dict[str, Any]) -> None:
    """Replace a reply's arrays: ndarrays or Flower's own."""
    ready = {name: value if isinstance(value, Array) else Array(value) for name, value in arrays.items()}
    del reply.content[ARRAYS]
    reply.content[ARRAYS] = ArrayRecord(ready)


def weights(change: Callable[[dict[str, np.ndarray]], dict[str, Any]]) -> Callable[[Any], None]:
    """Return a fault that changes a reply's arrays."""
    return lambda reply: put(reply, change(arrays_of(reply)))


def metric(name: str, value: Any) -> Callable[[Any], None]:
    """Return a fault that sets a metric, or takes it out (None)."""

    def fault(reply: Any) -> None:
        record = reply.content.metric_records[METRICS]
        if value is None:
            del record[name]
        else:
            record[name] = value

    return fault


def first(change: Callable[[np.ndarray], Any]) -> Callable[[Any], None]:
    """Return a fault in the first array alone."""
    return weights(lambda arrays: arrays | {"0.weight": change(arrays["0.weight"])})


def at(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return what sets one number."""

    def change(array: np.ndarray) -> np.ndarray:
        array.flat[3] = value
        return array

    return change


def lying(array: np.ndarray, shape: str) -> Array:
    """Return an array whose header promises another shape than there are numbers."""
    good = Array(array)
    at_shape = good.data.index(b"(16, 4)")
    data = good.data[:at_shape] + shape.encode().ljust(7) + good.data[at_shape + 7 :]
    return Array(good.dtype, good.shape, good.stype, data)


class Explosive:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('a pickle was opened')",))


def pickled(array: np.ndarray) -> Array:
    """Return an array whose bytes are a pickle within a .npy file."""
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([Explosive()], dtype=object), allow_pickle=True)
    return Array("float32", array.shape, "numpy.ndarray", buffer.getvalue())


MESSAGE_FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "nan in a weight": (first(at(np.nan)), "weights that are not finite"),
    "infinity in a weight": (first(at(-np.inf)), "weights that are not finite"),
    "a shape that would broadcast": (
        first(lambda a: a[:, :1].copy()),
        r"0\.weight: shape \(16, 1\), expected \(16, 4\)",
    ),
    "a scalar": (first(lambda a: np.zeros((), np.float32)), r"0\.weight: shape \(\)"),
    "double precision": (first(lambda a: a.astype(np.float64)), "0.weight: "),
    "half precision": (first(lambda a: a.astype(np.float16)), "0.weight: float16, expected float32"),
    "whole numbers": (first(lambda a: a.astype(np.int32)), "0.weight: int32, expected float32"),
    "the other byte order": (first(lambda a: a.astype(">f4")), "0.weight: >f4, expected float32"),
    "a missing array": (
        weights(lambda arrays: {k: v for k, v in arrays.items() if k != "2.bias"}),
        r"no array 2\.bias",
    ),
    "an extra array": (weights(lambda arrays: arrays | {"9.bias": np.zeros(3)}), "'9.bias' is none of the model's"),
    "a name that is a path": (weights(lambda arrays: arrays | {"../../x": np.zeros(3)}), "none of the model's"),
    "a header that promises a terabyte": (first(lambda a: lying(a, "(9**12)")), "0.weight: its header is no literal"),
    "a header that promises more": (
        first(lambda a: lying(a, "(99, 9)")),
        r"256 bytes of data, expected \(99, 9\)",
    ),
    "a pickle": (first(pickled), "holds '.O', expected numbers"),
    "another serialisation": (
        first(lambda a: Array("float32", a.shape, "torch.tensor", Array(a).data)),
        "serialised as 'torch.tensor'",
    ),
    "bytes of nothing": (first(lambda a: Array("float32", a.shape, "numpy.ndarray", b"")), "0.weight: "),
    "a thousand times the bytes": (
        first(lambda a: Array("float32", a.shape, "numpy.ndarray", bytes(1000 * a.nbytes))),
        "64000 bytes|256000 bytes",
    ),
    "no arrays": (lambda reply: reply.content.pop(ARRAYS), "array records none"),
    "another record of arrays": (
        lambda reply: reply.content.__setitem__("more", ArrayRecord({"w": Array(np.zeros(2))})),
        "array records",
    ),
    "no metrics": (lambda reply: reply.content.pop(METRICS), "no metrics"),
    "no rows": (metric("num-examples", None), "no num-examples"),
    "zero rows": (metric("num-examples", 0), "num-examples out of range"),
    "negative rows": (metric("num-examples", -7), "num-examples out of range"),
    "absurd rows": (metric("num-examples", 10**15), "num-examples out of range"),
    "more rows than told": (metric("num-examples", 10**6), "not what it gave in the query"),
    "half a row": (metric("num-examples", 9.5), "num-examples is no whole number"),
    "nan rows": (metric("num-examples", float("nan")), "num-examples is no whole number"),
    "a list of rows": (metric("num-examples", [9, 9]), "num-examples: 2 numbers, expected 1"),
    "another's name": (metric("partition-id", 7), "says that it is client 7"),
    "nobody's name": (metric("partition-id", 1000), "says that it is client 1000"),
    "steps of many numbers": (metric("steps", list(range(100_000))), "steps: 100000 numbers"),
}
"""name -> (what is done to the reply, what the verdict says)."""

STACK_FAULTS: dict[str, tuple[Callable[[CohortReplies, int], None], str]] = {
    "nan in a weight": (lambda replies, at: replies.stack.__setitem__((at, 3), np.nan), "weights that are not finite"),
    "infinity in a weight": (lambda replies, at: replies.stack.__setitem__((at, 3), -np.inf), "not finite"),
    "zero rows": (lambda replies, at: _set(replies, "num-examples", at, 0), "num-examples out of range"),
    "negative rows": (lambda replies, at: _set(replies, "num-examples", at, -7), "num-examples out of range"),
    "absurd rows": (lambda replies, at: _set(replies, "num-examples", at, 10**15), "num-examples out of range"),
    "more rows than told": (lambda replies, at: _set(replies, "num-examples", at, 10**6), "not what it gave"),
}


def _set(replies: CohortReplies, name: str, place: int, value: Any) -> None:
    column: NDArray[Any] = replies.metrics[name].copy()
    column[place] = value
    replies.metrics = {**replies.metrics, name: column}


class Hostile:
    """An engine whose client :data:`BAD` does something to its train replies (in chosen rounds)."""

    def __init__(self, engine: Any, fault: Any, rounds: Sequence[int] = range(1, 100)) -> None:
        self.engine, self.fault, self.rounds, self.round = engine, fault, rounds, 0

    def exchange(self, items: Any) -> Any:
        """Answer, then do it."""
        answers = self.engine.exchange(items)
        (messages,) = [messages for _, messages in items]
        if not len(messages) or messages[0].metadata.message_type != "train":
            return answers
        self.round += 1
        if self.round not in self.rounds:
            return answers
        replies = answers[0]
        asked = [message.metadata.dst_node_id for message in messages]
        if BAD in asked:
            if isinstance(replies, CohortReplies):
                replies.stack = replies.stack.copy()
                self.fault(replies, asked.index(BAD))
            else:
                self.fault(replies[asked.index(BAD)])
        return [replies]
