"""Compressed updates: packed by the ClientApp on a device and on the stack in simulation, unpacked by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefed.edge.codecs import CODECS, Codec
from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.federation.client_state import ClientState
    from edgefed.federation.clients import Clients

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


def sent(
    clients: Clients, which: Ints, start: NDArray[np.floating], trained: NDArray[np.floating], round_number: int
) -> tuple[Packed | None, NDArray[np.floating]]:
    """Return what some clients send in place of their weights, and the weights that the server makes of it.

    Without a codec nothing, and the weights as they are.

    Parameters
    ----------
    clients : Clients
        Keep what the codec leaves out.
    which : int64 ndarray [which]
        Positions.
    start : ndarray [size]
        The weights that the round began with.
    trained : ndarray [which, size]
    round_number : int
    """
    codec = codec_of(clients.config, clients.model.size)
    if codec is None:
        return None, trained
    ids = clients.shards.ids[which]
    packed = packed_updates(codec, clients.config, trained - start, clients.state, which, ids, round_number)
    return packed, start + codec.decode(packed)
