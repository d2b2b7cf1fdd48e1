"""Secrets joined from shares, one of which may be false: where there are more than needed, the others tell which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from edgefed.federation.secagg.keys import combined

if TYPE_CHECKING:
    from collections.abc import Iterable

Secret = TypeVar("Secret")

Join = Callable[[list[bytes]], Secret]
"""Makes a secret of exactly as many shares as it needs."""
Joining = Callable[[int, Mapping[int, bytes], int, Callable[[list[bytes]], Any]], Any]
"""Makes a client's secret, from shares by who gave each back, how many are needed, and :data:`Join`."""


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


NO_FIT = "shares that do not fit each other, and do not tell which of them is false"


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

    def joined(self, of: int, shares: Mapping[int, bytes], needed: int, join: Join[Secret]) -> Secret:
        """Return a client's secret, from shares by the neighbour that gave each back.

        Raises
        ------
        ValueError
            Where they do not fit, and there is not one, and no other, without which the rest do.
        """
        if (secret := _agreed(list(shares.values()), needed, join)) is not None:
            return secret
        found = {}
        for giver in sorted(shares, key=lambda giver: giver not in self.false):  # who gave a false one before first
            rest = [share for other, share in shares.items() if other != giver]
            if len(rest) >= needed and (secret := _agreed(rest, needed, join)) is not None:
                found[giver] = secret
                if len(rest) > needed:  # they fit each other; else one that is not the right one may pass for a secret
                    break
        if len(found) == 1:
            ((giver, secret),) = found.items()
            self.false.setdefault(giver, set()).add(of)
            return secret
        raise ValueError(NO_FIT)

    def blamed(self, shares: Iterable[Mapping[int, bytes]]) -> dict[int, str]:
        """Return client -> why, from the shares of all secrets.

        A false share is its giver's or, encrypted as it was, its owner's: whoever gave most of its shares false is to
        blame for them, else whose secret it is of, or both.
        """
        given = Counter(giver for of_one in shares for giver in of_one)
        why: dict[int, str] = {}
        for giver, owners in self.false.items():
            if 2 * len(owners) > given[giver]:
                why[giver] = f"unmask: {len(owners)} of its {given[giver]} shares do not fit the others'"
                continue
            for owner in owners:
                why[owner] = f"shares: that which client {giver} gave back does not fit the others, by either's fault"
        return why


def _agreed(shares: list[bytes], needed: int, join: Join[Secret]) -> Secret | None:
    """Return what shares give that all fit each other; None where they do not.

    A further share fits the first so many where it gives the same in the place of one of them: two polynomials of
    degree needed - 1 that agree in needed - 1 shares and in the secret are one.
    """
    first = shares[:needed]
    try:
        found = combined(first)
        fit = all(combined([*first[:-1], share]) == found for share in shares[needed:])
        return join(first) if fit else None
    except ValueError:
        return None
