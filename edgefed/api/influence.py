"""How much more than once a row counts under a remedy: what claims about one sample have to be multiplied by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgefed.federation.clients import Clients
    from edgefed.federation.guidance import Guidance


def influence(clients: Clients, guidance: Guidance) -> dict[str, float]:
    """Return how much more than once a row counts under the remedy, at the client and class where it is most.

    ``samples``: training rows, made ones among them, for each row that is held (1: as it is). ``share``: a row's part
    in a pass over the client's samples, times its class weight, over 1 / n_k, its part without a remedy.
    """
    cohort = clients.everyone(guidance)
    train, classes = clients.shards.train, clients.shards.num_classes
    held = train.class_counts(clients.shards.labels, classes)
    owner = np.repeat(np.arange(len(held)), cohort.drawn_rows)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(cohort.drawn_rows) - cohort.drawn_rows, cohort.drawn_rows)
    labels = cohort.targets.argmax(1).cpu().numpy()[cohort.starts[owner] + place]
    drawn = np.bincount(owner * classes + labels, minlength=held.size).reshape(held.shape).astype(float)
    samples = drawn / np.maximum(held, 1)
    mix = drawn
    if cohort.balance is not None:  # a step draws classes alike, whatever there is of each
        level = cohort.balance > 0
        mix = np.where(level.any(1, keepdims=True), level, drawn)
    weight = cohort.hyper.class_weights[:, 0].double().cpu().numpy()
    part = mix / np.maximum(mix.sum(1, keepdims=True), 1) / np.maximum(held, 1) * held.sum(1, keepdims=True)
    there = held > 0
    return {"samples": float(samples[there].max(initial=1.0)), "share": float((part * weight)[there].max(initial=1.0))}
