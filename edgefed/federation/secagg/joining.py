"""Secrets joined from shares, one of which may be false: where there are more than needed, the others tell which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from edgefed.federation.secagg.fitting import is_off_alone, number_of, syndromes

if TYPE_CHECKING:
    from collections.abc import Iterable

Secret = TypeVar("Secret")

Join = Callable[[list[bytes]], Secret]
"""Makes a secret of exactly as many shares as it needs."""
Joining = Callable[[int, Mapping[int, bytes], int, Callable[[list[bytes]], Any]], Any]
"""Makes a client's secret, from shares by who gave each back, how many are needed, and :data:`Join`."""


NO_FIT = "shares that do not fit each other, and do not tell which of them is false"

MOST_TRIED = 350_000
"""What is tried in a round where just one share is more than needed: shares times needed^2, summed over secrets."""


class TooFewError(Exception):
    """A round that cannot be unmasked: it changes nothing. The message is the line that says so."""


def joined(of: int, shares: Mapping[int, bytes], needed: int, join: Join[Secret]) -> Secret:
    """Return a client's secret of the first so many shares.

    Raises
    ------
    TooFewError
    ValueError
        Where they are of no secret.
    """
    if len(shares) < needed:
        raise TooFewError(f"{len(shares)} shares of a secret of client {of}, {needed} are needed")
    return join(list(shares.values())[:needed])


class Sifting:
    """Joins secrets without the shares that do not fit, and keeps whose these are.

    Any ``needed`` shares of one secret give it back; with a false one among them they give something else.

    Attributes
    ----------
    false : dict of int to set of int
        The client that gave false shares back -> whose secrets they are of.
    """

    def __init__(self) -> None:
        self.false: dict[int, set[int]] = {}
        self._tried = 0

    def joined(self, of: int, shares: Mapping[int, bytes], needed: int, join: Join[Secret]) -> Secret:
        """Return a client's secret, from shares by the neighbour that gave each back.

        Raises
        ------
        TooFewError
        ValueError
            Where they are of no secret, or do not fit, and there is not one, and no other, without which the rest do.
        """
        if len(shares) <= needed:
            return joined(of, shares, needed, join)
        sums = syndromes(list(shares.values()), needed)
        if not any(map(any, sums)):
            return joined(of, shares, needed, join)
        found = self._without_one(shares, needed, join) if len(shares) == needed + 1 else {}
        if len(shares) > needed + 1:
            for giver, share in shares.items():
                if is_off_alone(number_of(share), sums):
                    found[giver] = joined(of, _without(giver, shares), needed, join)
        if len(found) != 1:
            raise ValueError(NO_FIT)
        ((giver, secret),) = found.items()
        self.false.setdefault(giver, set()).add(of)
        return secret

    def _without_one(self, shares: Mapping[int, bytes], needed: int, join: Join[Secret]) -> dict[int, Secret]:
        """Return what just enough shares give, by whose is left out, where it is a secret at all: its padding tells.

        Raises
        ------
        ValueError
            Where that would cost too much. The bound is of products and not of time: the same on every machine.
        """
        self._tried += len(shares) * needed**2
        if self._tried > MOST_TRIED:
            raise ValueError(NO_FIT)
        found = {}
        for giver in shares:
            with suppress(ValueError):
                found[giver] = join(list(_without(giver, shares).values()))
        return found

    def blamed(self, shares: Iterable[Mapping[int, bytes]]) -> dict[int, str]:
        """Return client -> why, from the shares of all secrets.

        A false share is its giver's or, encrypted as it was, its owner's. Whoever gave those of two owners or more is
        named for them, and the owners are not: else a giver could have honest ones named. They would have to conspire
        to have it named. Of a single one both are.
        """
        given = Counter(giver for of_one in shares for giver in of_one)
        several = {giver: len(owners) for giver, owners in self.false.items() if len(owners) > 1}
        why = {
            giver: f"unmask: {count} of its {given[giver]} shares do not fit the others'"
            for giver, count in several.items()
        }
        for giver, owners in self.false.items():
            if giver not in several:
                (owner,) = owners
                why.setdefault(
                    owner, f"shares: that which client {giver} gave back does not fit the others, by either's fault"
                )
                why.setdefault(
                    giver, f"unmask: its share of client {owner} does not fit the others', by either's fault"
                )
        return why


def _without(giver: int, shares: Mapping[int, bytes]) -> dict[int, bytes]:
    return {other: share for other, share in shares.items() if other != giver}
