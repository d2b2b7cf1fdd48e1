"""The batched engine: a round's clients, of one federation or of hundreds, train as one stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from edgefed.engines.secure import STAGES, is_secure, masked_replies, stage_replies
from edgefed.federation.client_explanation import CLASS_MOMENTS, EXPLAIN, Question, class_moments, explain
from edgefed.federation.clients import CONTROL, ROWS, Clients
from edgefed.federation.components import DTYPES, update_of
from edgefed.federation.compression import sent
from edgefed.federation.flat_record import to_flat
from edgefed.federation.messages import (
    ARRAYS,
    CONFIG,
    PARTITION_ID,
    STEPS,
    Broadcast,
    CohortReplies,
    read_counted,
    read_epochs,
    read_guidance,
)
from edgefed.learning.cohort import Cohort, Pool, join, pool_of
from edgefed.learning.schedule import schedule_of
from edgefed.learning.training import train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flwr.app import Message, RecordDict
    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from edgefed.engines.grid import InProcessGrid
    from edgefed.federation.guidance import Guidance
    from edgefed.learning.local_update import ClientUpdate
    from edgefed.learning.model import MLP
    from edgefed.learning.schedule import Schedule
    from edgefed.learning.training import Execution, Trained


@dataclass(frozen=True)
class _Request:
    """Messages of one grid that share a payload: their places in the grid's list, and the nodes asked."""

    clients: Clients
    content: RecordDict
    nodes: NDArray[np.int64]
    places: NDArray[np.int64]


class _Asked(NamedTuple):
    """A request to train, its payload decoded."""

    request: _Request
    guidance: Guidance
    weights: torch.Tensor
    round_number: int
    epochs: NDArray[np.int64] | None
    control: torch.Tensor | None

    @classmethod
    def of(cls, request: _Request) -> _Asked:
        clients, config = request.clients, request.content.config_records[CONFIG]
        clients.take_back(request.nodes, read_counted(config, clients.shards.ids[request.nodes]))
        control = CONTROL in request.content.array_records
        return cls(
            request,
            read_guidance(config),
            _weights(request),
            cast("int", config["server-round"]),
            read_epochs(config, clients.shards.ids[request.nodes], clients.config.local_epochs),
            _weights(request, CONTROL) if control else None,
        )


