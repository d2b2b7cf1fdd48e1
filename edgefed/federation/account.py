"""The account: what a run's noise promises about one client, under which assumptions, and what it does not cover."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.federation.clipping import ClippedAverage

if TYPE_CHECKING:
    from edgefed.federation.federation import Federation

NEAR_VACUOUS = 10.0
"""Epsilon beyond which a promise is called near vacuous (Ponomareva et al. 2023, "How to DP-fy ML", JAIR: tier 3)."""


def account(federation: Federation) -> dict[str, Any] | None:
    """Return what is promised about a client's weights and about a row's class count; None where nothing has noise.

    The two have units of their own and are never added: ``epsilon`` and ``delta`` are a client's and cover the models
    of all rounds, ``histogram`` is a row's and covers the class counts, each under the Laplace mechanism of scale
    1 / epsilon, in which adding or removing a row changes one count by one.
    """
    config, strategy, remedy = federation.config, federation.strategy, federation.remedy
    noisy = remedy.tells_noisy_counts
    histogram = {"epsilon": config.histogram_epsilon, "delta": 0.0, "unit": "row"} if noisy else None
    if not isinstance(strategy, ClippedAverage):
        if histogram is None:
            return None
        unnoised = {"mechanism": config.privacy, "epsilon": None, "delta": None, "unit": "client"}
        said = "class counts alone have noise: the clients' weights have none, so no epsilon covers them"
        return unnoised | {"histogram": histogram, "assumes": _assumed(federation)[-2:], "leaves_out": [], "says": said}
    epsilon = strategy.epsilon
    return {
        "mechanism": config.privacy,
        "epsilon": epsilon,
        "delta": None if epsilon is None else config.delta,
        "unit": "client",
        "releases": strategy.releases,
        "noise_multiplier": config.noise_multiplier,
        "clipping_norm": config.clipping_norm,
        "cohort": config.cohort_size,
        "accountant": None if epsilon is None else "Renyi, dp-accounting",
        "histogram": histogram,
        "assumes": _assumed(federation),
        "leaves_out": _left_out(federation),
        "says": _said(epsilon),
    }


def _assumed(federation: Federation) -> list[str]:
    strategy, seed = federation.strategy, federation.config.seed
    if isinstance(strategy, ClippedAverage) and strategy.noise_seed != seed:
        noise = "the noise follows from a number that the server keeps to itself"
    else:
        noise = (
            f"the noise follows from seed={seed}: who knows it, as every client of a run does, can take the noise off"
        )
    return [
        "neighbours are a federation with a client's updates and the same with zeros in their place; who holds rows "
        "and whom a round draws is taken as known, and drawing is given no credit",
        "the server is trusted: it sees every update as it is, and adds the noise itself",
        noise,
        "it is of this one run: another on the same clients, for another rate or remedy, costs as much again, and runs "
        "of one seed share their noise",
    ]


def _left_out(federation: Federation) -> list[str]:
    left = ["row counts and training losses, which the server is told as they are and keeps in the run's folder"]
    if federation.told:
        left.append("the names of classes and columns in devices' files, which all are told")
    if federation.held_out.any():
        left.append("what clients say of the rows that they test on")
    if federation.remedy.tells_noisy_counts:
        left.append(
            "class counts, whose own epsilon is a row's: for a client of n rows it is n times as much, and their noise "
            "always follows from the seed"
        )
    return left


def _said(epsilon: float | None) -> str:
    """Return what a person should be told of an epsilon; empty text where it can stand for itself."""
    if epsilon is None:
        return "no epsilon: nothing accounts for adaptive clipping, whose norm follows the clients' updates"
    if epsilon <= NEAR_VACUOUS:
        return ""
    return (
        f"epsilon {epsilon:.3g} is near vacuous: the odds of a guess about a client may change by a factor of "
        f"10^{epsilon / math.log(10):.0f}; more clients in a round bear more noise"
    )
