"""A deployment's own certificate authority, the server's certificate, and the devices' keys.

Keys are elliptic-curve keys on P-384. A device's key is written in OpenSSH's format, the only one that Flower's node
authentication reads; those of the authority and the server in PKCS 8.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgefed.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BACKDATED = dt.timedelta(days=1)
"""A certificate is valid from a day ago: a device whose clock is a little behind must not wait for it."""
AUTHORITY_DAYS = 3650
ON_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
"""Names under which the server's own processes reach it."""


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody but its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def make_authority(folder: Path, days: int = AUTHORITY_DAYS) -> None:
    """Make ``ca.key`` (private) and ``ca.crt`` in a folder."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgefed deployment authority")])
    certificate = (
        _builder(name, name, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA384())
    )
    write_private(folder / "ca.key", _private(key))
    (folder / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def make_server_certificate(authority: Path, folder: Path, names: Sequence[str], days: int) -> None:
    """Make ``server.key`` (private) and ``server.crt`` in a folder, signed by the authority in another.

    Parameters
    ----------
    names : sequence of str
        Host names and addresses that devices dial; those of this machine itself are added.
    days : int
        How long it is valid; negative: it has expired, so many days ago.

    Raises
    ------
    SettingsError
        Where the authority's key or certificate is not there, or is none.
    """
    ca_key, ca = _authority(authority)
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    every = dict.fromkeys([*names, *ON_THIS_MACHINE])
    certificate = (
        _builder(subject, ca.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in every]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA384())
    )
    for path, content in (
        (folder / "server.key", _private(key)),
        (folder / "server.crt", certificate.public_bytes(Encoding.PEM)),
    ):
        path.unlink(missing_ok=True)
        write_private(path, content)
    (folder / "server.crt").chmod(0o644)


def _authority(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Return an authority's private key and certificate, which signs; the first is often kept elsewhere."""
    key, certificate = folder / "ca.key", folder / "ca.crt"
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(
            f"{error.filename}: no such file; the authority signs: bring it back from where it is kept, for as long as "
            "this takes"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{key} and {certificate}: not a private key and a certificate (PEM)") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != found.public_key():
        raise SettingsError(f"{key}: not the key of {certificate}")
    return private, found


def make_device_key(folder: Path) -> str:
    """Make ``device.key`` (private) and ``device.pub`` in a folder; return the public half's text."""
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    write_private(folder / "device.key", key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (folder / "device.pub").write_text(public + "\n", encoding="utf-8")
    return public


def read_public_key(text: str, where: str) -> str:
    """Return a device's public key as text without comment.

    Raises
    ------
    SettingsError
        Where it is no public key on a curve that Flower takes; a private key is refused by name.
    """
    if "PRIVATE KEY" in text:
        raise SettingsError(
            f"{where}: a private key, which must not leave its device; give the public half, device.pub"
        )
    try:
        key = serialization.load_ssh_public_key(text.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{where}: not a public key in OpenSSH's format (ecdsa-sha2-nistp384 AAAA...)") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SettingsError(
            f"{where}: not an elliptic-curve key, expected ecdsa-sha2-nistp384; ssh-keygen -t ecdsa -b 384"
        )
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def as_flower_keeps_it(public: str) -> bytes:
    """Return a public key (OpenSSH text) as the bytes by which Flower's SuperLink knows a node."""
    key = serialization.load_ssh_public_key(public.encode())
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def names_in(certificate: bytes) -> list[str]:
    """Return the names and addresses that a certificate (PEM) is for.

    Raises
    ------
    ValueError
        For bytes that are none.
    """
    found = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in found.value]


def expires(certificate: bytes) -> dt.datetime:
    """Return when a certificate (PEM) stops being valid."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def check_server_files(folder: Path) -> None:
    """Refuse ``ca.crt``, ``server.crt`` and ``server.key`` that no server can be started with.

    Raises
    ------
    SettingsError
        One line: which of them, and what makes it again.
    """
    renew = "edgefed provision --out FOLDER --renew makes it again"
    ca, certificate, key = (folder / name for name in ("ca.crt", "server.crt", "server.key"))
    for path, mend in ((ca, "copy the deployment's ca/ca.crt there again"), (certificate, renew)):
        try:
            x509.load_pem_x509_certificate(path.read_bytes())
        except FileNotFoundError:
            raise SettingsError(f"{path}: no such file; {mend}") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a certificate"
            raise SettingsError(f"{path}: cannot be used ({why}); {mend}") from None
    try:
        # A password, empty, as none was set: else OpenSSL would ask the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except FileNotFoundError:
        raise SettingsError(f"{key}: no such file; {renew}") from None
    except OSError as error:  # an SSLError is one
        why = f"not the key of {certificate.name}" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(f"{key}: cannot be used ({why}); {renew}") from None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    end = now + dt.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
