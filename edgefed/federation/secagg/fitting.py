"""Which of more shares than needed does not fit the others: the syndromes of a Reed-Solomon code.

Shamir's shares y_i of one secret are the values of a polynomial of degree below ``needed`` at their numbers x_i, in
GF(2^128). With v_i = 1 / prod_{j != i} (x_i - x_j), a count of r = shares - needed sums vanish for just these:

    S_l = sum_i v_i x_i^l y_i = 0,    l = 0 ... r - 1

and where share i alone is off by e they are S_l = v_i e x_i^l, so that S_(l+1) = x_i S_l (MacWilliams, Sloane 1977,
chapter 10). All of them cost as much as joining the secret once; to join it anew without each share costs up to
``shares * r`` times that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER, BLOCK = 4, 16
"""Bytes of a share's number, and of each block that is shared for itself."""

FIELD = 1 << 128 | 0b10000111
"""1 + x + x^2 + x^7 + x^128, PyCryptodome's field."""


def product(a: int, b: int) -> int:
    """Return the product of two elements of GF(2^128); the time it takes is the second's length."""
    found = 0
    while b:
        if b & 1:
            found ^= a
        a <<= 1
        if a >> 128:
            a ^= FIELD
        b >>= 1
    return found


def syndromes(shares: Sequence[bytes], needed: int) -> list[list[int]]:
    """Return S_0 ... S_(r-1) of each block of shares, all times one and the same factor that is not 0.

    Parameters
    ----------
    shares : sequence of bytes
        Each with a number of its own, and as long as the others.
    needed : int
    """
    numbers = [number_of(share) for share in shares]
    parts = []
    for number in numbers:
        part = 1
        for other in numbers:
            if other != number:
                part = product(part, number ^ other)
        parts.append(part)
    weights = _inverted(parts)
    found = []
    for start in range(NUMBER, len(shares[0]), BLOCK):
        terms = [
            product(weight, int.from_bytes(share[start : start + BLOCK], "big"))
            for weight, share in zip(weights, shares, strict=True)
        ]
        sums = []
        for _ in range(len(shares) - needed):
            total = 0
            for term in terms:
                total ^= term
            sums.append(total)
            terms = [product(term, number) for term, number in zip(terms, numbers, strict=True)]
        found.append(sums)
    return found


def is_off_alone(number: int, blocks: Sequence[Sequence[int]]) -> bool:
    """Return whether the shares fit each other without that of a number, by two syndromes or more of each block."""
    return all(product(sums[at], number) == sums[at + 1] for sums in blocks for at in range(len(sums) - 1))


def number_of(share: bytes) -> int:
    """Return a share's number, x."""
    return int.from_bytes(share[:NUMBER], "little")


def _inverted(values: Sequence[int]) -> list[int]:
    """Return c / value of each, c their product: by the products before and after it, without a division."""
    before, after = [1], [1]
    for first, last in zip(values, reversed(values), strict=True):
        before.append(product(before[-1], first))
        after.append(product(after[-1], last))
    return [product(left, right) for left, right in zip(before[:-1], after[-2::-1], strict=True)]
