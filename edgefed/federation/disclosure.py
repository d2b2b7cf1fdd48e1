"""The ledger of what leaves a client: every field of every reply by name, its bytes, and what protects it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.imbalance import REMEDIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

ENVELOPE, OTHER, ERROR = "envelope", "other", "error"
"""A message's own bytes, such as names and headers of records; whatever a client sends that no row here names; and what
it says in place of a reply that it cannot give."""
_ALWAYS = {
    ENVELOPE: "names and headers of what is sent",
    OTHER: "something that no row of this ledger names",
    ERROR: "why it cannot answer, in words",
}
RECORDS = ("arrays", "metrics", "config", "secagg", "masked")
"""Names of records of edgefed's own replies: another is a client's to choose, and may itself say something."""
Left = list[tuple[str, Mapping[str, int], int]]
"""What left clients: type of message, bytes of each field, messages."""

_WHO = "which client it is"
_LATER = "of the explanation that the run's settings ask for"

FIELDS: dict[str, dict[str, str]] = {
    "query": {
        "partition-id": _WHO,
        "num-examples": "how many rows it trains on",
        "num-held-out": "how many rows it tests on",
        "feature-count": "how many of its rows have each feature",
        "feature-mean": "each feature's mean over its rows: of categories, the share of rows of each value",
        "feature-m2": "each feature's sum of squared deviations over its rows",
        "class-counts": "how many rows of each class it trains on",
    },
    "train": {
        "arrays": "its trained weights, or the compressed update in their place",
        "partition-id": _WHO,
        "num-examples": "how many rows it trains on",
        "steps": "how many steps it took",
        "train-loss": "its mean training loss",
        "aggregation-weight": "the say in the average that the remedy gives it",
        "start-loss": "the loss of the global model on its training rows",
        "state-round": "the last round that it took part in",
        "masked": "its update, with its say, rows, loss and steps, under masks",
    },
    "query.secagg_keys": {
        "mask-key": "its public key for masks, of this round",
        "cipher-key": "its public key for shares, of this round",
    },
    "query.secagg_shares": {
        "clients": "for whom its shares are",
        "closed": "shares of its secrets of this round, which its neighbours alone can open",
    },
    "query.secagg_unmask": {
        "there": "of whom it gives a share of a seed",
        "seed-shares": "a share of the mask's seed of each neighbour that is in the sum",
        "gone": "of whom it gives a share of a key",
        "key-shares": "a share of the key of each neighbour that has dropped out",
    },
    "evaluate": {
        "partition-id": _WHO,
        "num-examples": "how many rows it tests on",
        "loss": "the global model's mean loss on the rows that it tests on",
        "confusion": "how many of these rows, by class, are taken for each class",
    },
    "query.class_moments": {
        "partition-id": _WHO,
        "count": f"rows of each class that have each feature, {_LATER}",
        "mean": f"each feature's mean over the rows of each class, {_LATER}",
        "m2": f"each feature's sum of squared deviations by class, {_LATER}",
    },
    "query.explain": {
        "partition-id": _WHO,
        "rows": f"how many rows of each class are explained, {_LATER}",
        "loss": f"their summed loss by class, {_LATER}",
        "balanced-accuracy": f"the model's accuracy on them, {_LATER}",
        "loss-increase": f"how much the loss grows without each feature, by class, {_LATER}",
        "accuracy-drop": f"how much accuracy falls without each feature, {_LATER}",
        "column-loss-increase": f"how much the loss grows without each column of categories, by class, {_LATER}",
        "column-accuracy-drop": f"how much accuracy falls without each column of categories, {_LATER}",
        "attributed": f"how many rows of each class were attributed, {_LATER}",
        "integrated-gradients": f"summed attributions to each feature by class, {_LATER}",
        "shap": f"summed Shapley values of each feature by class, {_LATER}",
        "histogram": f"how many training rows lie in each bin of each feature by class, {_LATER}",
    },
}
"""Type of message -> field of its reply -> what it is. A reply carries nothing else; a test holds that against all."""

INTRODUCTION = {
    "partition-id": _WHO,
    "version": "which edgefed it runs",
    "name": "what its person calls it",
    "own-file": "whether it has a file of its own",
    "problem": "why its file cannot be used",
    "declines": "what of the run's settings its owner's terms do not agree to",
    "features": "the names of its file's feature columns",
    "classes": "the labels that are in its file",
    "label": "the name of its file's label column",
}
"""What a device says of itself before the run, whose bytes are none of the run's: fields and what they are."""

BY_SEED = "whoever knows or guesses the run's seed takes the noise off"
"""What is said of noise that the seed names: all of a simulation's, and class counts' everywhere."""
EXACT, NOISED, CENTRAL, MASKED = "exact", "noised", "clipped and noised centrally", "masked"
UPDATES = {"none": EXACT, "dp-fixed": CENTRAL, "dp-adaptive": CENTRAL, "secagg": EXACT}
"""privacy -> what protects weights that a client sends: secure aggregation asks for none, so they would be seen."""

