"""Masks, shares and keys, against published answers and against what Flower's own generator does."""

import contextlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from edgefed.federation.secagg.keys import (
    KEY_SHARE,
    PUBLIC,
    SEALED,
    SEED_BYTES,
    SEED_SHARE,
    agreed,
    joined_key,
    joined_seed,
    mask,
    new_key,
    opened,
    pair_mask,
    public_bytes,
    sealed,
    split_key,
    split_seed,
    unsealed,
)


@pytest.mark.parametrize(
    ("key", "block"),
    [
        (bytes(24), "aae06992acbf52a3e8f4a96ec9300bd7"),
        (bytes(32), "dc95c078a2408989ad48a21492842087"),
        (bytes.fromhex("80" + "00" * 23), "de885dc87f5a92594082d02cc1e1b42c"),
        (bytes.fromhex("80" + "00" * 31), "e35a6dcb19b201a01ebcfa8aa22b5759"),
    ],
)
def test_a_mask_is_the_key_stream_of_aes(key, block):
    """Its first block is that of counter 0, AES_key(0): NIST's known answers (CAVP, ECB, KeySbox and VarKey)."""
    assert mask(key, 4).tobytes().hex() == block


def test_a_mask_depends_on_every_byte_of_its_key_and_flowers_generator_does_not():
    """Swapping two words of four bytes leaves Flower's 32-bit seed, and so its mask, as it was."""
    seed = bytes(range(32))
    swapped = seed[4:8] + seed[:4] + seed[8:]
    theirs = [pseudo_rand_gen(key, 2**32, [(50,)])[0] for key in (seed, swapped)]

    assert np.array_equal(*theirs)
    assert not np.array_equal(mask(seed, 50), mask(swapped, 50))
    for place in range(32):
        flipped = seed[:place] + bytes([seed[place] ^ 1]) + seed[place + 1 :]
        assert (mask(flipped, 50) == mask(seed, 50)).sum() < 3


def test_a_seed_comes_back_from_any_threshold_of_its_shares_and_from_no_fewer():
    seed = bytes(range(SEED_BYTES))

    shares = split_seed(seed, 3, 5)

    assert {len(share) for share in shares} == {SEED_SHARE}
    assert [int.from_bytes(share[:4], "little") for share in shares] == [1, 2, 3, 4, 5]
    assert joined_seed(shares[:3]) == joined_seed(shares[2:]) == joined_seed([shares[4], shares[0], shares[2]]) == seed
    with contextlib.suppress(ValueError):  # what two shares give is no padded secret, nearly always
        assert joined_seed(shares[:2]) != seed
    with pytest.raises(ValueError):
        joined_seed([shares[0], shares[0], shares[1]])


def test_a_private_key_comes_back_and_is_held_against_the_public_one():
    private, other = new_key(), new_key()

    shares = split_key(private, 2, 4)

    assert {len(share) for share in shares} == {KEY_SHARE}
    again = joined_key(shares[1:3], public_bytes(private))
    assert again.private_numbers() == private.private_numbers()
    with pytest.raises(ValueError, match="do not fit the public key"):
        joined_key(shares[:2], public_bytes(other))


def test_two_agree_on_a_mask_that_a_third_does_not_have():
    one, two, three = new_key(), new_key(), new_key()
    told = bytes(32)

    assert len(public_bytes(one)) == PUBLIC
    assert np.array_equal(pair_mask(one, public_bytes(two), told, 20), pair_mask(two, public_bytes(one), told, 20))
    assert not np.array_equal(
        pair_mask(one, public_bytes(two), told, 20), pair_mask(three, public_bytes(two), told, 20)
    )


def test_two_that_were_told_different_things_have_different_masks():
    one, two = new_key(), new_key()

    masks = pair_mask(one, public_bytes(two), bytes(32), 20), pair_mask(two, public_bytes(one), bytes(31) + b"1", 20)

    assert not np.isin(*masks).any()


def test_a_key_in_another_spelling_is_refused():
    """The same key, with other white space in its text: it would pass for another client's."""
    public = public_bytes(new_key())

    for spelling in (public[:-1] + b" ", public.replace(b"\n", b"\r", 1)):
        assert spelling != public
        with pytest.raises(ValueError, match="public key"):
            opened(spelling)


def test_a_key_of_another_curve_is_refused():
    other = public_key_to_bytes(ec.generate_private_key(ec.SECP256R1()).public_key())

    with pytest.raises(ValueError, match="public key"):
        agreed(new_key(), other.ljust(PUBLIC, b"\n"))


def test_sealed_shares_open_for_the_two_that_agreed_and_say_whose_they_are():
    one, two = new_key(), new_key()
    key = agreed(one, public_bytes(two))

    closed = sealed(key, 4, 9, bytes(SEED_SHARE), bytes(KEY_SHARE))

    assert len(closed) == SEALED
    assert unsealed(agreed(two, public_bytes(one)), 4, 9, closed) == (bytes(SEED_SHARE), bytes(KEY_SHARE))
    with pytest.raises(ValueError, match="in the name of client 5"):
        unsealed(key, 5, 9, closed)
    with pytest.raises(ValueError, match="cannot be opened"):
        unsealed(agreed(one, public_bytes(one)), 4, 9, closed)
    with pytest.raises(ValueError, match="cannot be opened"):
        unsealed(key, 4, 9, closed[:-4] + b"AAA=")
