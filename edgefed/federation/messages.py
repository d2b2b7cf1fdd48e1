"""What travels: Flower records in and out of arrays, and a cohort's replies as one stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from edgefed.federation.flat_record import to_flat, to_record
from edgefed.federation.guidance import Guidance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edgefed.learning.model import MLP

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
PARTITION_ID = "partition-id"
STEPS = "steps"


def guidance_config(guidance: Guidance, told: Mapping[str, str] | None = None) -> ConfigRecord:
    """Return the config that goes with every train and evaluate message; ``told`` are settings for devices."""
    config = ConfigRecord({"feature-mean": guidance.mean.tolist(), "feature-scale": guidance.scale.tolist()})
    for key, value in (told or {}).items():
        config[key] = value
    if guidance.class_counts is not None:
        config["class-counts"] = guidance.class_counts.tolist()
    return config


WORK_IDS, WORK_EPOCHS = "work-ids", "work-epochs"
"""A train message's config: partition ids that do not do all local epochs, and how many each does."""


def ask_for(config: ConfigRecord, ids: NDArray[np.int64], epochs: NDArray[np.int64], usual: int) -> None:
    """Write into a train message's config who is asked for fewer local epochs than usual [ids], if anybody is."""
    for name in (WORK_IDS, WORK_EPOCHS):
        if name in config:
            del config[name]
    fewer = epochs < usual
    if fewer.any():
        config[WORK_IDS], config[WORK_EPOCHS] = ids[fewer].tolist(), epochs[fewer].tolist()


def read_epochs(config: ConfigRecord, ids: NDArray[np.int64], usual: int) -> NDArray[np.int64] | None:
    """Return how many local epochs clients are asked for [ids]; None where all do the usual number.

    Raises
    ------
    ValueError
        For fewer than one of any of them.
    """
    if WORK_IDS not in config:
        return None
    if min(cast("list[int]", config[WORK_EPOCHS]), default=1) < 1:  # all but one would send what they were sent
        raise ValueError(f"{WORK_EPOCHS}: a client asked for less than one local epoch")
    asked = dict(zip(cast("list[int]", config[WORK_IDS]), cast("list[int]", config[WORK_EPOCHS]), strict=True))
    return np.array([min(asked.get(identity, usual), usual) for identity in ids.tolist()], np.int64)


COUNTED_IDS, COUNTED_ROUNDS = "counted-ids", "counted-rounds"
"""A train message's config: partition ids with some update that did not count, and the last round of one that did."""


def tell_counted(config: ConfigRecord, ids: NDArray[np.int64], rounds: NDArray[np.int64]) -> None:
    """Write into a train message's config in which round clients' updates last counted [ids], if any is to know."""
    for name in (COUNTED_IDS, COUNTED_ROUNDS):
        if name in config:
            del config[name]
    if len(ids):
        config[COUNTED_IDS], config[COUNTED_ROUNDS] = ids.tolist(), rounds.tolist()


