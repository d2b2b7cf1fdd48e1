"""Named random streams: every draw depends on its name alone.

A draw is named by ``(seed, purpose, round, client)``. Two engines, two cohorts or a resumed run that ask for
the same name get the same numbers, whatever was drawn before and with whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Purposes are part of a run's bits: a number, once given, stays.
PURPOSES = {
    "split": 1,
    "long-tail": 2,
    "partition": 3,
    "init": 4,
    "cohort": 5,
    "batches": 6,
    "client-test": 7,
    "resampling": 8,
    "augmentation": 9,
    "tail-order": 10,
    "statistics": 11,
    "sampling": 12,
    "noisy-counts": 13,
    "fcube": 14,
    "devices": 20,
    "stragglers": 21,
    "drop-out": 22,
    "selection": 23,
    "compression": 24,
    "fedprox-synthetic": 25,
    "privacy-noise": 30,
    "secagg": 31,
    "explanation": 40,
    "audit": 60,
}

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream(seed: int, purpose: str, round_number: int = 0, client: int = 0) -> np.random.Generator:
    """Return the random generator named ``(seed, purpose, round, client)``.

    Parameters
    ----------
    seed : int
        At least 0.
    purpose : str
        A key of :data:`PURPOSES`.
    round_number, client : int
        0 for draws that belong to no round or no client.

    Returns
    -------
    numpy.random.Generator
        PCG64, seeded through ``SeedSequence`` so that neighbouring names give unrelated streams.
    """
    return np.random.default_rng([seed, PURPOSES[purpose], round_number, client])


def counter_keys(
    seeds: ArrayLike, purpose: str, rounds: ArrayLike, clients: ArrayLike, positions: ArrayLike
) -> NDArray[np.uint64]:
    """Return one 64-bit random key for each name, vectorised over broadcast arguments.

    A counter-based generator: the key is a hash of the name, so a thousand clients' draws cost one array
    expression and are the same for a client wherever and with whomever it is drawn. Sorting keys along an
    axis gives a uniform permutation.

    Parameters
    ----------
    seeds, rounds, clients, positions : array_like of int
        Broadcast against each other.
    purpose : str
        A key of :data:`PURPOSES`.

    References
    ----------
    Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", OOPSLA: the finaliser.
    """
    with np.errstate(over="ignore"):  # 64-bit wrap-around is meant
        key = _mix(np.asarray(seeds, np.uint64) + np.uint64(PURPOSES[purpose]) * _GOLDEN)
        for part in (rounds, clients, positions):
            # Each part is mixed in before the next is added, so that (1, 2) and (2, 1) are different names.
            key = _mix(key + (np.asarray(part, np.uint64) + np.uint64(1)) * _GOLDEN)
    return key


def uniforms(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return each key as a number in (0, 1), both ends left out: what an inverse distribution function takes."""
    return ((keys >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each value."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))
