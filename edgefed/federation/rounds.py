"""The round loop: one short loop over Flower's strategies that advances many federations in lockstep.

``Strategy.start`` cannot resume, has no hook and counts no failures; this loop uses the same public steps
(``configure_*``, ``send_and_receive``, ``aggregate_*``). One federation is the list of length one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from edgefed.federation.clients import DTYPES, Guidance, merged, scale_of
from edgefed.federation.evaluation import HeldOut, StackedEvaluation, by_held_out, by_label_shares
from edgefed.federation.messages import (
    CONFIG,
    PARTITION_ID,
    ROWS,
    Broadcast,
    CohortReplies,
    guidance_config,
    stacked_metrics,
    to_flat,
    to_record,
)
from edgefed.federation.traffic import Traffic
from edgefed.imbalance import REMEDIES
from edgefed.learning.cohort import torch_threads
from edgefed.rng import stream

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from flwr.serverapp.strategy import Strategy
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP

Exchange = Callable[[Sequence[tuple[Grid, Sequence[Message]]]], Sequence[Iterable[Message]]]
"""Sends each grid's messages and returns each grid's replies."""


class FederationError(RuntimeError):
    """A federation that cannot go on; the message is the one line that a person reads."""


def through_grids(timeout: float | None = None) -> Exchange:
    """Return an exchange that asks each grid in turn: Flower's own runtimes."""

    def exchange(items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[Iterable[Message]]:
        return [grid.send_and_receive(messages, timeout=timeout) for grid, messages in items]

    return exchange


class CohortView(Grid):
    """A grid that shows exactly one round's cohort, so that the loop and not the strategy draws it."""

    def __init__(self, grid: Grid, nodes: NDArray[np.uint64]) -> None:
        self._grid = grid
        self._nodes: list[int] = nodes.tolist()

    def get_node_ids(self) -> list[int]:
        """Return the cohort's nodes."""
        return self._nodes

    def set_run(self, run: Any) -> None:
        """Pass on."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """The grid's run."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Pass on."""
        return self._grid.create_message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pass on."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Pass on."""
        return self._grid.send_and_receive(messages, timeout=timeout)


@dataclass(frozen=True)
class ClientRows:
    """What became of each client of a round: arrays with an entry a client."""

    round: int
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    verdicts: list[str]


@dataclass(eq=False)
class Federation:
    """One federation as its server sees it.

    Parameters
    ----------
    config : FederationConfig
    grid : Grid
    strategy : Strategy
    model : MLP
    validation, test : HeldOut
        Rows that the server holds.
    label_counts : int64 ndarray [clients, classes], optional
        Each client's labels where the server knows them (a simulation does): basis of ``clients_test`` when clients
        hold nothing out.
    on_round : callable, optional
        Called after each round with the federation.
    """

    config: FederationConfig
    grid: Grid
    strategy: Strategy
    model: MLP
    validation: HeldOut
    test: HeldOut
    label_counts: NDArray[np.int64] | None = None
    on_round: Callable[[Federation], None] | None = None

    round: int = 0
    weights: NDArray[np.floating] = field(init=False)
    guidance: Guidance = field(init=False)
    nodes: NDArray[np.uint64] = field(init=False)
    rows: NDArray[np.int64] = field(init=False)
    held_out: NDArray[np.int64] = field(init=False)
    history: list[dict[str, Any]] = field(default_factory=list)
    clients: list[ClientRows] = field(default_factory=list)
    client_updates: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    query_bytes: tuple[int, int] = (0, 0)
    _arrays: ArrayRecord = field(init=False)
    _config: ConfigRecord = field(init=False)

    def __post_init__(self) -> None:
        initial = self.model.initial(self.config.init_stream)
        self.set_weights(initial.astype(self.config.dtype))

    def set_weights(self, weights: NDArray[np.floating]) -> None:
        """Set the global weights [size]."""
        self.weights = weights
        self._arrays = to_record(self.model, weights)

    @property
    def done(self) -> bool:
        """Whether every round has been run."""
        return self.round >= self.config.num_server_rounds

    @property
    def prediction_shift(self) -> NDArray[np.float64]:
        """What the remedy adds to the logits when predicting [classes]."""
        remedy = REMEDIES[self.config.imbalance](self.config)
        return remedy.prediction_shift(self.guidance.class_counts, self.model.classes)

    def cohort(self, round_number: int) -> NDArray[np.int64]:
        """Return the partition ids drawn for a round, ascending; a share of all clients, at least one."""
        clients = len(self.nodes)
        size = max(1, round(self.config.fraction_train * clients))
        if size == clients:
            return np.arange(clients)
        rng = stream(self.config.seed, "cohort", round_number)
        return np.sort(rng.choice(clients, size, replace=False, shuffle=False))


# ---------------------------------------------------------------------------------------------- query round
def query(federations: Sequence[Federation], exchange: Exchange, nodes: Sequence[Sequence[int]]) -> None:
    """Learn who is there: partition ids, row counts and the additive statistics that the settings need.

    Raises
    ------
    FederationError
        When clients are missing, or none has a row to train on.
    """
    asked = [
        Broadcast(
            RecordDict({CONFIG: ConfigRecord({"moments": _needs_moments(f), "class-counts": _needs_counts(f)})}),
            np.asarray(ids, np.uint64),
            MessageType.QUERY,
        )
        for f, ids in zip(federations, nodes, strict=True)
    ]
    answers = exchange([(f.grid, messages) for f, messages in zip(federations, asked, strict=True)])
    traffic = Traffic()
    for federation, messages, replies in zip(federations, asked, answers, strict=True):
        kept, failed = _sorted_replies(replies)
        federation.query_bytes = (traffic.received(kept), traffic.sent(messages))
        _learn(federation, kept, failed)


def _needs_moments(federation: Federation) -> bool:
    return federation.config.standardize != "none" or federation.config.missing == "mean"


def _needs_counts(federation: Federation) -> bool:
    return REMEDIES[federation.config.imbalance].needs_global_counts


def _learn(federation: Federation, replies: Sequence[Message], failed: list[Failure]) -> None:
    expected = federation.config.num_clients
    found = stacked_metrics(replies)
    ids = found.get(PARTITION_ID, np.empty(0, np.int64))
    if not np.array_equal(ids, np.arange(expected)):
        missing = sorted(set(range(expected)) - set(ids.tolist()))
        reason = f" ({failed[0].reason})" if failed else ""
        raise FederationError(
            f"{len(ids)} of {expected} clients answered the query{reason}; missing or repeated partition ids: "
            f"{', '.join(map(str, missing[:5])) or 'repeated'}"
        )
    federation.nodes = _senders(replies)
    federation.rows = found[ROWS].astype(np.int64)
    federation.held_out = found["num-held-out"].astype(np.int64)
    if not federation.rows.sum():
        raise FederationError("no client has a row to train on")
    features = federation.model.inputs
    mean, scale = np.zeros(features), np.ones(features)
    if "feature-mean" in found:
        count, mean, m2 = merged(found)
        scale = scale_of(count, mean, m2)
    counts = found["class-counts"].sum(0).astype(np.float64) if "class-counts" in found else None
    federation.guidance = Guidance(mean, scale, counts)
    federation._config = guidance_config(federation.guidance)


def _senders(replies: Sequence[Message]) -> NDArray[np.uint64]:
    if isinstance(replies, CohortReplies) and isinstance(replies.requests, Broadcast):
        return replies.requests.nodes
    return np.array([reply.metadata.src_node_id for reply in replies], np.uint64)


@dataclass(frozen=True)
class Failure:
    """A client's error in place of a reply: the node that sent it (Flower's own for a dead one) and the reason."""

    node: int
    reason: str


def _sorted_replies(replies: Iterable[Message]) -> tuple[Sequence[Message], list[Failure]]:
    """Return replies with content in the order of their partition ids, and the failures in place of the others."""
    if isinstance(replies, CohortReplies):
        return replies.ordered(np.argsort(replies.metrics[PARTITION_ID], kind="stable")), []
    replies = list(replies)
    failed = [Failure(reply.metadata.src_node_id, _reason(reply)) for reply in replies if reply.has_error()]
    kept = [reply for reply in replies if not reply.has_error()]
    kept.sort(key=lambda reply: int(next(iter(reply.content.metric_records.values()))[PARTITION_ID]))  # type: ignore[arg-type]
    return kept, failed


def _reason(reply: Message) -> str:
    lines = (reply.error.reason or f"error code {reply.error.code}").strip().splitlines()
    return lines[-1] if lines else f"error code {reply.error.code}"


# ---------------------------------------------------------------------------------------------- rounds
def run_rounds(federations: Sequence[Federation], exchange: Exchange) -> None:
    """Advance federations, that have been queried, in lockstep until all are done."""
    evaluations = _Evaluations()
    traffic = Traffic()
    with torch_threads(1):
        while running := [federation for federation in federations if not federation.done]:
            _advance(running, exchange, evaluations, traffic)


def _advance(
    federations: Sequence[Federation], exchange: Exchange, evaluations: _Evaluations, traffic: Traffic
) -> None:
    begun = time.perf_counter()
    drawn, items = [], []
    for federation in federations:
        cohort = federation.cohort(federation.round + 1)
        cohort = cohort[federation.rows[cohort] > 0]  # an empty shard has no update to send
        view = CohortView(federation.grid, federation.nodes[cohort])
        messages = (
            list_or_broadcast(
                federation.strategy.configure_train(federation.round + 1, federation._arrays, federation._config, view)
            )
            if len(cohort)
            else []
        )
        drawn.append(cohort)
        items.append((federation.grid, messages))
    answers = exchange(items)
    rows = []
    for federation, cohort, (_, messages), replies in zip(federations, drawn, items, answers, strict=True):
        rows.append(_aggregate(federation, cohort, messages, replies, traffic))
    due = [
        place
        for place, federation in enumerate(federations)
        if federation.round % federation.config.evaluate_every == 0 or federation.done
    ]
    results = evaluations([federations[place] for place in due])
    for place, result in zip(due, results, strict=True):
        rows[place] |= result
    _evaluate_clients([(federations[place], rows[place]) for place in due], exchange, traffic)
    seconds = (time.perf_counter() - begun) / len(federations)
    for federation, row in zip(federations, rows, strict=True):
        row["seconds"] = seconds
        federation.history.append(row)
        if federation.on_round is not None:
            federation.on_round(federation)


def list_or_broadcast(messages: Iterable[Message]) -> Sequence[Message]:
    """Return messages as a sequence, a broadcast as it is."""
    return messages if isinstance(messages, Broadcast) else list(messages)


def _aggregate(
    federation: Federation,
    cohort: NDArray[np.int64],
    messages: Sequence[Message],
    replies: Iterable[Message],
    traffic: Traffic,
) -> dict[str, Any]:
    kept, failed = _sorted_replies(replies) if len(messages) else ([], [])
    federation.round += 1
    row: dict[str, Any] = {"round": federation.round, "clients": len(kept)}
    # Looked at before the strategy is: some of Flower's take the replies apart.
    metrics = stacked_metrics(kept)
    up, down = traffic.received(kept), traffic.sent(messages)
    if len(kept):
        arrays, _ = federation.strategy.aggregate_train(federation.round, kept)
        if arrays is not None:
            federation.set_weights(to_flat(federation.model, arrays).astype(federation.config.dtype))
    else:
        row["note"] = "no reply: the round changed nothing"
    federation.client_updates += len(kept)
    federation.bytes_up += up
    federation.bytes_down += down
    row |= {"bytes_up": up, "bytes_down": down}
    if failed:
        row["failed"] = [failure.reason for failure in failed]
    if len(kept):
        weight = metrics[ROWS].astype(float)
        row["train_loss"] = float(metrics["train-loss"].astype(float) @ weight / max(weight.sum(), 1.0))
    federation.clients.append(_client_rows(federation, cohort, metrics, failed))
    return row


def _client_rows(
    federation: Federation,
    cohort: NDArray[np.int64],
    metrics: dict[str, NDArray[np.generic]],
    failed: list[Failure],
) -> ClientRows:
    answered = metrics.get(PARTITION_ID, np.empty(0, np.int64)).astype(np.int64)
    columns = [np.asarray(metrics.get(name, np.empty(0)), np.float64) for name in (ROWS, "steps", "train-loss")]
    silent = np.setdiff1d(cohort, answered) if len(answered) < len(cohort) else cohort[:0]
    if len(silent):
        answered = np.concatenate([answered, silent])
        columns = [
            np.concatenate([column, np.full(len(silent), blank)])
            for column, blank in zip(columns, (0, 0, np.nan), strict=True)
        ]
    rows, steps, loss = columns
    verdicts = ["ok"] * (len(answered) - len(silent)) + _verdicts(federation, silent, failed)
    return ClientRows(federation.round, answered, rows.astype(np.int64), steps.astype(np.int64), loss, verdicts)


def _verdicts(federation: Federation, silent: NDArray[np.int64], failed: list[Failure]) -> list[str]:
    """Return why each silent client is: its own failure, or one that names no client of ours, or none."""
    reasons = {failure.node: failure.reason for failure in failed}
    own = [reasons.pop(int(node), None) for node in federation.nodes[silent]]
    nameless = f"failed: {next(iter(reasons.values()))}" if reasons else "no reply"
    return [nameless if reason is None else f"failed: {reason}" for reason in own]


class _Evaluations:
    """The server's rows of a group of federations, stacked once and used round after round."""

    def __init__(self) -> None:
        self._stacked: dict[tuple[int, ...], list[tuple[list[int], str, StackedEvaluation]]] = {}

    def __call__(self, federations: Sequence[Federation]) -> list[dict[str, Any]]:
        key = tuple(id(federation) for federation in federations)
        if key not in self._stacked:
            self._stacked = {key: self._build(federations)}
        results: list[dict[str, Any]] = [{} for _ in federations]
        for places, name, evaluation in self._stacked[key]:
            stack = np.stack([federations[place].weights for place in places])
            for place, result in zip(places, evaluation(stack), strict=True):
                results[place][name] = result
        return results

    def _build(self, federations: Sequence[Federation]) -> list[tuple[list[int], str, StackedEvaluation]]:
        alike: dict[Any, list[int]] = {}
        for place, federation in enumerate(federations):
            alike.setdefault((federation.model, federation.config.dtype), []).append(place)
        built = []
        for (model, dtype), places in alike.items():
            chosen = [federations[place] for place in places]
            for name in ("validation", "test"):
                parts: list[HeldOut] = [getattr(federation, name) for federation in chosen]
                if not any(len(part.labels) for part in parts):
                    continue
                features = [
                    part.ready(federation.guidance, federation.config.standardize)
                    for part, federation in zip(parts, chosen, strict=True)
                ]
                labels = [part.labels for part in parts]
                shifts = [federation.prediction_shift for federation in chosen]
                built.append((places, name, StackedEvaluation(model, DTYPES[dtype], features, labels, shifts)))
        return built


def _evaluate_clients(due: Sequence[tuple[Federation, dict[str, Any]]], exchange: Exchange, traffic: Traffic) -> None:
    """Ask clients that hold rows out for their measures, and add them and what moved to the round's row."""
    items, asked = [], []
    for federation, row in due:
        holders = np.flatnonzero((federation.held_out > 0) & (federation.rows > 0))
        if not len(holders):
            continue
        view = CohortView(federation.grid, federation.nodes[holders])
        messages = federation.strategy.configure_evaluate(
            federation.round, federation._arrays, federation._config, view
        )
        items.append((federation.grid, list_or_broadcast(messages)))
        asked.append((federation, row))
    if not items:
        return
    for (federation, row), (_, messages), replies in zip(asked, items, exchange(items), strict=True):
        kept, _ = _sorted_replies(replies)
        up, down = traffic.received(kept), traffic.sent(messages)
        federation.bytes_up += up
        federation.bytes_down += down
        row["bytes_up"] += up
        row["bytes_down"] += down
        if len(kept):
            classes = federation.model.classes
            confusion = stacked_metrics(kept)["confusion"].astype(np.int64).reshape(-1, classes, classes)
            row["clients_test"] = by_held_out(confusion) | {"confusion": confusion.sum(0).tolist()}


def clients_test(federation: Federation) -> dict[str, Any] | None:
    """Return how the final model serves each client (see ``basis``), or None where nobody knows."""
    last = federation.history[-1]
    if "clients_test" in last:
        return {name: value for name, value in last["clients_test"].items() if name != "confusion"}
    if federation.label_counts is None or "test" not in last:
        return None
    return by_label_shares(last["test"]["recall"], federation.label_counts)