def read_counted(config: ConfigRecord, ids: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the rounds in which clients' updates last counted [ids], -1 where all did; None where nobody is told."""
    if COUNTED_IDS not in config:
        return None
    told = dict(zip(cast("list[int]", config[COUNTED_IDS]), cast("list[int]", config[COUNTED_ROUNDS]), strict=True))
    return np.array([told.get(identity, -1) for identity in ids.tolist()], np.int64)


def read_guidance(config: ConfigRecord) -> Guidance:
    """Return the guidance that a message's config carries."""
    counts = config.get("class-counts")
    return Guidance(
        np.array(config["feature-mean"], np.float64),
        np.array(config["feature-scale"], np.float64),
        None if counts is None else np.array(counts, np.float64),
    )


def metric_record(columns: Mapping[str, NDArray[np.generic]], client: int) -> MetricRecord:
    """Return one client's row of stacked metrics as a Flower record."""
    return MetricRecord({name: cast("Any", values[client].tolist()) for name, values in columns.items()})


def reply_content(
    model: MLP | None,
    weights: NDArray[np.floating] | None,
    columns: Mapping[str, NDArray[np.generic]],
    client: int,
    packed: Mapping[str, NDArray[np.generic]] | None = None,
) -> RecordDict:
    """Return one client's reply: its metrics and, after training, its weights [size] or its packed update."""
    content = RecordDict({METRICS: metric_record(columns, client)})
    if packed is not None:
        content[ARRAYS] = ArrayRecord(
            {name: Array(np.ascontiguousarray(values[client])) for name, values in packed.items()}
        )
    elif model is not None and weights is not None:
        content[ARRAYS] = to_record(model, weights)
    return content


class Broadcast(Sequence[Message]):
    """One content addressed to many nodes, as a sequence of Flower messages made when they are asked for.

    Parameters
    ----------
    content : RecordDict
        Shared by all messages: whoever writes into it writes into everyone's.
    nodes : uint64 ndarray [messages]
        Flower's node ids use all 64 bits.
    message_type : str
    """

    def __init__(self, content: RecordDict, nodes: NDArray[np.uint64], message_type: str) -> None:
        self.content = content
        self.nodes = nodes
        self.message_type = message_type

    def __len__(self) -> int:
        return len(self.nodes)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        if isinstance(index, slice):
            return Broadcast(self.content, self.nodes[index], self.message_type)
        return Message(self.content, int(self.nodes[index]), self.message_type)


class CohortReplies(Sequence[Message]):
    """A cohort's replies as stacked arrays that read as ordinary Flower messages.

    A strategy that iterates gets a message a client, made when it is asked for; the project's FedAvg takes the
    stack as it is.

    Parameters
    ----------
    requests : sequence of Message
        What the replies answer, in order.
    model : MLP or None
        Names and shapes of the arrays; None where the replies carry none.
    stack : ndarray [replies, size] or None
    metrics : mapping of str to ndarray [replies, ...]
    packed : mapping of str to ndarray [replies, ...], optional
        Compressed updates, in place of the stack.
    """

    def __init__(
        self,
        requests: Sequence[Message],
        model: MLP | None,
        stack: NDArray[np.floating] | None,
        metrics: Mapping[str, NDArray[np.generic]],
        packed: Mapping[str, NDArray[np.generic]] | None = None,
    ) -> None:
        self.requests = requests
        self.model = model
        self.stack = stack
        self.metrics = metrics
        self.packed = packed

    def __len__(self) -> int:
        return len(self.requests)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        weights = None if self.stack is None else self.stack[index]
        content = reply_content(self.model, weights, self.metrics, index, self.packed)
        return Message(content, reply_to=self.requests[index])

    def taken(self, order: NDArray[np.intp]) -> CohortReplies:
        """Return chosen replies in an order."""
        if len(order) == len(self) and (order == np.arange(len(self))).all():
            return self
        return CohortReplies(
            [self.requests[place] for place in order],
            self.model,
            None if self.stack is None else self.stack[order],
            {name: values[order] for name, values in self.metrics.items()},
            None if self.packed is None else {name: values[order] for name, values in self.packed.items()},
        )

    def with_stack(self, model: MLP, stack: NDArray[np.floating]) -> CohortReplies:
        """Return the replies with weights in place of packed updates."""
        return CohortReplies(self.requests, model, stack, self.metrics)


def in_sequence(messages: Iterable[Message]) -> Sequence[Message]:
    """Return messages as a sequence; a broadcast or a stack as it is."""
    return messages if isinstance(messages, Sequence) else list(messages)


def stacked_metrics(replies: Iterable[Message]) -> dict[str, NDArray[np.generic]]:
    """Return the metrics of replies that carry content, stacked with a reply a row."""
    if isinstance(replies, CohortReplies):
        return dict(replies.metrics)
    records = [reply.content.metric_records[METRICS] for reply in replies if not reply.has_error()]
    if not records:
        return {}
    return {name: np.array([record[name] for record in records]) for name in records[0]}


def with_metric(replies: Sequence[Message], name: str, values: NDArray[np.float64]) -> Sequence[Message]:
    """Return replies with one metric set [replies]: what a strategy weighs them by."""
    if isinstance(replies, CohortReplies):
        metrics = {**replies.metrics, name: values}
        return CohortReplies(replies.requests, replies.model, replies.stack, metrics, replies.packed)
    for reply, value in zip(replies, values.tolist(), strict=True):
        reply.content.metric_records[METRICS][name] = value
    return replies


def stacked_weights(model: MLP, replies: Iterable[Message]) -> NDArray[np.floating]:
    """Return the weights of replies that carry content, stacked [replies, size]."""
    if isinstance(replies, CohortReplies) and replies.stack is not None:
        return replies.stack
    flats = [to_flat(model, reply.content.array_records[ARRAYS]) for reply in replies if not reply.has_error()]
    return np.stack(flats) if flats else np.empty((0, model.size))
