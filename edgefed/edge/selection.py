"""Which clients a round is drawn from: uniformly, by their loss, or by their usefulness and speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgefed.edge.ledger import Ledger

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

EXPLORE, EXPLORE_DECAY, EXPLORE_LEAST = 0.9, 0.98, 0.2
"""Share of Oort's cohort that is drawn among clients it has not seen: at first, its decay a round, its floor."""
SPEED_PENALTY = 2.0
"""Oort's alpha: what a client loses for being slower than the preferred round."""
CLIP = 0.95
"""Oort's bound on utilities, a quantile of them."""


@dataclass(frozen=True)
class Choice:
    """What a selection chooses from.

    Attributes
    ----------
    candidates : int64 ndarray
        Clients that are there and hold rows.
    rows : int64 ndarray [clients]
    seconds : float64 ndarray [clients]
        Modelled seconds of each client's whole round.
    preferred : float
        Modelled seconds that a round should take.
    pool : float
        Candidates that power-of-choice looks at, over those it takes.
    round : int
    """

    candidates: Ints
    rows: Ints
    seconds: Floats
    preferred: float
    pool: float
    round: int


def uniform(choice: Choice, size: int, ledger: Ledger, rng: np.random.Generator) -> Ints:
    """Draw a cohort in which every client is as likely as another."""
    return rng.choice(choice.candidates, size, replace=False, shuffle=False)


def power_of_choice(choice: Choice, size: int, ledger: Ledger, rng: np.random.Generator) -> Ints:
    """Draw d clients by their rows and take those with the highest loss.

    The variant rpow-d: the loss is that of the client's last update, infinite before the first, so that no further
    message is sent. d = ``pool`` times the cohort.

    References
    ----------
    Cho, Wang, Joshi (2022), "Towards understanding biased client selection in federated learning", AISTATS.
    """
    drawn = min(len(choice.candidates), max(size, round(choice.pool * size)))
    share = choice.rows[choice.candidates] / choice.rows[choice.candidates].sum()
    looked = rng.choice(choice.candidates, drawn, replace=False, p=share)
    return looked[np.argsort(-ledger.loss[looked], kind="stable")[:size]]


def oort(choice: Choice, size: int, ledger: Ledger, rng: np.random.Generator) -> Ints:
    """Take the most useful clients, the slow ones marked down, and some that were not tried yet.

        U_k = n_k l_k + staleness, times (T / t_k)^alpha where t_k > T;  staleness = sqrt(0.1 log R / L_k)

    n_k rows, l_k the mean training loss (Oort takes the root mean square over rows, which a reply does not carry), L_k
    the last round of the client's, R this round, T the preferred seconds and t_k the client's modelled ones. A share of
    0.9, falling by 2 % a round to 0.2, is drawn among clients that were never in a round, the fast ones preferred.
    The n_k l_k are clipped at their 95th percentile (the next lower one), so that no client stands above all others by
    what it says of its loss; one that is not finite counts as none. Left out: the pacer, which moves T; blacklisting.

    References
    ----------
    Lai, Zhu, Madhyastha, Chowdhury (2021), "Oort: Efficient federated learning via guided participant selection", OSDI.
    """
    known = choice.candidates[ledger.last[choice.candidates] > 0]
    fresh = choice.candidates[ledger.last[choice.candidates] == 0]
    share = max(EXPLORE_LEAST, EXPLORE * EXPLORE_DECAY ** (choice.round - 1))
    exploring = min(len(fresh), max(round(share * size), size - len(known)))
    speed = 1 / np.maximum(choice.seconds[fresh], 1e-12)
    tried = rng.choice(fresh, exploring, replace=False, p=speed / speed.sum()) if exploring else fresh[:0]
    with np.errstate(over="ignore"):  # seen in the next line
        utility = choice.rows[known] * ledger.loss[known]
    utility = np.where(np.isfinite(utility), utility, 0.0)
    if len(known):
        utility = np.minimum(utility, np.quantile(utility, CLIP, method="lower"))
    utility = utility / max(float(utility.max(initial=0.0)), 1e-12)
    utility = utility + np.sqrt(0.1 * np.log(max(choice.round, 1)) / np.maximum(ledger.last[known], 1))
    slow = choice.seconds[known] > choice.preferred
    utility = np.where(
        slow, utility * (choice.preferred / np.maximum(choice.seconds[known], 1e-12)) ** SPEED_PENALTY, utility
    )
    return np.concatenate([known[np.argsort(-utility, kind="stable")[: size - exploring]], tried])


#: name -> how it draws so many clients; the keys are what the setting ``selection`` takes.
SELECTIONS: dict[str, Callable[[Choice, int, Ledger, np.random.Generator], Ints]] = {
    "uniform": uniform,
    "power-of-choice": power_of_choice,
    "oort": oort,
}
