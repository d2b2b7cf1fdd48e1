"""What an explanation needs from the clients, asked in two query messages and kept in the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ConfigRecord, MessageType, RecordDict
from scipy import stats

from edgefed.categories import columns_among
from edgefed.errors import FederationError
from edgefed.federation.client_explanation import CLASS_MOMENTS, EXPLAIN, Question
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import ARRAYS, CONFIG, PARTITION_ID, Broadcast, guidance_config, in_sequence
from edgefed.federation.replies import MOST_EXAMPLES, Column, Expected
from edgefed.federation.screening import IDENTITY, Asked, screen
from edgefed.federation.traffic import Traffic
from edgefed.learning.training import torch_threads
from edgefed.names import BINS
from edgefed.runs import COLLECTED, explanation_folder, model_hash, write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgefed.federation.federation import Exchange, Federation

    Arrays = dict[str, NDArray[Any]]

CLIENTS_AT_ONCE = 1000
"""Clients asked in one exchange: bounds what answers take up."""
MOST_REPEATS, FEWEST_REPEATS = 30, 3
PERMUTED_ROWS = 2_000_000
"""Rows, counted anew for each feature and permutation, that permutations may put through the model in all."""
MOST_ATTRIBUTED, ATTRIBUTED_ROWS = 20, 10_000
"""Rows attributed of a client, and in all, at most; of each client one at least."""
MOST_BACKGROUND, FEWEST_BACKGROUND, PAIRS = 10, 3, 60_000
"""Background rows of a client, and pairs of a row and a background row in all."""


def question_of(federation: Federation) -> Question:
    """Return what to ask: held-out rows where clients hold any, and as much as a minute or so pays for."""
    held_out = bool(federation.held_out.sum())
    rows = federation.held_out if held_out else federation.rows
    work = max(1, int(rows.sum())) * (federation.model.inputs + columns_among(federation.categorical))
    clients = max(1, int((rows > 0).sum()))
    attributed = int(np.clip(ATTRIBUTED_ROWS // clients, 1, MOST_ATTRIBUTED))
    return Question(
        held_out=held_out,
        repeats=int(np.clip(PERMUTED_ROWS // work, FEWEST_REPEATS, MOST_REPEATS)),
        attributed=attributed,
        background=int(np.clip(PAIRS // (clients * attributed), FEWEST_BACKGROUND, MOST_BACKGROUND)),
        categorical=federation.categorical,
    )


def collect(
    federation: Federation, exchange: Exchange, asked: Callable[[int, int], None] = lambda done, of: None
) -> Arrays:
    """Ask every client with rows and return what they say, a client a row, as it is kept in ``collected.npz``.

    Parameters
    ----------
    federation : Federation
        Trained, and queried by this exchange.
    exchange : Exchange
    asked : callable, optional
        Told, after each exchange, how many clients of how many have been asked.

    Raises
    ------
    FederationError
        When nobody gives an answer that fits.
    """
    question = question_of(federation)
    holders = _holders(federation)
    moments = ask_class_moments(federation, exchange)
    classes, features = federation.model.classes, federation.model.inputs
    shape = (-1, classes, features)
    pooled = _pooled(moments)
    edges = bin_edges(pooled["mean"], pooled["m2"] / np.maximum(pooled["count"], 1))
    config = guidance_config(federation.guidance, federation.told)
    config.update(question.config(edges))
    content = RecordDict({ARRAYS: to_record(federation.model, federation.weights), CONFIG: config})
    found, summed = _ask(federation, exchange, holders, EXPLAIN, content, asked)
    per_class = {name: found[name].reshape(shape) for name in ("loss-increase", "integrated-gradients", "shap")}
    named = ["rows", "loss", "balanced-accuracy", "accuracy-drop"]
    if columns := columns_among(question.categorical):
        named.append("column-accuracy-drop")
        per_class["column-loss-increase"] = found["column-loss-increase"].reshape(-1, classes, columns)
    return {
        "client": found[PARTITION_ID].astype(np.int64),
        "training-rows": federation.rows[found[PARTITION_ID].astype(np.int64)],
        **{name: found[name] for name in named},
        "attributed-rows": found["attributed"],
        **per_class,
        "class-count": moments["count"],
        "class-mean": moments["mean"],
        "class-m2": moments["m2"],
        "moments-client": moments["client"],
        "edges": edges,
        "histogram": summed.reshape(features, BINS, classes),
        **{key: np.array(value) for key, value in question.amounts.items()},
        "asked-clients": np.array(len(holders)),
        "model-sha256": np.frombuffer(
            bytes.fromhex(model_hash(federation.model.state_dict(federation.weights))), np.uint8
        ),
    }


def keep(folder: Path, answers: Arrays) -> None:
    """Keep what clients said of a run's model in its folder."""
    write_arrays(explanation_folder(folder) / COLLECTED, answers, durable=False)