BEST: dict[tuple[str, str], str] = {
    ("train", "masked"): MASKED,
    ("train", "arrays"): CENTRAL,
    ("query", "class-counts"): NOISED,
}
"""What protects a field best, under any settings; of others: :data:`EXACT`."""


def status_of(config: FederationConfig, message: str, field: str) -> str:
    """Return what protects a field.

    ``exact``: the server sees it as it is. ``noised``: the client adds noise before it leaves. ``clipped and noised
    centrally``: the server sees it as it is, and nobody else sees it without noise. ``masked``: the server sees the sum
    over clients alone. ``no data``: names, headers, and the keys of secure aggregation, which say nothing of rows.
    """
    if field == ENVELOPE or message.startswith("query.secagg_"):
        return "no data"
    if field == "masked":
        return MASKED
    if (message, field) == ("train", "arrays"):
        return UPDATES[config.privacy]
    if (message, field) == ("query", "class-counts") and REMEDIES[config.imbalance](config).tells_noisy_counts:
        return NOISED
    return EXACT


def called_for(config: FederationConfig) -> dict[str, frozenset[str]]:
    """Return what a run of these settings asks clients for: type of message -> fields of its reply.

    Who it is (``partition-id``) goes without saying, and so do the keys and shares of secure aggregation.
    """
    remedy = REMEDIES[config.imbalance](config)
    moments = {"feature-count", "feature-mean", "feature-m2"} if config.tells_moments else set()
    counts = {"class-counts"} if remedy.needs_global_counts else set()
    found = {"query": {"num-examples", "num-held-out"} | moments | counts}
    if config.privacy == "secagg":
        found["train"] = {"masked"}
    else:
        found["train"] = {"arrays", "num-examples", "steps", "train-loss"}
        found["train"] |= {"aggregation-weight"} if remedy.reweighs else set()
        found["train"] |= {"start-loss"} if remedy.needs_loss or config.strategy == "qfedavg" else set()
        found["train"] |= {"state-round"} if config.keeps_state else set()
    asked = ["evaluate"] if config.client_test_fraction > 0 else []
    asked += ["query.class_moments", "query.explain"] if config.explain == "yes" else []
    found |= {message: {*FIELDS[message]} - {"partition-id"} for message in asked}
    return {message: frozenset(fields) for message, fields in found.items()}


class Disclosed:
    """What has left a federation's clients so far: messages and bytes by type of message and field."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    def enter(self, left: Left) -> None:
        """Enter what left clients in replies to several types of message."""
        for message, fields, messages in left:
            self.note(message, fields, messages)

    def note(self, message: str, fields: Mapping[str, int], messages: int) -> None:
        """Enter replies to one type of message: the bytes of each field, over so many of them."""
        known = FIELDS[message]
        for field, size in fields.items():
            # A device that sends names without end must not fill memory.
            key = message, field if field in known or field in _ALWAYS else OTHER
            before = self._seen.get(key, (0, 0))
            self._seen[key] = before[0] + messages, before[1] + size

    def rows(self, config: FederationConfig, *, of_devices: bool = False) -> list[dict[str, Any]]:
        """Return a row a field: ``message``, ``field``, ``what``, ``messages``, ``bytes``, ``status`` and ``caveat``.

        A caveat is :data:`BY_SEED` where noise is no protection from who has the seed; else empty. The bytes of all
        rows sum to what the run moved up; those of an introduction, which devices answer before the run, are None.
        """
        found = [
            {
                "message": message,
                "field": field,
                "what": FIELDS[message].get(field) or _ALWAYS[field],
                "messages": messages,
                "bytes": size,
                "status": (status := status_of(config, message, field)),
                "caveat": BY_SEED if status == NOISED or (status == CENTRAL and not of_devices) else "",
            }
            for (message, field), (messages, size) in self._seen.items()
        ]
        unweighed: dict[str, Any] = {"messages": None, "bytes": None, "status": EXACT, "caveat": ""}
        introduced = [
            {"message": "query.introduce", "field": name, "what": what} | unweighed
            for name, what in INTRODUCTION.items()
        ]
        return [*(introduced if of_devices else []), *found]

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return what was noted: ``fields`` uint8 [bytes], a line each; ``seen`` [fields, 2], messages and bytes."""
        lines = "\n".join(f"{message}/{field}" for message, field in self._seen)
        return {
            "fields": np.frombuffer(lines.encode(), np.uint8),
            "seen": np.array(list(self._seen.values()), np.int64).reshape(-1, 2),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned, but for the query, which a run that goes on asks anew.

        Raises
        ------
        ValueError
            When it is none.
        """
        if not state:  # a checkpoint that is older than the ledger
            return
        if set(state) != {"fields", "seen"}:
            raise ValueError("no ledger of messages")
        keys = [line.partition("/") for line in bytes(state["fields"]).decode("ascii").splitlines()]
        if state["seen"].shape != (len(keys), 2) or not all(message in FIELDS for message, *_ in keys):
            raise ValueError("no ledger of messages")
        kept = {
            (message, field): (int(seen[0]), int(seen[1]))
            for (message, _, field), seen in zip(keys, state["seen"], strict=True)
            if message != "query"
        }
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] == "query"} | kept
