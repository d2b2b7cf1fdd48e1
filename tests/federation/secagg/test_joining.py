"""Secrets of shares of which one is false: which it is, and whose fault it may be."""

import os

import pytest
from flwr.common.secure_aggregation.crypto.shamir import combine_shares

from edgefed.federation.secagg import keys
from edgefed.federation.secagg.joining import Sifting, TooFewError, joined
from edgefed.federation.secagg.keys import joined_seed, split_seed


def dealt(threshold, neighbours):
    """Return a seed and its shares by the neighbour that has each, 10, 11, ..."""
    seed = os.urandom(24)
    return seed, dict(enumerate(split_seed(seed, threshold, neighbours), start=10))


def spoiled(share, byte):
    return share[:byte] + bytes([share[byte] ^ 1]) + share[byte + 1 :]


@pytest.mark.parametrize("place", range(10, 16))
@pytest.mark.parametrize("byte", [4, 35], ids=["in the first block", "in the last"])
def test_one_false_share_of_six_is_found_where_four_are_needed(place, byte):
    seed, shares = dealt(4, 6)
    sifting = Sifting()
    assert sifting.joined(1, shares | {place: spoiled(shares[place], byte)}, 4, joined_seed) == seed
    assert sifting.false == {place: {1}}


def test_shares_that_all_fit_accuse_nobody():
    seed, shares = dealt(4, 6)
    sifting = Sifting()
    assert sifting.joined(1, shares, 4, joined_seed) == joined(1, shares, 4, joined_seed) == seed
    assert sifting.false == {}


@pytest.mark.parametrize(("neighbours", "spoil"), [(6, (10, 11)), (5, (10,))])
def test_more_false_ones_or_too_few_true_ones_tell_nothing(neighbours, spoil):
    _, shares = dealt(4, neighbours)
    sifting = Sifting()
    with pytest.raises(ValueError, match="do not tell which of them is false"):
        sifting.joined(1, shares | {place: spoiled(shares[place], 4) for place in spoil}, 4, joined_seed)
    assert sifting.false == {}


def test_who_is_named():
    """Client 10 gave two owners' shares false, most of its five true; that of client 14 which 11 gave is either's."""
    sifting = Sifting()
    sifting.false = {10: {12, 13}, 11: {14}}
    found = sifting.blamed([{10: b""}] * 4 + [{10: b"", 11: b""}])
    assert found == {
        10: "unmask: 2 of its 5 shares do not fit the others'",
        11: "unmask: its share of client 14 does not fit the others', by either's fault",
        14: "shares: that which client 11 gave back does not fit the others, by either's fault",
    }


def test_too_few_shares_name_whose():
    _, shares = dealt(4, 6)
    few = dict(list(shares.items())[:3])
    with pytest.raises(TooFewError, match="3 shares of a secret of client 1, 4 are needed"):
        joined(1, few, 4, joined_seed)


def test_a_secret_is_joined_once_however_many_may_have_made_the_share_false(monkeypatch):
    """By joining without each in turn, ever anew, one false share in a round of 99 neighbours cost most of an hour."""
    seed, shares = dealt(4, 24)
    calls = []
    monkeypatch.setattr(keys, "combine_shares", lambda some: calls.append(some) or combine_shares(some))

    assert Sifting().joined(1, shares | {20: spoiled(shares[20], 4)}, 4, joined_seed) == seed
    assert [len(some) for some in calls] == [4]


def test_where_trying_all_would_cost_too_much_nobody_is_named():
    """80 shares, one more than needed: 80 * 79^2 products are more than a round may take; 24 of 23 are not."""
    shares = {place: place.to_bytes(4, "little") + os.urandom(32) for place in range(1, 81)}
    sifting = Sifting()
    with pytest.raises(ValueError, match="do not tell which of them is false"):
        sifting.joined(1, shares, 79, lambda _: pytest.fail("none is tried"))
    tried = []
    sifting = Sifting()
    with pytest.raises(ValueError, match="do not tell which of them is false"):
        sifting.joined(1, dict(list(shares.items())[:24]), 23, tried.append)
    assert len(tried) == 24
    assert sifting.false == {}
