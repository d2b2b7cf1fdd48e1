"""Screening: no strategy sees a reply that is not what was asked for, and each client's verdict is kept.

A stack of replies is looked at in one pass; messages are opened one by one and then looked at by the same lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.federation.clients import ROWS, SAY, START_LOSS, STATE_ROUND
from edgefed.federation.flat_record import FlatRecord
from edgefed.federation.messages import ARRAYS, METRICS, PARTITION_ID, STEPS, CohortReplies, metric_record
from edgefed.federation.replies import MOST_EXAMPLES, Column, Expected, Failure, failure_of, opened
from edgefed.learning.schedule import schedule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flwr.app import Message
    from numpy.typing import NDArray

    from edgefed.federation.federation import Federation

    Metrics = Mapping[str, NDArray[Any]]

IDENTITY = Column(whole=True, low=0)


@dataclass(frozen=True)
class Screened:
    """Replies that passed, in the order of their partition ids, and what became of the others.

    Attributes
    ----------
    kept : sequence of Message
    metrics : dict of str to ndarray [kept, ...]
    refused : dict of int to str
        Partition id -> why its reply was left out of the round.
    failed : list of Failure
        Errors in place of replies, and replies of nodes that were not asked.
    why : str
        Why there is nothing to average, where that is neither silence nor refusal.
    in_vain : frozenset of int
        Partition ids of clients that answered all that they were asked, in a masked round that came to nothing.
    """

    kept: Sequence[Message]
    metrics: dict[str, NDArray[Any]]
    refused: dict[int, str]
    failed: list[Failure]
    why: str = ""
    in_vain: frozenset[int] = frozenset()

    @property
    def counted(self) -> int:
        """Clients whose updates are in the average: those that are kept, or all that are in a masked round's sum."""
        return len(self.metrics.get(PARTITION_ID, ()))

    @property
    def late(self) -> frozenset[int]:
        """Nodes whose reply did not come in time."""
        return frozenset(failure.node for failure in self.failed if failure.kind == "late")


NOTHING = Screened([], {}, {}, [])
"""What comes of asking nobody."""


# ---------------------------------------------------------------------------------------------- what is expected
def expected_of_training(federation: Federation) -> Expected:
    """Return what a train reply must hold."""
    needs_steps = federation.config.strategy in ("fednova", "scaffold")  # they divide by them
    columns = {
        PARTITION_ID: IDENTITY,
        ROWS: Column(whole=True, low=1, high=MOST_EXAMPLES),
        STEPS: Column(whole=True, low=1 if needs_steps else -1, required=needs_steps),
        "train-loss": Column(finite=False, required=False),
    }
    if federation.remedy.reweighs:
        low, high = federation.remedy.say_range(federation.model.classes)
        columns[SAY] = Column(low=low, high=high)
    by_loss = federation.config.strategy == "qfedavg"
    if federation.remedy.needs_loss or by_loss:
        columns[START_LOSS] = Column(low=0, finite=by_loss)
    if federation.config.keeps_state:
        columns[STATE_ROUND] = Column(whole=True, low=0)
    bound = federation.config.max_update_norm
    return Expected(
        columns,
        federation.model,
        federation.config.dtype,
        told=federation.rows,
        most_steps=_most_steps(federation) if needs_steps else None,
        start=federation.weights,
        codec=federation.codec,
        most_norm=bound or np.inf,
    )


def _most_steps(federation: Federation) -> NDArray[np.int64]:
    """Return how many steps each client's rows make in a round [clients], whatever a remedy draws of them."""
    schedule = schedule_of(federation.config)
    # Oversampling brings every class to the size of the largest: classes x rows at most.
    drawn = federation.rows if schedule.match_steps else federation.rows * federation.model.classes
    return schedule.local_epochs * schedule.steps_per_epoch(drawn)


