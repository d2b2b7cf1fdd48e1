"""What a client gives away and what it refuses, whatever a server asks."""

import numpy as np
import pytest
from flwr.app import RecordDict

from edgefed.federation.secagg.graph import drawn_neighbours, threshold_of
from edgefed.federation.secagg.keys import mask
from edgefed.federation.secagg.participant import KEPT, Participant, in_hand

TOLD = bytes(32)


def cohort(count=5):
    """Return participants that have given keys, and those keys."""
    everyone = {client: Participant(client, 7, 0.66) for client in range(count)}
    return everyone, {client: one.public_keys() for client, one in everyone.items()}


def asked_to_share(one, keys, others):
    return one.share_keys(7, others, [keys[other][0] for other in others], [keys[other][1] for other in others])


def shared(count=5):
    """Return participants that have shared their keys, and what each has for whom."""
    everyone, keys = cohort(count)
    closed = {}
    for client, one in everyone.items():
        others = [other for other in everyone if other != client]
        closed[client] = dict(zip(others, asked_to_share(one, keys, others), strict=True))
    return everyone, closed


def mask_of(everyone, closed, client, vector, round_number=7):
    others = [other for other in everyone if other != client]
    return everyone[client].masked(round_number, others, [closed[other][client] for other in others], TOLD, vector)


def test_masks_of_pairs_cancel_and_private_ones_come_off_with_the_seeds():
    everyone, closed = shared()
    vectors = np.random.default_rng(0).integers(0, 2**32, (5, 40), dtype=np.uint32)

    private = sum(mask(one.secrets.seed, 40).astype(np.uint64) for one in everyone.values())

    masked = [mask_of(everyone, closed, client, vectors[client]) for client in everyone]

    total = sum(vector.astype(np.uint64) for vector in masked) - private
    assert np.array_equal(total % 2**32, vectors.astype(np.uint64).sum(0) % 2**32)
    assert not any(np.array_equal(vector, own) for vector, own in zip(masked, vectors, strict=True))


def test_never_both_secrets_of_a_client():
    everyone, closed = shared()
    mask_of(everyone, closed, 0, np.zeros(3, np.uint32))

    with pytest.raises(ValueError, match="both shares of client 2"):
        everyone[0].unmask(7, [1, 2, 3], [2, 4])
    everyone[0].unmask(7, [1, 2, 3], [4])
    with pytest.raises(ValueError, match="asked for unmasked of round 7 after unmasked of round 7"):
        everyone[0].unmask(7, [1, 3, 4], [2])  # one list in each of two requests
    assert everyone[0].seed_shares == everyone[0].key_shares == {}


@pytest.mark.parametrize(
    ("there", "gone", "why"),
    [
        ([1, 2], [3, 4], "2 neighbours in the sum, at least 3 are needed"),
        ([1, 2, 9], [], "clients that have given this one none"),
        ([0, 1, 2], [3], "clients that have given this one none"),
    ],
)
def test_no_shares_for_less_than_a_sum(there, gone, why):
    everyone, closed = shared()
    mask_of(everyone, closed, 0, np.zeros(3, np.uint32))

    with pytest.raises(ValueError, match=why):
        everyone[0].unmask(7, there, gone)


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ([0, 1, 2], "different clients"),
        ([1, 1, 2], "different clients"),
        ([1], "1 neighbours, at least 2 are needed"),
    ],
)
def test_no_secrets_for_neighbours_among_whom_it_would_not_be_safe(others, why):
    everyone, keys = cohort()

    with pytest.raises(ValueError, match=why):
        asked_to_share(everyone[0], keys, others)


@pytest.mark.parametrize("public", [b"-----BEGIN", bytes(215)])
def test_no_secrets_for_keys_that_are_none(public):
    everyone, keys = cohort()

    with pytest.raises(ValueError, match="a public key"):
        asked_to_share(everyone[0], keys | {2: (keys[2][0], public)}, [1, 2, 3])


def test_no_secrets_for_a_key_that_stands_there_twice_or_is_its_own():
    everyone, keys = cohort()

    with pytest.raises(ValueError, match="twice"):
        asked_to_share(everyone[0], keys | {2: keys[1]}, [1, 2, 3])
    with pytest.raises(ValueError, match="twice"):
        asked_to_share(everyone[1], keys | {2: (keys[2][0], keys[1][1])}, [0, 2, 3])


def test_shares_that_cannot_be_opened_leave_the_client_without_any_of_that_neighbour():
    """Its mask is the same, so the sum holds; what it cannot give back others may."""
    everyone, closed = shared()
    again = RecordDict()
    everyone[0].save(again)
    whole = mask_of(everyone, closed, 0, np.zeros(3, np.uint32))
    everyone[0] = Participant.load(again)
    swapped = {**closed, 1: {**closed[1], 0: closed[1][2]}}

    assert np.array_equal(mask_of(everyone, swapped, 0, np.zeros(3, np.uint32)), whole)
    seeds, _ = everyone[0].unmask(7, [1, 2, 3, 4], [])
    assert seeds[0] == b""
    assert all(seeds[1:])


