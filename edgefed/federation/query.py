"""The query round: who is there, and the additive statistics that scaling and remedies need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, MessageType, RecordDict

from edgefed.data.partition import Partition
from edgefed.errors import FederationError
from edgefed.federation.clients import ROWS
from edgefed.federation.guidance import Guidance
from edgefed.federation.messages import CONFIG, PARTITION_ID, Broadcast, guidance_config, in_sequence
from edgefed.federation.moments import merged, moments_of, scale_of, total_counts
from edgefed.federation.replies import Expected, senders
from edgefed.federation.screening import Asked, Screened, expected_of_query, screen
from edgefed.federation.traffic import Traffic
from edgefed.names import FEWEST_IN_A_SUM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.federation.federation import Exchange, Federation


def query(federations: Sequence[Federation], exchange: Exchange, nodes: Sequence[Sequence[int] | Asked]) -> None:
    """Learn who is there: partition ids, row counts and the additive statistics that the settings need.

    Each federation's ``nodes`` say by themselves who they are, or have said so before (:class:`Asked`).

    Raises
    ------
    FederationError
        When clients are missing, or none has a row to train on.
    """
    known = [ids if isinstance(ids, Asked) else None for ids in nodes]
    asked = [
        _question(f, ids.nodes if isinstance(ids, Asked) else np.asarray(ids, np.uint64))
        for f, ids in zip(federations, nodes, strict=True)
    ]
    answers = exchange([(f.grid, messages) for f, messages in zip(federations, asked, strict=True)])
    traffic = Traffic()
    for federation, messages, replies, who in zip(federations, asked, answers, known, strict=True):
        replies = in_sequence(replies)
        left, size = traffic.left("query", replies)
        federation.disclosed.enter(left)
        federation.query_bytes = (size, traffic.sent(messages))
        _learn(federation, screen(replies, _expected(federation), who))


def _expected(federation: Federation) -> Expected:
    moments, class_counts = federation.config.tells_moments, _needs_counts(federation)
    return expected_of_query(federation, moments=moments, class_counts=class_counts)


def admit(federation: Federation, exchange: Exchange, arrived: Asked) -> list[int]:
    """Ask devices that came after the query round how many rows they hold, and let them take part; return their ids.

    The scaler and the classes' totals stay those of the devices that the run began with: the model has learned on
    them.
    """
    messages = _question(federation, arrived.nodes)
    (replies,) = exchange([(federation.grid, messages)])
    replies = in_sequence(replies)
    screened = screen(replies, _expected(federation), arrived)
    traffic = Traffic()
    up, down = federation.query_bytes
    left, size = traffic.left("query", replies)
    federation.disclosed.enter(left)
    federation.query_bytes = (up + size, down + traffic.sent(messages))
    federation.unheard = federation.unheard - {*arrived.nodes.tolist()} | screened.late
    if not len(screened.kept):
        return []
    vars(federation).pop("holders", None)  # counted anew
    return _enter(federation, screened)


def _question(federation: Federation, nodes: NDArray[np.uint64]) -> Broadcast:
    asked: dict[str, Any] = {
        "moments": federation.config.tells_moments,
        "class-counts": _needs_counts(federation),
        **federation.told,
    }
    return Broadcast(RecordDict({CONFIG: ConfigRecord(asked)}), nodes, MessageType.QUERY)


def _enter(federation: Federation, screened: Screened) -> list[int]:
    """Write down where each client is and how many rows it holds; return their ids."""
    found = screened.metrics
    ids = found[PARTITION_ID].astype(np.int64)
    federation.nodes[ids] = senders(screened.kept)
    federation.rows[ids] = found[ROWS].astype(np.int64)
    federation.held_out[ids] = found["num-held-out"].astype(np.int64)
    return [int(number) for number in ids]


def _needs_counts(federation: Federation) -> bool:
    return federation.remedy.needs_global_counts


def _learn(federation: Federation, screened: Screened) -> None:
    expected = federation.config.num_clients
    found = screened.metrics
    ids = found.get(PARTITION_ID, np.empty(0)).astype(np.int64)
    # Devices may come later; the clients of a simulation are there from the start.
    unknown = len(np.unique(ids)) < len(ids) or bool((ids >= expected).any())
    if unknown or len(ids) < (1 if federation.told else expected):
        missing = sorted(set(range(expected)) - set(ids.tolist()))
        reasons = [failure.reason for failure in screened.failed] + [
            f"client {client}: {why}" for client, why in screened.refused.items()
        ]
        reason = f" ({reasons[0]})" if reasons else ""
        raise FederationError(
            f"{len(ids)} of {expected} clients answered the query{reason}; missing or repeated partition ids: "
            f"{', '.join(map(str, missing[:5])) or 'repeated'}"
        )
    federation.nodes = np.zeros(expected, np.uint64)
    federation.rows, federation.held_out = np.zeros(expected, np.int64), np.zeros(expected, np.int64)
    _enter(federation, screened)
    federation.unheard = screened.late
    federation.dual = np.zeros(expected)
    if not federation.rows.sum():
        raise FederationError("no client has a row to train on")
    may_hold = int((federation.rows > 0).sum()) + expected - len(ids)  # devices that may still come
    if federation.config.privacy == "secagg" and may_hold < FEWEST_IN_A_SUM:
        raise FederationError(
            f"privacy=secagg: {may_hold} of {expected} clients hold rows to train on, at least {FEWEST_IN_A_SUM} "
            "make a sum"
        )
    features = federation.model.inputs
    mean, scale = np.zeros(features), np.ones(features)
    if "feature-mean" in found:
        count, mean, m2 = merged(found)
        scale = scale_of(count, mean, m2)
    elif federation.config.standardize == "server":
        own = federation.validation.features
        if not len(own):
            raise FederationError("standardize=server: the server holds no validation rows; set standardize=none")
        everything = Partition(np.array([0, len(own)]), np.arange(len(own)))
        count, mean, m2 = (part[0] for part in moments_of(own, everything))
        scale = scale_of(count, mean, m2)
    counts = total_counts(federation.config, found["class-counts"]) if "class-counts" in found else None
    federation.guidance = Guidance(mean, scale, counts)
    federation._config = guidance_config(federation.guidance, federation.told)