def expected_of_evaluation(federation: Federation) -> Expected:
    """Return what an evaluate reply must hold."""
    counts = Column((federation.model.classes**2,), whole=True, low=0, high=MOST_EXAMPLES)
    rows = Column(whole=True, low=1, high=MOST_EXAMPLES)
    loss = Column(low=0, finite=False, required=False)
    columns = {PARTITION_ID: IDENTITY, ROWS: rows, "loss": loss, "confusion": counts}
    return Expected(columns, told=federation.held_out)


def expected_of_query(federation: Federation, *, moments: bool, class_counts: bool) -> Expected:
    """Return what a query reply must hold."""
    rows = Column(whole=True, low=0, high=MOST_EXAMPLES)
    columns = {PARTITION_ID: IDENTITY, ROWS: rows, "num-held-out": rows}
    if moments:
        features = (federation.model.inputs,)
        columns |= {
            "feature-count": Column(features, low=0, high=MOST_EXAMPLES),
            "feature-mean": Column(features),
            "feature-m2": Column(features, low=0),
        }
    if class_counts:  # noisy ones may lie below zero
        columns["class-counts"] = Column((federation.model.classes,), low=-MOST_EXAMPLES, high=MOST_EXAMPLES)
    return Expected(columns)


# ---------------------------------------------------------------------------------------------- the pass
def answers_among(replies: Iterable[Message]) -> Sequence[Message]:
    """Return the replies that carry content; a stack as it is."""
    return replies if isinstance(replies, CohortReplies) else [reply for reply in replies if not reply.has_error()]


def screen(replies: Iterable[Message], expected: Expected, asked: Asked | None = None) -> Screened:
    """Return the replies that are what was expected, one a client, and why the others are not.

    Parameters
    ----------
    replies : iterable of Message
    expected : Expected
    asked : Asked, optional
        Who was asked. Neutral: whoever answers says who it is (the query).
    """
    if isinstance(replies, CohortReplies):
        if replies.packed is not None and expected.codec is not None and expected.model is not None:
            assert expected.start is not None
            replies = replies.with_stack(expected.model, expected.start + expected.codec.decode(replies.packed))
        return _screened(replies, replies.stack, dict(replies.metrics), expected, asked, {}, [])
    failed = [failure_of(reply) for reply in replies if reply.has_error()]
    answered, refused, parts = [], {}, []
    for reply in (reply for reply in replies if not reply.has_error()):
        node = reply.metadata.src_node_id
        client = None if asked is None else asked.client(node)
        if asked is not None and client is None:
            failed.append(Failure(node, "a reply of a node that was not asked", "refused"))
            continue
        try:
            flat, metrics = opened(reply.content, expected)
            if client is not None and int(metrics[PARTITION_ID]) != client:
                raise ValueError(f"says that it is client {int(metrics[PARTITION_ID])}")
        except Exception as error:  # what a hostile payload does to whoever opens it
            reason = str(error) if type(error) is ValueError else f"cannot be read ({type(error).__name__})"
            if client is None:
                failed.append(Failure(node, reason, "refused"))
            else:
                refused[client] = " ".join(reason.split())[:200]
            continue
        answered.append(reply)
        parts.append((flat, metrics))
    if not parts:
        return Screened([], {}, refused, failed)
    names = [name for name in parts[0][1] if _alike([metrics.get(name) for _, metrics in parts])]
    stacked = {name: np.stack([metrics[name] for _, metrics in parts]) for name in names}
    stack = None if expected.model is None else np.stack([flat for flat, _ in parts if flat is not None])
    for place, reply in enumerate(answered):  # what was looked at, and nothing else, is what a strategy sees
        for name in list(reply.content):
            del reply.content[name]
        reply.content[METRICS] = metric_record(stacked, place)
        if stack is not None and expected.model is not None:
            reply.content[ARRAYS] = FlatRecord(expected.model, stack[place])
    return _screened(answered, stack, stacked, expected, asked, refused, failed)


