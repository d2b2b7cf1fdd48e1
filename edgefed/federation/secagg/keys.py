"""What the protocol stands on: Flower's key agreement, secret sharing and encryption; masks by AES.

Flower's own mask generator (``pseudo_rand_gen``) is left out: it folds a key of 32 bytes to one number of 32 bits,
28 of which can differ where the key is Base64 text, and draws from a Mersenne Twister. Whoever knows roughly what is
masked finds such a seed by trying them all. Here a mask is the key stream of AES in counter mode, as in Bonawitz et al.
(2017), under all bits of a key that is used once.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt, generate_shared_key
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat, share_keys_plaintext_separate
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, generate_key_pairs, public_key_to_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Shares = list[bytes]

SEED_BYTES = 24
"""Bytes of a private mask's seed: a key of AES-192, and with its padding two of Shamir's blocks."""

SCALAR_BYTES = 48
"""Bytes of a P-384 private key."""

SEED_SHARE, KEY_SHARE = 4 + 32, 4 + 64
"""Bytes of a share of a seed and of a private key: its number, and the padded secret's blocks of 16."""

PUBLIC = 215
"""Bytes of a P-384 public key, as PEM."""

SEALED = 248
"""Bytes of a pair of shares, encrypted."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-384 private key, from the operating system's randomness."""
    return generate_key_pairs()[0]


def public_bytes(private: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public key that belongs to a private one."""
    return public_key_to_bytes(private.public_key())


def opened(public: bytes) -> ec.EllipticCurvePublicKey:
    """Return a public key as it travels as one that can be used.

    Raises
    ------
    ValueError
        For bytes that are none of P-384.
    """
    if len(public) != PUBLIC:
        raise ValueError(f"a public key of {len(public)} bytes, expected {PUBLIC}")
    try:
        key = bytes_to_public_key(public)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("a public key that cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("a public key that is not one of P-384")
    if public_key_to_bytes(key) != public:  # one key in two spellings would pass for two
        raise ValueError("a public key that is not spelt as it should be")
    return key


def agreed(private: ec.EllipticCurvePrivateKey, public: bytes) -> bytes:
    """Return the key that two agree on (ECDH, HKDF-SHA256): 32 bytes as Base64, which Fernet takes.

    Raises
    ------
    ValueError
        As :func:`opened` does.
    """
    return generate_shared_key(private, opened(public))


def mask(key: bytes, length: int) -> NDArray[np.uint32]:
    """Return the mask of a key that is used for nothing else [length], uniform in 0 ... 2^32 - 1."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(4 * length)), "<u4")


def pair_mask(private: ec.EllipticCurvePrivateKey, public: bytes, told: bytes, length: int) -> NDArray[np.uint32]:
    """Return the mask that two clients have in common [length]: either one's private key and the other's public one.

    Its key is derived once more (HKDF-SHA256) with ``told``, a hash of what both were told: of two that were told
    different things the masks do not cancel, and the sum is noise.

    Raises
    ------
    ValueError
        As :func:`agreed` does.
    """
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=told)
    return mask(derived.derive(base64.urlsafe_b64decode(agreed(private, public))), length)


def split_seed(seed: bytes, threshold: int, count: int) -> Shares:
    """Return Shamir's shares of a seed, ``threshold`` of which give it back."""
    return create_shares(seed, threshold, count)


def split_key(private: ec.EllipticCurvePrivateKey, threshold: int, count: int) -> Shares:
    """Return Shamir's shares of a private key.

    Of its 48 bytes, not of its PEM text as Flower's mod does: five times fewer blocks, each of which costs
    ``threshold`` times ``count`` products in pure Python.
    """
    scalar = private.private_numbers().private_value.to_bytes(SCALAR_BYTES, "big")
    return create_shares(scalar, threshold, count)


def combined(shares: Shares) -> bytes:
    """Return what exactly as many shares as the threshold give, whatever it is.

    Raises
    ------
    ValueError
        For shares that give nothing that was split.
    """
    return combine_shares(shares)


def joined_seed(shares: Shares) -> bytes:
    """Return the seed of exactly as many shares as its threshold.

    Raises
    ------
    ValueError
        For shares that are not of one seed.
    """
    seed = combined(shares)
    if len(seed) != SEED_BYTES:
        raise ValueError("shares that are none of a seed")
    return seed


def joined_key(shares: Shares, public: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the private key of exactly as many shares as its threshold.

    Raises
    ------
    ValueError
        When it is not the one that belongs to the public key.
    """
    private = ec.derive_private_key(int.from_bytes(combined(shares), "big"), ec.SECP384R1())
    if public_bytes(private) != public:
        raise ValueError("shares that do not fit the public key")
    return private


def sealed(key: bytes, source: int, target: int, seed_share: bytes, key_share: bytes) -> bytes:
    """Return two shares from one client to another, encrypted and authenticated (Fernet) under an agreed key."""
    return encrypt(key, share_keys_plaintext_concat(source, target, seed_share, key_share))


def unsealed(key: bytes, source: int, target: int, ciphertext: bytes) -> tuple[bytes, bytes]:
    """Return what :func:`sealed` closed: a share of the seed and one of the private key.

    Raises
    ------
    ValueError
        When it was closed under another key, or is not from and to these two.
    """
    try:
        found = share_keys_plaintext_separate(decrypt(key, ciphertext))
    except InvalidToken:
        raise ValueError(f"shares of client {source} that cannot be opened") from None
    if found[:2] != (source, target):
        raise ValueError(f"shares of client {found[0]} for {found[1]} in the name of client {source}")
    return found[2], found[3]
