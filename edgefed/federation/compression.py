"""Compressed updates: packed by a Flower mod on a device and on the stack in simulation, unpacked by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Array, ArrayRecord, MessageType

from edgefed.config import FederationConfig
from edgefed.edge.codecs import CODECS, Codec
from edgefed.federation.client_state import ClientState, put_record
from edgefed.federation.messages import ARRAYS, CONFIG
from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.app import Context, Message
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Packed = dict[str, NDArray[np.generic]]

RESIDUAL = "residual"
"""A client's array of what earlier updates left out."""


def codec_of(config: FederationConfig, size: int) -> Codec | None:
    """Return the codec that the settings name, for updates of so many numbers; None for ``none``."""
    kind = CODECS.get(config.compression)
    return None if kind is None else kind(size, config.dtype, config.top_k_share)


def packed_updates(
    codec: Codec,
    config: FederationConfig,
    updates: NDArray[np.floating],
    state: ClientState,
    which: Ints,
    ids: Ints,
    round_number: int,
) -> Packed:
    """Return what clients send in place of their updates, and keep in ``state`` what that leaves out.

    Parameters
    ----------
    codec : Codec
    config : FederationConfig
    updates : ndarray [clients, size]
        Trained weights less those that the round began with.
    state : ClientState
    which, ids : int64 ndarray [clients]
        Positions in ``state``; partition ids, which name the draws.
    round_number : int
    """
    if codec.feeds_back:
        updates = updates + state.rows(RESIDUAL, which, codec.size, updates.dtype)
    draws = None
    if codec.draws:
        places = np.arange(codec.size)
        draws = uniforms(counter_keys(config.seed, "compression", round_number, ids[:, None], places))
    packed = codec.encode(updates, draws)
    if codec.feeds_back:
        left = updates - codec.decode(packed)
        # A diverged round is forgotten: its rest would spoil every later update.
        state.put(RESIDUAL, which, np.where(np.isfinite(left).all(-1, keepdims=True), left, 0).astype(updates.dtype))
        state.seen[which] = round_number
    return packed


def compression_mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Pack what a ClientApp trained, as the settings say: a Flower mod.

    The reply's arrays are replaced by the packed update; queries and evaluations pass through.
    """
    reply = call_next(message, context)
    name = context.run_config.get("compression") or "none"
    if name == "none" or message.metadata.message_type != MessageType.TRAIN or reply.has_error():
        return reply
    config = FederationConfig.from_mapping(context.run_config)
    start, trained = (
        np.concatenate([array.numpy().ravel() for array in content.array_records[ARRAYS].values()])
        for content in (message.content, reply.content)
    )
    codec = codec_of(config, len(start))
    assert codec is not None
    state = ClientState(1)
    state.load(context.state)
    number = message.content.config_records[CONFIG]["server-round"]
    identity = np.array([int(context.node_config["partition-id"])])
    packed = packed_updates(codec, config, (trained - start)[None], state, np.array([0]), identity, int(str(number)))
    state.save(context.state)
    arrays = {key: Array(np.ascontiguousarray(values[0])) for key, values in packed.items()}
    put_record(reply.content, ARRAYS, ArrayRecord(arrays))
    return reply