@dataclass(frozen=True)
class Asked:
    """The clients that a message went to: partition ids, ascending, and their nodes [asked]."""

    ids: NDArray[np.int64]
    nodes: NDArray[np.uint64]

    def client(self, node: int) -> int | None:
        """Return the client of a node; None where it was not asked."""
        places = np.flatnonzero(self.nodes == np.uint64(node))
        return int(self.ids[places[0]]) if len(places) else None


def _alike(values: list[NDArray[Any] | None]) -> bool:
    first = values[0]
    return first is not None and all(
        value is not None and value.shape == first.shape and value.dtype.kind in "biuf" for value in values
    )


def _screened(
    replies: Sequence[Message],
    stack: NDArray[np.floating] | None,
    metrics: dict[str, NDArray[Any]],
    expected: Expected,
    asked: Asked | None,
    refused: dict[int, str],
    failed: list[Failure],
) -> Screened:
    ids = np.asarray(metrics.get(PARTITION_ID, np.empty(0)))
    whys = _whys(stack, metrics, expected)
    if asked is not None and not np.array_equal(ids, asked.ids):
        whys |= {int(place): "was not asked" for place in np.flatnonzero(~np.isin(ids, asked.ids))}
    order = np.argsort(ids, kind="stable")
    seen = refused
    if whys or len(refused) or (np.diff(ids[order]) <= 0).any():
        chosen, last = [], None
        for place in order.tolist():
            client = int(ids[place])
            if client == last:
                continue  # a second answer of the same client to the same round
            if place in whys:
                seen.setdefault(client, whys[place])
            else:
                chosen.append(place)
                last = client
                seen.pop(client, None)
        order = np.array(chosen, np.intp)
    metrics = {name: values[order] for name, values in metrics.items()}
    if isinstance(replies, CohortReplies):
        return Screened(replies.taken(order), metrics, seen, failed)
    return Screened([replies[place] for place in order], metrics, seen, failed)


def _whys(stack: NDArray[np.floating] | None, metrics: Metrics, expected: Expected) -> dict[int, str]:
    """Return place -> why for the replies that are not what was expected."""
    whys: dict[int, str] = {}

    def note(bad: NDArray[np.bool_], why: str) -> None:
        for place in np.flatnonzero(bad).tolist():
            whys.setdefault(place, why)

    for name, column in expected.columns.items():
        values = metrics.get(name)
        if values is None:
            if column.required:
                note(np.ones(len(next(iter(metrics.values()), ())), bool), f"no {name}")
            continue
        _note_column(note, name, values, column)
    if expected.told is not None and ROWS in metrics:
        ids = metrics[PARTITION_ID].astype(np.int64)
        known = (ids >= 0) & (ids < len(expected.told))
        told = expected.told[np.where(known, ids, 0)]
        note(~known | (metrics[ROWS] != told), f"{ROWS} is not what it gave in the query")
        if expected.most_steps is not None and STEPS in metrics:
            most = expected.most_steps[np.where(known, ids, 0)]
            note(metrics[STEPS] > most, "more steps than its rows make")
    if stack is not None:
        if not np.isfinite(stack).all():
            note(~np.isfinite(stack).all(1), "weights that are not finite")
        if expected.start is not None and np.isfinite(expected.most_norm):
            with np.errstate(invalid="ignore", over="ignore"):
                norms = np.linalg.norm(stack.astype(np.float64) - expected.start, axis=1)
            note(~(norms <= expected.most_norm), f"an update longer than {expected.most_norm:g}")
    return whys


def _note_column(note: Any, name: str, values: NDArray[Any], column: Column) -> None:
    if values.dtype.kind not in ("iu" if column.whole else "biuf") or values.shape[1:] != column.shape:
        note(np.ones(len(values), bool), f"{name} is no {'whole ' if column.whole else ''}number")
        return
    axes = tuple(range(1, values.ndim))
    bad = (values < column.low) | (values > column.high)  # a nan is neither
    if bad.any():
        note(bad.any(axes), f"{name} out of range")
    if column.finite and values.dtype.kind == "f" and not np.isfinite(values).all():
        note(~np.isfinite(values).all(axes), f"{name} is not finite")