class BatchedEngine:
    """Answers a cohort with stacked arrays; no reply is serialised that stays in the process.

    Parameters
    ----------
    execution : Execution, optional
        What training is shared out by. Neutral: what fits this machine.
    threads : int, optional
        How many chunks of a cohort train at once. Neutral: one a core.
    """

    def __init__(self, execution: Execution | None = None, threads: int | None = None) -> None:
        self.execution = execution
        self.threads = threads
        self._joined: tuple[tuple[int, ...], Cohort, list[Cohort]] | None = None
        self._pool: tuple[tuple[int, ...], Pool, list[Cohort]] | None = None

    def exchange(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> Sequence[Sequence[Message]]:
        """Return each grid's replies; one type of message at a time."""
        kinds = {_message_type(messages) for _, messages in items if len(messages)}
        if len(kinds) > 1:
            raise ValueError(f"one type of message in an exchange, found {', '.join(sorted(kinds))}")
        if kinds & STAGES.keys():
            (kind,) = kinds
            return [stage_replies(kind, cast("InProcessGrid", grid).clients, messages) for grid, messages in items]
        if kinds == {"train"} and all(is_secure(messages) for _, messages in items if len(messages)):
            return self._masked(items)
        requests = [_requests(cast("InProcessGrid", grid).clients, messages) for grid, messages in items]
        answer = {
            "query": self._query,
            f"query.{CLASS_MOMENTS}": self._class_moments,
            f"query.{EXPLAIN}": self._explain,
            "train": self._train,
            "evaluate": self._evaluate,
        }
        flat = [request for group in requests for request in group]
        results = iter(answer[kinds.pop()](flat) if kinds else [])
        return [
            _replies(messages, group, [next(results) for _ in group])
            for (_, messages), group in zip(items, requests, strict=True)
        ]

    def _masked(self, items: Sequence[tuple[Grid, Sequence[Message]]]) -> list[list[Message]]:
        """Train cohorts as ever, and let each client put its update under masks."""
        requests = []
        for grid, messages in items:
            nodes = np.array([message.metadata.dst_node_id for message in messages], np.int64)
            # Beside what a stage says to each client alone, all messages hold the very same records.
            shared = messages[0].content
            requests.append(_Request(cast("InProcessGrid", grid).clients, shared, nodes, np.arange(len(nodes))))
        return [
            masked_replies(
                request.clients, messages, _weights(request).cpu().numpy(), cast("Any", result.stack), result.columns
            )
            for (_, messages), request, result in zip(items, requests, self._train(requests), strict=True)
        ]

    def _query(self, requests: Sequence[_Request]) -> list[_Result]:
        results = []
        for request in requests:
            asked = request.content.config_records[CONFIG]
            columns = request.clients.statistics(
                moments=bool(asked["moments"]), class_counts=bool(asked["class-counts"])
            )
            chosen = {name: values[request.nodes] for name, values in columns.items()}
            results.append(_Result(request, None, chosen))
        return results

    def _class_moments(self, requests: Sequence[_Request]) -> list[_Result]:
        return [_Result(request, None, class_moments(request.clients, request.nodes)) for request in requests]

    def _explain(self, requests: Sequence[_Request]) -> list[_Result]:
        results = []
        for request in requests:
            clients, config = request.clients, request.content.config_records[CONFIG]
            question, edges = Question.read(config, clients.model.inputs)
            found = explain(clients, read_guidance(config), request.nodes, _weights(request), question, edges)
            results.append(_Result(request, None, found))
        return results

    def _evaluate(self, requests: Sequence[_Request]) -> list[_Result]:
        return [
            _Result(
                request,
                None,
                request.clients.evaluate(
                    read_guidance(request.content.config_records[CONFIG]), request.nodes, _weights(request)
                ),
            )
            for request in requests
        ]

    def _train(self, requests: Sequence[_Request]) -> list[_Result]:
        results: dict[int, _Result] = {}
        # Only what truly differs splits a batch: architecture, loss, optimiser, walk through the rows, precision.
        alike: dict[Any, list[int]] = {}
        for place, request in enumerate(requests):
            config = request.clients.config
            update = update_of(config, request.clients.model)
            alike.setdefault((update, schedule_of(config), config.dtype), []).append(place)
        for (update, schedule, _), places in alike.items():
            chosen = [requests[place] for place in places]
            asked = [_Asked.of(request) for request in chosen]
            cohort = self._joined_cohort(asked)
            trained = self._trained(update, schedule, cohort)
            stack = trained.params.numpy()
            start = 0
            for place, one in zip(places, asked, strict=True):
                request, clients = one.request, one.request.clients
                part = slice(start, start + len(request.nodes))
                columns = {
                    ROWS: cohort.shard_rows[part],
                    STEPS: trained.steps[part],
                    "train-loss": trained.loss[part],
                    **clients.asked_for(one.guidance, request.nodes, one.weights),
                }
                begun, own = one.weights.cpu().numpy(), stack[part]
                packed, told = sent(clients, request.nodes, begun, own, one.round_number)
                clients.remember(request.nodes, one.weights, one.control, told, trained.steps[part], one.round_number)
                results[place] = _Result(request, own, columns, packed)
                start = part.stop
        return [results[place] for place in range(len(requests))]

    def _trained(self, update: ClientUpdate, schedule: Schedule, cohort: Cohort) -> Trained:
        return train(update, schedule, cohort, self.execution, self.threads)

    def _joined_cohort(self, asked: Sequence[_Asked]) -> Cohort:
        """Return the clients of several federations as one cohort over one feature matrix."""
        parts = [one.request.clients.chosen(one.guidance, one.request.nodes) for one in asked]
        sizes = [len(part) for part in parts]
        stack = torch.stack([one.weights for one in asked])
        params = stack.repeat_interleave(torch.tensor(sizes, device=stack.device), dim=0)
        return replace(
            self._join(parts),
            params=params,
            rounds=np.repeat([one.round_number for one in asked], sizes),
            epochs=_epochs(asked),
            correction=_corrections(asked),
        )

    def _join(self, parts: list[Cohort]) -> Cohort:
        """Join cohorts; where the same come back every round, as whole federations do, they are joined once."""
        key = tuple(id(part) for part in parts)
        if self._joined is None or self._joined[0] != key:
            rows = tuple(id(part.features) for part in parts)
            if self._pool is None or self._pool[0] != rows:
                # What an id stands for is kept beside it, so that nothing else can take the id.
                self._pool = (rows, pool_of(parts), parts)
            self._joined = (key, join(parts, self._pool[1]), parts)
        return self._joined[1]


@dataclass(frozen=True)
class _Result:
    request: _Request
    stack: NDArray[np.floating] | None
    columns: Mapping[str, NDArray[np.generic]]
    packed: Mapping[str, NDArray[np.generic]] | None = None


def _epochs(asked: Sequence[_Asked]) -> NDArray[np.int64] | None:
    """Return each client's local epochs; None where everyone does its settings' own."""
    if all(one.epochs is None for one in asked):
        return None
    usual = [np.full(len(one.request.nodes), one.request.clients.config.local_epochs) for one in asked]
    return np.concatenate([own if one.epochs is None else one.epochs for one, own in zip(asked, usual, strict=True)])


def _corrections(asked: Sequence[_Asked]) -> torch.Tensor | None:
    """Return what is added to each client's gradients [clients, size]; None without SCAFFOLD, which splits a batch."""
    found = [one.request.clients.correction(one.request.nodes, one.control) for one in asked]
    return torch.cat([part for part in found if part is not None]) if found[0] is not None else None


def _message_type(messages: Sequence[Message]) -> str:
    return messages.message_type if isinstance(messages, Broadcast) else messages[0].metadata.message_type


def _requests(clients: Clients, messages: Sequence[Message]) -> list[_Request]:
    """Group a grid's messages by payload, so that each is decoded once."""
    if isinstance(messages, Broadcast):
        if not len(messages):
            return []
        return [_Request(clients, messages.content, messages.nodes.astype(np.int64), np.arange(len(messages)))]
    groups: dict[int, list[int]] = {}
    for place, message in enumerate(messages):
        groups.setdefault(id(message.content), []).append(place)
    return [
        _Request(
            clients,
            messages[places[0]].content,
            np.array([messages[place].metadata.dst_node_id for place in places], np.int64),
            np.array(places),
        )
        for places in groups.values()
    ]


def _weights(request: _Request, record: str = ARRAYS) -> torch.Tensor:
    clients = request.clients
    flat = to_flat(clients.model, request.content.array_records[record])
    return torch.tensor(flat, dtype=DTYPES[clients.config.dtype], device=clients.device)


def _replies(messages: Sequence[Message], group: Sequence[_Request], results: Sequence[_Result]) -> CohortReplies:
    """Put a grid's results back into the order of its messages."""
    if not group:
        return CohortReplies([], None, None, {PARTITION_ID: np.empty(0, np.int64)})
    model = None if results[0].stack is None else group[0].clients.model
    if len(group) == 1:
        ids = group[0].clients.shards.ids[group[0].nodes]
        return _cohort_replies(
            messages, model, results[0].stack, {PARTITION_ID: ids, **results[0].columns}, results[0].packed
        )
    columns: dict[str, NDArray[np.generic]] = {
        PARTITION_ID: np.concatenate([request.clients.shards.ids[request.nodes] for request in group])
    }
    for name in results[0].columns:
        columns[name] = np.concatenate([result.columns[name] for result in results])
    stack = None if model is None else np.concatenate([cast("Any", result.stack) for result in results])
    order = np.argsort(np.concatenate([request.places for request in group]), kind="stable")
    packed = None
    if results[0].packed is not None:
        parts = [cast("Any", result.packed) for result in results]
        packed = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
    return _cohort_replies(
        messages,
        model,
        None if stack is None else stack[order],
        {name: values[order] for name, values in columns.items()},
        packed,
    )


def _cohort_replies(
    messages: Sequence[Message],
    model: MLP | None,
    stack: NDArray[np.floating] | None,
    columns: Mapping[str, NDArray[np.generic]],
    packed: Mapping[str, NDArray[np.generic]] | None,
) -> CohortReplies:
    """Return replies that carry the packed updates where there are any, else the weights."""
    if packed is not None:
        return CohortReplies(messages, None, None, columns, packed)
    return CohortReplies(messages, model, stack, columns)
