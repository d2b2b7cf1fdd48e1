"""Shares held against each other, by syndromes: PyCryptodome's own shares fit, and a false one is told."""

import os

import pytest
from Crypto.Protocol.SecretSharing import Shamir

from edgefed.federation.secagg.fitting import is_off_alone, number_of, product, syndromes
from edgefed.federation.secagg.keys import split_seed


def test_a_product_is_the_one_that_shares_are_made_with():
    """Two shares of a line through the secret s: y = s + c x, at x = 1 and 2, so that y_1 + y_2 = 3 c in this field."""
    secret = os.urandom(16)
    (_, one), (_, two) = Shamir.split(2, 2, secret)
    slope = int.from_bytes(one, "big") ^ int.from_bytes(secret, "big")
    assert product(slope, 3) == product(3, slope) == int.from_bytes(one, "big") ^ int.from_bytes(two, "big")


@pytest.mark.parametrize(("needed", "count"), [(3, 4), (4, 6), (7, 12)])
def test_syndromes_of_true_shares_vanish_and_of_fewer_needed_do_not(needed, count):
    shares = split_seed(os.urandom(24), needed, count)
    assert syndromes(shares, needed) == [[0] * (count - needed)] * 2
    assert any(map(any, syndromes(shares, needed - 1)))


@pytest.mark.parametrize("false", range(7))
def test_one_false_share_of_seven_is_the_only_one_that_is_off_alone(false):
    shares = split_seed(os.urandom(24), 5, 7)
    shares[false] = shares[false][:4] + os.urandom(16) + shares[false][20:]
    sums = syndromes(shares, 5)
    assert [is_off_alone(number_of(share), sums) for share in shares] == [place == false for place in range(7)]