def test_shares_of_too_few_neighbours_are_refused():
    everyone, closed = shared()
    with pytest.raises(ValueError, match="1 neighbours that have sent shares, at least 3"):
        everyone[0].masked(7, [1], [closed[1][0]], TOLD, np.zeros(3, np.uint32))


@pytest.mark.parametrize("again", [7, 6, 1])
def test_a_round_in_which_secrets_were_shared_does_not_begin_again(again):
    everyone, closed = shared()
    assert Participant.begin(0, 8, 0.66, everyone[0]).stage == "keys"
    mask_of(everyone, closed, 0, np.zeros(3, np.uint32))
    everyone[0].unmask(7, [1, 2, 3, 4], [])
    kept = RecordDict()
    everyone[0].save(kept)
    later = Participant.begin(0, 9, 0.66, Participant.load(kept))

    for before in (everyone[0], Participant.load(kept), later):
        with pytest.raises(ValueError, match=f"asked for keys of round {again}: secrets of round 7 are shared already"):
            Participant.begin(0, again, 0.66, before)


def test_keys_that_nobody_has_used_are_made_anew():
    fresh = Participant.begin(0, 7, 0.66, None)

    assert Participant.begin(0, 7, 0.66, fresh).public_keys() != fresh.public_keys()


def test_a_node_keeps_no_secret_longer_than_it_serves():
    """Once masked nothing of its own, once it has given shares back nothing of others': a number of a round is left."""
    everyone, closed = shared()
    kept = RecordDict()
    everyone[0].save(kept)
    assert {"seed", "mask-key", "cipher-key", "channels", "mask_keys"} <= set(kept[KEPT])

    mask_of(everyone, closed, 0, np.zeros(3, np.uint32))
    everyone[0].save(kept)
    about = {"identity", "round", "share", "stage", "shared", "threshold"}
    assert set(kept[KEPT]) == about | {"seed_shares:of", "seed_shares", "key_shares:of", "key_shares"}
    assert everyone[0].secrets is None

    everyone[0].unmask(7, [1, 2, 3, 4], [])
    everyone[0].save(kept)
    assert set(kept[KEPT]) == about
    assert not any(isinstance(value, bytes | list) for value in kept[KEPT].values())


def test_stages_come_in_their_order_and_in_their_round():
    everyone, closed = shared()
    with pytest.raises(ValueError, match="asked for masked of round 8 after shares of round 7"):
        mask_of(everyone, closed, 0, np.zeros(3, np.uint32), round_number=8)
    fresh = Participant(0, 7, 0.66)
    with pytest.raises(ValueError, match="asked for masked of round 7 after keys"):
        fresh.masked(7, [], [], TOLD, np.zeros(3, np.uint32))
    mask_of(everyone, closed, 1, np.zeros(3, np.uint32))
    with pytest.raises(ValueError, match="asked for masked of round 7 after masked"):  # two vectors under one mask
        mask_of(everyone, closed, 1, np.ones(3, np.uint32))


def test_a_node_keeps_it_from_message_to_message():
    everyone, closed = shared()
    kept = RecordDict()
    everyone[0].save(kept)
    vector = np.arange(9, dtype=np.uint32)

    again = Participant.load(kept)

    assert again.threshold == 3
    assert np.array_equal(mask_of({**everyone, 0: again}, closed, 0, vector), mask_of(everyone, closed, 0, vector))
    again.save(kept)
    assert Participant.load(kept).unmask(7, [1, 2, 3], [4]) == everyone[0].unmask(7, [1, 2, 3], [4])
    del kept[KEPT]
    with pytest.raises(ValueError, match="no keys of this round"):
        in_hand(Participant.load(kept))


def test_nothing_secret_is_in_what_it_prints_as():
    everyone, _ = shared()
    shown = repr(everyone[0])

    assert "seed" not in shown
    assert "PrivateKey" not in shown


@pytest.mark.parametrize("share", [0.51, 0.66, 1.0])
def test_two_disjoint_sets_of_neighbours_never_both_bring_a_secret_back(share):
    for neighbours in range(2, 200):
        needed = threshold_of(share, neighbours)
        assert 2 * needed > neighbours
        assert share * neighbours <= needed + 1e-9
        assert needed <= neighbours


@pytest.mark.parametrize(("clients", "count"), [(3, 32), (10, 32), (9, 4), (40, 8), (41, 8)])
def test_neighbours_are_mutual_as_many_each_and_all_connected(clients, count):
    ids = [3 * client for client in range(clients)]

    graph = drawn_neighbours(ids, count)

    assert list(graph) == ids
    for client, others in graph.items():
        assert len(set(others)) == len(others) == min(count, clients - 1)
        assert others == sorted(others)
        assert client not in others
        assert all(client in graph[other] for other in others)
    reached, frontier = {ids[0]}, [ids[0]]
    while frontier:
        new = set(graph[frontier.pop()]) - reached
        reached |= new
        frontier += new
    assert reached == set(ids)