def ask_class_moments(
    federation: Federation, exchange: Exchange, asked: Callable[[int, int], None] = lambda done, of: None
) -> Arrays:
    """Return ``count``, ``mean`` and ``m2`` of every client's training rows by class [clients, classes, features].

    ``client`` [clients] says whose they are.
    """
    holders = _holders(federation)
    found, _ = _ask(
        federation, exchange, holders, CLASS_MOMENTS, RecordDict({CONFIG: ConfigRecord(dict(federation.told))}), asked
    )
    shape = (-1, federation.model.classes, federation.model.inputs)
    moments = {name: found[name].reshape(shape) for name in ("count", "mean", "m2")}
    return moments | {"client": found[PARTITION_ID].astype(np.int64)}


def _holders(federation: Federation) -> NDArray[np.int64]:
    """Return the clients that hold rows, and can be reached."""
    there = federation.rows > 0
    return np.flatnonzero(there if federation.present is None else there & federation.present)


def _ask(
    federation: Federation,
    exchange: Exchange,
    holders: NDArray[np.int64],
    action: str,
    content: RecordDict,
    asked: Callable[[int, int], None],
) -> tuple[Arrays, NDArray[np.int64]]:
    """Return the clients' answers stacked, histograms summed apart: nobody needs those of one client."""
    parts: list[Mapping[str, NDArray[np.generic]]] = []
    summed: Any = 0
    traffic = Traffic()
    for start in range(0, len(holders), CLIENTS_AT_ONCE):
        block = holders[start : start + CLIENTS_AT_ONCE]
        messages = Broadcast(content, federation.nodes[block], f"{MessageType.QUERY}.{action}")
        with torch_threads(1):  # matrices are too small to share out
            replies = next(iter(exchange([(federation.grid, messages)])))
        replies = in_sequence(replies)
        (left, size), (up, down) = traffic.left(messages.message_type, replies), federation.explanation_bytes
        federation.disclosed.enter(left)
        federation.explanation_bytes = (up + size, down + traffic.sent(messages))
        found = screen(replies, _expected(federation, action), Asked(block, federation.nodes[block]))
        answer = found.metrics
        if not len(found.kept):
            why = [failure.reason for failure in found.failed] + list(found.refused.values())
            raise FederationError(f"no client answered what an explanation needs{': ' + why[0] if why else ''}")
        if "histogram" in answer:
            summed = summed + answer["histogram"].sum(0)
        parts.append({name: values for name, values in answer.items() if name != "histogram"})
        asked(start + len(block), len(holders))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, np.asarray(summed, np.int64)


def _expected(federation: Federation, action: str) -> Expected:
    """Return what an answer must hold."""
    classes, features = federation.model.classes, federation.model.inputs
    both = (classes * features,)
    columns = {PARTITION_ID: IDENTITY}
    if action == CLASS_MOMENTS:
        columns |= {"count": Column(both, low=0, high=MOST_EXAMPLES), "mean": Column(both), "m2": Column(both, low=0)}
        return Expected(columns)
    counts = Column((classes,), whole=True, low=0, high=MOST_EXAMPLES)
    if categorical := columns_among(federation.categorical):
        columns |= {
            "column-loss-increase": Column((classes * categorical,)),
            "column-accuracy-drop": Column((categorical,), low=-1, high=1),
        }
    return Expected(
        columns
        | {
            "rows": counts,
            "loss": Column((classes,)),
            "balanced-accuracy": Column(low=0, high=1),
            "loss-increase": Column(both),
            "accuracy-drop": Column((features,), low=-1, high=1),
            "attributed": counts,
            "integrated-gradients": Column(both, low=0),
            "shap": Column(both, low=0),
            "histogram": Column((features * BINS * classes,), whole=True, low=0, high=MOST_EXAMPLES),
        }
    )


def _pooled(moments: Arrays) -> Arrays:
    """Merge moments [..., features] into all rows' [features] (Chan, Golub, LeVeque 1983)."""
    count, mean, m2 = (moments[name].reshape(-1, moments[name].shape[-1]) for name in ("count", "mean", "m2"))
    total = count.sum(0)
    pooled = (count * mean).sum(0) / np.maximum(total, 1)
    return {"count": total, "mean": pooled, "m2": (m2 + count * (mean - pooled) ** 2).sum(0)}


def bin_edges(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what cuts each feature into :data:`BINS` bins [features, bins - 1]: a normal distribution's deciles.

    They follow from the pooled mean and deviation, so that no client tells its extremes.
    """
    inner = stats.norm.ppf(np.arange(1, BINS) / BINS)
    return np.asarray(mean[:, None] + np.sqrt(variance)[:, None] * inner)
