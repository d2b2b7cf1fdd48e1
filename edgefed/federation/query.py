"""The query round: who is there, and the additive statistics that scaling and remedies need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from flwr.app import ConfigRecord, MessageType, RecordDict

from edgefed.federation.clients import ROWS, Guidance, merged, scale_of, total_counts
from edgefed.federation.federation import Exchange, Federation, FederationError
from edgefed.federation.messages import CONFIG, PARTITION_ID, Broadcast, guidance_config, in_sequence
from edgefed.federation.replies import Expected, senders
from edgefed.federation.screening import Screened, answers_among, expected_of_query, screen
from edgefed.federation.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        replies = in_sequence(replies)
        federation.query_bytes = (traffic.received(answers_among(replies)), traffic.sent(messages))
        _learn(federation, screen(replies, _expected(federation)))


def _expected(federation: Federation) -> Expected:
    return expected_of_query(federation, moments=_needs_moments(federation), class_counts=_needs_counts(federation))


def _needs_moments(federation: Federation) -> bool:
    return federation.config.standardize != "none" or federation.config.missing == "mean"


def _needs_counts(federation: Federation) -> bool:
    return federation.remedy.needs_global_counts


def _learn(federation: Federation, screened: Screened) -> None:
    expected = federation.config.num_clients
    found = screened.metrics
    ids = found.get(PARTITION_ID, np.empty(0, np.int64))
    if not np.array_equal(ids, np.arange(expected)):
        missing = sorted(set(range(expected)) - set(ids.tolist()))
        reasons = [failure.reason for failure in screened.failed] + [
            f"client {client}: {why}" for client, why in screened.refused.items()
        ]
        reason = f" ({reasons[0]})" if reasons else ""
        raise FederationError(
            f"{len(ids)} of {expected} clients answered the query{reason}; missing or repeated partition ids: "
            f"{', '.join(map(str, missing[:5])) or 'repeated'}"
        )
    federation.nodes = senders(screened.kept)
    federation.rows = found[ROWS].astype(np.int64)
    federation.held_out = found["num-held-out"].astype(np.int64)
    federation.dual = np.zeros(expected)
    if not federation.rows.sum():
        raise FederationError("no client has a row to train on")
    features = federation.model.inputs
    mean, scale = np.zeros(features), np.ones(features)
    if "feature-mean" in found:
        count, mean, m2 = merged(found)
        scale = scale_of(count, mean, m2)
    counts = total_counts(federation.config, found["class-counts"]) if "class-counts" in found else None
    federation.guidance = Guidance(mean, scale, counts)
    federation._config = guidance_config(federation.guidance)
