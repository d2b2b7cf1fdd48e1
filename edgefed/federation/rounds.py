"""The round loop: one short loop over Flower's strategies that advances many federations in lockstep.

``Strategy.start`` cannot resume, has no hook and counts no failures; this loop uses the same public steps
(``configure_*``, ``send_and_receive``, ``aggregate_*``). One federation is the list of length one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.federation.clients import ROWS, SAY, START_LOSS, STATE_ROUND
from edgefed.federation.clipping import ClippedAverage
from edgefed.federation.components import DTYPES
from edgefed.federation.evaluation import HeldOut, StackedEvaluation, by_held_out, by_sums
from edgefed.federation.federation import ClientRows, CohortView, Exchange, Federation
from edgefed.federation.flat_record import to_flat
from edgefed.federation.gathering import Gathered, gather
from edgefed.federation.messages import PARTITION_ID, STEPS, ask_for, in_sequence, tell_counted, with_metric
from edgefed.federation.quorum import check_quorum, what_became
from edgefed.federation.screening import Asked, Screened, expected_of_evaluation, screen
from edgefed.federation.traffic import Traffic, payload_of
from edgefed.learning.training import torch_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flwr.app import Message
    from numpy.typing import NDArray

    from edgefed.federation.participation import Round


IN_VAIN = "answered; the round could not be unmasked"
"""Verdict of a client of a masked round that was lost by others."""
UNTESTED = "; not asked to evaluate"
"""What is added to the verdict of a client that was late and would have been asked in the same round."""


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
        if federation.before_round is not None:
            federation.before_round(federation)
        plan = federation.plan(federation.round + 1)
        cohort = plan.clients
        ask_for(federation._config, cohort, plan.epochs[plan.asked], federation.config.local_epochs)
        if federation.config.strategy == "scaffold":
            ledger = federation.ledger  # drawn once more, for this round, than counted: as it is where all went well
            behind = cohort[ledger.asked[cohort] > ledger.counted[cohort] + 1]
            tell_counted(federation._config, behind, ledger.last[behind])
        view = CohortView(federation.grid, federation.nodes[cohort], federation.holders)
        messages = (
            in_sequence(
                federation.strategy.configure_train(federation.round + 1, federation._arrays, federation._config, view)
            )
            if len(cohort)
            else []
        )
        drawn.append(plan)
        items.append((federation.grid, messages))
    gathered = gather(list(zip(federations, drawn, items, strict=True)), exchange, traffic)
    rows = [
        _aggregate(federation, plan, answers)
        for federation, plan, answers in zip(federations, drawn, gathered, strict=True)
    ]
    due = [place for place, federation in enumerate(federations) if federation.tests_now]
    results = evaluations([federations[place] for place in due])
    for place, result in zip(due, results, strict=True):
        rows[place] |= result
    _evaluate_clients([(federations[place], rows[place], gathered[place].found) for place in due], exchange, traffic)
    seconds = (time.perf_counter() - begun) / len(federations)
    for federation, row in zip(federations, rows, strict=True):
        row["seconds"] = seconds
        federation.history.append(row)
        if federation.on_round is not None:
            federation.on_round(federation)


def _aggregate(federation: Federation, plan: Round, answers: Gathered) -> dict[str, Any]:
    found, up, down = answers.found, answers.up, answers.down
    federation.disclosed.enter(answers.left)
    federation.bytes_up += up
    federation.bytes_down += down
    check_quorum(federation, plan, found)
    federation.round += 1
    kept, metrics = found.kept, found.metrics
    row: dict[str, Any] = {"round": federation.round, "clients": found.counted}
    dual = federation.dual
    if START_LOSS in metrics and federation.remedy.reweighs:
        kept = _reweighed(federation, kept, metrics)
    # Whether anybody answered must not show in the model where noise hides everybody's update: it gets the noise then.
    hidden = isinstance(federation.strategy, ClippedAverage) and answers.down > 0
    note = _averaged(federation, kept) if len(kept) or hidden else _nothing_because(found)
    if note:
        federation.dual = dual
        row["note"] = f"{note}: the round changed nothing"
    federation.client_updates += found.counted
    row |= {"bytes_up": up, "bytes_down": down, "payload": answers.payload, **what_became(found)}
    if answers.summed:
        row |= answers.summed
    elif len(kept):
        weight, loss = metrics[ROWS].astype(float), metrics["train-loss"].astype(float)
        told = ~np.isnan(loss)
        row["train_loss"] = float(loss[told] @ weight[told] / max(weight[told].sum(), 1.0)) if told.any() else np.nan
        row["steps"] = int(np.maximum(metrics[STEPS], 0).sum())
    clients = _client_rows(federation, plan, found)
    row["modelled"] = federation.participation.settle(
        federation.round,
        plan,
        metrics.get(PARTITION_ID, np.empty(0)).astype(np.int64),
        np.maximum(metrics.get(STEPS, np.empty(0)).astype(np.int64), 0),
        metrics.get("train-loss", np.empty(0)).astype(np.float64),
    )
    federation.clients.append(clients)
    return row


def _averaged(federation: Federation, kept: Sequence[Message]) -> str | None:
    """Set the weights to what the strategy makes of the replies, or return why all stays as it is."""
    server = federation.carried.get("server")
    before = {} if server is None else server.state()
    with np.errstate(over="ignore", invalid="ignore"):  # seen below
        arrays, _ = federation.strategy.aggregate_train(federation.round, kept)
        if arrays is None:
            return "no client had any say"
        weights = to_flat(federation.model, arrays).astype(federation.config.dtype)
    after = {} if server is None else server.state()
    why = "" if np.isfinite(weights).all() else "the average is not finite"
    if not why and not all(np.isfinite(array).all() for array in after.values()):
        why = "what the strategy carries is not finite"  # an infinite second moment would stop every later step
    if why:
        if server is not None:
            server.restore(before)
        return why
    federation.set_weights(weights)
    return None


def _nothing_because(found: Screened) -> str:
    return found.why or ("every reply was refused" if found.refused else "no reply")


def _reweighed(
    federation: Federation, kept: Sequence[Message], metrics: dict[str, NDArray[np.generic]]
) -> Sequence[Message]:
    """Return replies with the say that the server gives each: p_k ~ say_k (1 + l_k - mean(l)), never negative."""
    asked = metrics[PARTITION_ID].astype(np.int64)
    holders = federation.rows > 0  # an empty shard has no loss that could be too high
    tilt = np.maximum(1 + federation.dual[asked] - federation.dual[holders].mean(), 0)
    losses = metrics[START_LOSS].astype(np.float64)
    federation.dual = federation.remedy.dual_step(federation.dual, asked, losses, int(holders.sum()))
    return with_metric(kept, SAY, metrics[SAY].astype(np.float64) * tilt)


def _client_rows(federation: Federation, plan: Round, found: Screened) -> ClientRows:
    metrics = found.metrics
    answered = metrics.get(PARTITION_ID, np.empty(0, np.int64)).astype(np.int64)
    columns = [np.asarray(metrics.get(name, np.empty(0)), np.float64) for name in (ROWS, STEPS, "train-loss")]
    columns[1] = np.maximum(columns[1], 0)  # one that was not told
    silent = np.setdiff1d(plan.cohort, answered) if len(answered) < len(plan.cohort) else plan.cohort[:0]
    if len(silent):
        answered = np.concatenate([answered, silent])
        columns = [
            np.concatenate([column, np.full(len(silent), blank)])
            for column, blank in zip(columns, (0, 0, np.nan), strict=True)
        ]
    rows, steps, loss = columns
    kept = answered[: len(answered) - len(silent)]
    verdicts = _answered(federation, kept, found) + _verdicts(federation, plan, silent, found)
    return ClientRows(federation.round, answered, rows.astype(np.int64), steps.astype(np.int64), loss, verdicts)


def _answered(federation: Federation, kept: NDArray[np.int64], found: Screened) -> list[str]:
    """Return what is said of each client whose update counts.

    It may have been named for something else it sent, or have lost what it kept from earlier rounds.
    """
    named = [found.refused.get(client) for client in kept.tolist()]
    verdicts = [f"ok, but {why}" if why else "ok" for why in named]
    if STATE_ROUND in found.metrics:
        # Before this round is entered in the ledger: a state that is older than the client's last update is a loss.
        older = found.metrics[STATE_ROUND].astype(np.int64) < federation.ledger.last[kept]
        for place in np.flatnonzero(older).tolist():
            verdicts[place] = "ok, state lost"
    return verdicts


def _verdicts(federation: Federation, plan: Round, silent: NDArray[np.int64], found: Screened) -> list[str]:
    """Return why each silent client is: as planned, what it sent, its own failure, one that names nobody, or none."""
    reasons = {failure.node: failure.verdict for failure in found.failed}
    own = [reasons.pop(int(node), None) for node in federation.nodes[silent]]
    nameless = next(iter(reasons.values())) if reasons else "no reply"
    planned = [plan.lost[place] for place in np.searchsorted(plan.cohort, silent)]
    refused = [found.refused.get(client) for client in silent.tolist()]
    other = [IN_VAIN if client in found.in_vain else nameless for client in silent.tolist()]
    verdicts = [
        lost or (f"refused: {why}" if why else reason or rest)
        for lost, why, reason, rest in zip(planned, refused, own, other, strict=True)
    ]
    if found.late and federation.tests_now:
        spared = np.isin(silent, np.setdiff1d(federation.testers, _asked_to_test(federation, found)))
        verdicts = [f"{why}{UNTESTED}" if skip else why for why, skip in zip(verdicts, spared.tolist(), strict=True)]
    return verdicts


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
                mixes = [part.mix for part in parts]
                built.append((places, name, StackedEvaluation(model, DTYPES[dtype], features, labels, shifts, mixes)))
        return built


def _asked_to_test(federation: Federation, found: Screened) -> NDArray[np.int64]:
    """Return the clients that a round asks for their measures: those that hold rows out, but for who is late in it.

    Whoever is late is busy still, or away: it would be waited for a second time, and answer this before the next round.
    """
    testers = federation.testers
    if not found.late:
        return testers
    return testers[~np.isin(federation.nodes[testers], np.array(sorted(found.late), np.uint64))]


def _evaluate_clients(
    due: Sequence[tuple[Federation, dict[str, Any], Screened]], exchange: Exchange, traffic: Traffic
) -> None:
    """Ask clients that hold rows out for their measures, and add them and what moved to the round's row."""
    items, asked = [], []
    for federation, row, trained in due:
        holders = _asked_to_test(federation, trained)
        if not len(holders):
            continue
        view = CohortView(federation.grid, federation.nodes[holders], federation.holders)
        messages = federation.strategy.configure_evaluate(
            federation.round, federation._arrays, federation._config, view
        )
        items.append((federation.grid, in_sequence(messages)))
        asked.append((federation, row, holders))
    if not items:
        return
    for (federation, row, holders), (_, messages), answers in zip(asked, items, exchange(items), strict=True):
        replies = in_sequence(answers)
        (left, up), down = traffic.left("evaluate", replies), traffic.sent(messages)
        federation.disclosed.enter(left)
        found = screen(replies, expected_of_evaluation(federation), Asked(holders, federation.nodes[holders]))
        kept = found.kept
        row |= {f"evaluation_{name}": value for name, value in what_became(found).items()}
        federation.bytes_up += up
        federation.bytes_down += down
        row["bytes_up"] += up
        row["bytes_down"] += down
        row["payload"]["down"] += payload_of(messages)
        if len(kept):
            classes = federation.model.classes
            metrics = found.metrics
            confusion = metrics["confusion"].astype(np.int64).reshape(-1, classes, classes)
            row["clients_test"] = by_held_out(confusion) | {"confusion": confusion.sum(0).tolist()}
            if "test" not in row:  # the server holds no test rows: the clients' together stand in for them
                row["test"] = by_sums(confusion, metrics["loss"].astype(np.float64), metrics[ROWS].astype(np.float64))
