"""The account: what a run's noise promises about one client, under which assumptions, and what it does not cover."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.federation.clipping import ClippedAverage

if TYPE_CHECKING:
    from edgefed.federation.federation import Federation

NEAR_VACUOUS = 10.0
"""Epsilon beyond which a promise is called near vacuous (Ponomareva et al. 2023, "How to DP-fy ML", JAIR: tier 3)."""
OFF = "whoever knows or guesses seed, 0 unless set, can take the noise off"
_ONE_RUN = (
    "it is of this one run: another on the same clients, for another rate or remedy, costs as much again, and "
    "simulated runs of one seed share their noise"
)


def account(federation: Federation) -> dict[str, Any] | None:
    """Return what is promised about a client's weights and about a row's class count; None where nothing has noise.

    The two have units of their own and are never added: ``epsilon`` and ``delta`` are a client's and cover the models
    of all rounds; ``histogram`` is a row's and covers the class counts. Replacing a row's class by another changes two
    counts by one, which is 2 / b under Laplace noise of scale b = 1 / ``histogram-epsilon``. A row more or less is not
    covered: row counts are told exactly.
    """
    config, strategy, remedy = federation.config, federation.strategy, federation.remedy
    noisy = remedy.tells_noisy_counts
    replaced = {"unit": "row", "neighbours": "one row's class replaced by another"}
    histogram = {"epsilon": 2 * config.histogram_epsilon, "delta": 0.0} | replaced if noisy else None
    if not isinstance(strategy, ClippedAverage):
        if histogram is None:
            return None
        unnoised = {"mechanism": config.privacy, "epsilon": None, "delta": None, "unit": "client"}
        said = f"class counts alone have noise: the clients' weights have none, so no epsilon covers them; {OFF}"
        assumed = [_ONE_RUN]
        told = {"assumes": assumed, "leaves_out": _besides_counts(federation), "says": said}
        return unnoised | {"histogram": histogram} | told
    epsilon, last = strategy.epsilon, float(strategy.flower.clipping_norm)
    return {
        "mechanism": config.privacy,
        "epsilon": epsilon,
        "delta": None if epsilon is None else config.delta,
        "unit": "client",
        "releases": strategy.releases,
        "noise_multiplier": config.noise_multiplier,
        "clipping_norm": config.clipping_norm,
        "last_clipping_norm": last,
        "cohort": config.cohort_size,
        "accountant": None if epsilon is None else "Renyi, dp-accounting",
        "histogram": histogram,
        "assumes": _assumed(strategy),
        "leaves_out": _left_out(federation),
        "says": "; ".join(
            filter(None, (_said(epsilon, config.clipping_norm, last), "" if strategy.noise_is_hidden else OFF))
        ),
    }


def _assumed(strategy: ClippedAverage) -> list[str]:
    noise = "the noise follows from a number that the server drew for this run and keeps to itself"
    if not strategy.noise_is_hidden:
        noise = "the noise follows from seed, so that a simulation repeats: the figure is that of a noise nobody knows"
    return [
        "neighbours are a federation with a client's updates and the same with zeros in their place; who holds rows "
        "and whom a round draws is taken as known, and drawing is given no credit",
        "the server is trusted: it sees every update as it is, and adds the noise itself",
        noise,
        _ONE_RUN,
    ]


def _left_out(federation: Federation) -> list[str]:
    left = [
        "row counts, training losses and steps, which the server is told as they are and keeps in the run's folder, so "
        "that neither folder nor page is fit to pass on",
        "who answered in which round, which the folder lists, and that a run stopped by min-replies",
    ]
    if federation.told:
        left.append("the names of classes and columns in devices' files, which all are told")
    if federation.remedy.tells_noisy_counts:
        left.append(
            f"class counts, whose own epsilon is a row's: for a client of n rows it is n times as much; of them, {OFF}"
        )
    return left


def _besides_counts(federation: Federation) -> list[str]:
    """Return what clients tell as it is beside noisy class counts, in a run whose weights have no noise."""
    left = ["row counts, so that a row more or less is no secret", "weights, training losses and steps"]
    if federation.config.tells_moments:
        left.append("each feature's mean and deviation over a client's rows")
    if federation.held_out.any():
        left.append("what clients say of the rows that they test on")
    return left


def _said(epsilon: float | None, first: float, last: float) -> str:
    """Return what a person should be told of an epsilon, or of the norms where there is none; else empty text."""
    if epsilon is None:
        return (
            "no epsilon: nothing accounts for adaptive clipping, whose norm follows the clients' updates (it went from "
            f"{first:.3g} to {last:.3g}); a client whose update is longer than most, as a rare class's holder's is, "
            "is shortened most"
        )
    if epsilon <= NEAR_VACUOUS:
        return ""
    return (
        f"epsilon {epsilon:.3g} is near vacuous: the odds of a guess about a client may change by a factor of "
        f"10^{epsilon / math.log(10):.0f}; more clients in a round bear more noise"
    )
