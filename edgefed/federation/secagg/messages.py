"""The four stages as Flower messages: what each carries either way."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from edgefed.federation.clients import ROWS, SAY
from edgefed.federation.messages import METRICS, PARTITION_ID, STEPS
from edgefed.federation.secagg.keys import PUBLIC, SEALED, SEED_SHARE
from edgefed.federation.secagg.vectors import HEADER, Quantizer, roundings
from edgefed.federation.traffic import content_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import Message
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.federation.secagg.participant import Participant

KEYS, SHARES, UNMASK = "secagg_keys", "secagg_shares", "secagg_unmask"
"""Actions of the query messages of three stages; that of the masked vectors is the train message."""

KIND_OF = {"keys": f"query.{KEYS}", "shares": f"query.{SHARES}", "masked": "train", "unmask": f"query.{UNMASK}"}
"""Stage -> type of its message."""

SECAGG, MASKED, VECTOR = "secagg", "masked", "vector"
"""Names of the config record of a stage, of the array record of a train reply, and of its one array."""


def content_of(**fields: Any) -> RecordDict:
    """Return the content of a stage's message or reply."""
    return RecordDict({SECAGG: ConfigRecord({name.replace("_", "-"): value for name, value in fields.items()})})


def with_stage(content: RecordDict, stage: RecordDict) -> RecordDict:
    """Return a train message's content with what a stage adds for one client; the weights are shared."""
    return RecordDict({**content, **stage})


def asked_of(message: Message) -> dict[str, Any]:
    """Return what a stage's message asks.

    Raises
    ------
    ValueError
        For a message without.
    """
    if SECAGG not in message.content.config_records:
        raise ValueError("this run's updates leave under secure aggregation alone: a message without it is refused")
    return cast("dict[str, Any]", dict(message.content.config_records[SECAGG]))


OWN = ("dataset", "data-path", "test-path", "label-column", "classes", "feature-columns", "num-clients", "run-folder")
"""Settings that need not be the same on the server and on each device, or that are told with each message."""


def told_alike(content: RecordDict, asked: Mapping[str, Any], config: FederationConfig) -> bytes:
    """Return SHA-256 of what all clients of a round must be told alike [32].

    The round, what weights are relative to, the run's settings, and every record of the train message beside the
    stage's: weights, guidance, who is to do fewer epochs. What a stage tells each client of its neighbours is left out.

    Parameters
    ----------
    content : RecordDict
        The message's.
    asked : mapping
        Its stage's fields: ``round``, ``most-weight`` and ``most-rows``.
    config : FederationConfig
    """
    found = hashlib.sha256()
    for name, record in sorted(content.items()):
        if name == SECAGG:
            continue
        found.update(json.dumps([name, sorted(record)]).encode())
        for key in sorted(record):
            value: Any = record[key]
            if isinstance(value, Array):
                form, data = [value.dtype, value.shape, value.stype], value.data
            else:
                form, data = [type(value).__name__], json.dumps(value, default=bytes.hex).encode()
            found.update(json.dumps([*form, len(data)]).encode() + data)
    scales = [int(asked["round"]), float(asked["most-weight"]), float(asked["most-rows"])]
    settings = {key: value for key, value in config.to_mapping().items() if key not in OWN}
    found.update(json.dumps([scales, settings], sort_keys=True).encode())
    return found.digest()


# ---------------------------------------------------------------------------------------------- a client's replies
def keys_reply(participant: Participant) -> RecordDict:
    """Return the reply to the first stage: the client's public keys of this round."""
    mask_key, cipher_key = participant.public_keys()
    return content_of(mask_key=mask_key, cipher_key=cipher_key)


def shares_reply(participant: Participant, asked: Mapping[str, Any]) -> RecordDict:
    """Return the reply to the second: for each neighbour, shares of this client's secrets that it alone can open."""
    closed = participant.share_keys(asked["round"], asked["clients"], asked["mask-keys"], asked["cipher-keys"])
    return content_of(clients=list(asked["clients"]), closed=closed)


def masked_reply(
    participant: Participant,
    asked: Mapping[str, Any],
    told: bytes,
    config: FederationConfig,
    update: NDArray[np.float64],
    metrics: Mapping[str, Any],
) -> RecordDict:
    """Return the reply to the third: the update under masks, and nothing else of the training.

    Parameters
    ----------
    participant : Participant
    asked : mapping
    told : bytes
        Of :func:`told_alike`.
    config : FederationConfig
    update : float64 ndarray [size]
        theta_k - theta.
    metrics : mapping
        The train reply's, whose weight, rows, loss and steps go into the masked sum.
    """
    quantizer = Quantizer.of(config, asked["most-weight"], asked["most-rows"])
    vector = quantizer.encode(
        update,
        float(metrics.get(SAY, metrics[ROWS])),
        int(metrics[ROWS]),
        float(metrics["train-loss"]),
        int(metrics[STEPS]),
        roundings(config, asked["round"], participant.identity, len(update)),
    )
    masked = participant.masked(asked["round"], asked["clients"], asked["closed"], told, vector)
    return _masked_content(participant.identity, masked)


def _masked_content(client: int, masked: NDArray[np.uint32]) -> RecordDict:
    return RecordDict({METRICS: MetricRecord({PARTITION_ID: client}), MASKED: ArrayRecord({VECTOR: Array(masked)})})


def unmask_reply(participant: Participant, asked: Mapping[str, Any]) -> RecordDict:
    """Return the reply to the fourth: a share of one secret of each neighbour."""
    seeds, keys = participant.unmask(asked["round"], asked["there"], asked["gone"])
    return content_of(there=list(asked["there"]), seed_shares=seeds, gone=list(asked["gone"]), key_shares=keys)


def update_between(start: ArrayRecord, trained: ArrayRecord) -> NDArray[np.float64]:
    """Return trained arrays less those of the same names that they began as [size], in the latter's order."""
    return np.concatenate(
        [(trained[name].numpy().astype(np.float64) - array.numpy()).ravel() for name, array in start.items()]
    )


# ---------------------------------------------------------------------------------------------- what it costs
def bytes_of_a_round(train: RecordDict, size: int, neighbours: int) -> tuple[int, int]:
    """Return the bytes that a client gets and sends in a round in which nobody drops out.

    Parameters
    ----------
    train : RecordDict
        A train message's content without the stage.
    size : int
        Numbers of an update.
    neighbours : int
    """
    ids = list(range(1, neighbours + 1))
    public, closed = [bytes(PUBLIC)] * neighbours, [bytes(SEALED)] * neighbours
    down = [
        content_of(round=1),
        content_of(round=1, clients=ids, mask_keys=public, cipher_keys=public),
        with_stage(train, content_of(round=1, most_weight=1.0, most_rows=1.0, clients=ids, closed=closed)),
        content_of(round=1, there=ids, gone=[]),
    ]
    up = [
        content_of(mask_key=bytes(PUBLIC), cipher_key=bytes(PUBLIC)),
        content_of(clients=ids, closed=closed),
        _masked_content(0, np.zeros(HEADER + size, np.uint32)),
        content_of(there=ids, seed_shares=[bytes(SEED_SHARE)] * neighbours, gone=[], key_shares=[]),
    ]
    return sum(map(content_bytes, down)), sum(map(content_bytes, up))
