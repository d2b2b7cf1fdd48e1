"""Whether a device reaches its server, and if not, why: one line for each way in which a connection is refused."""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefed.deploy.addresses import joined
from edgefed.deploy.dialling import NOBODY, PATIENCE, addresses_of, why_not

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# OpenSSL's verify codes.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = {2, 18, 19, 20, 21}
_OTHER_NAME = {62, 64}


class HandshakeError(Exception):
    """The server is there and the connection does not come about: trying again does not help."""


class SignatureError(HandshakeError):
    """The server does not believe when, or by whom, a request was signed."""


class UnreachableError(Exception):
    """Nobody answers there now; it may be that the server is not up yet."""


@dataclass(frozen=True)
class Handshake:
    """A connection that came about.

    Attributes
    ----------
    address : str
        The server's address, of those that its name has.
    skew : float or None
        Seconds that the server's clock is ahead of this one; None where it does not say.
    expires : float or None
        When the server's certificate stops being valid, in seconds since the epoch; None without TLS.
    """

    address: str
    skew: float | None
    expires: float | None


def resolve(host: str, port: int) -> tuple[str, ...]:
    """Return a host's addresses, IPv4 and IPv6, in the order in which they are tried.

    Raises
    ------
    UnreachableError
        One line, where its name has none.
    """
    try:
        return addresses_of(host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: an empty label, as in a..b
        why = error.strerror if isinstance(error, OSError) else "not a host name"
        raise UnreachableError(f"the name {host} cannot be resolved ({why}); check it, and this device's DNS") from None


def unanswered(host: str, port: int) -> dict[str, str]:
    """Return why a port of a host cannot be connected to, by address, for those addresses where it cannot."""
    failed = {}
    for address in resolve(host, port):
        try:
            socket.create_connection((address, port), PATIENCE).close()
        except OSError as error:
            failed[address] = why_not(address, error)
    return failed


def unreachable(host: str, port: int, failed: Mapping[str, str]) -> UnreachableError:
    """Return the line for a host of whose addresses none could be connected to."""
    whys = list(dict.fromkeys(failed.values()))
    if whys == [NOBODY]:
        return UnreachableError(f"nobody listens on port {port} of {host}: start the server, or check the port")
    why = whys[0] if len(whys) == 1 else ", ".join(f"{address}: {each}" for address, each in failed.items())
    return UnreachableError(f"port {port} of {host} cannot be reached ({why}); is a firewall between?")


def _connected(host: str, port: int) -> tuple[socket.socket, str]:
    """Return a connection to the first of a host's addresses that answers, and which it is."""
    failed = {}
    for address in resolve(host, port):
        try:
            return socket.create_connection((address, port), PATIENCE), address
        except OSError as error:
            failed[address] = why_not(address, error)
    raise unreachable(host, port, failed)


def shake_hands(host: str, port: int, authority: Path | None) -> Handshake:
    """Connect as a device does, over TLS where it has an authority's certificate, and look at the server's clock.

    Raises
    ------
    UnreachableError
        Nobody answers.
    HandshakeError
        One line: whose certificate it is not, that it has expired, for which names it is, or that one of the two
        speaks TLS and the other does not.
    """
    connection, address = _connected(host, port)
    expires = None
    try:
        if authority is not None:
            connection = _tls(connection, joined(host, port), host, authority)
            certificate = connection.getpeercert() or {}
            expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        return Handshake(address, _skew(connection, joined(host, port), secure=authority is not None), expires)
    finally:
        connection.close()


def _tls(connection: socket.socket, where: str, host: str, authority: Path) -> ssl.SSLSocket:
    try:
        context = ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError):
        raise HandshakeError(
            f"{authority}: not a certificate; copy ca.crt from the server's deployment again"
        ) from None
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise HandshakeError(f"{where}: {_why(error, host, authority)}") from None
    except (ssl.SSLEOFError, ConnectionError, TimeoutError) as error:
        # A server that is starting or stopping behind a forwarder, a link that was cut.
        then = "said nothing" if isinstance(error, TimeoutError) else "cut it"
        raise UnreachableError(f"{where} took the connection and {then}: is the server up?") from None
    except (ssl.SSLError, OSError) as error:
        if getattr(error, "reason", "") in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            raise HandshakeError(
                f"{where} does not speak TLS: is it an edgefed server, started without --insecure?"
            ) from None
        raise HandshakeError(f"{where}: the TLS handshake failed ({getattr(error, 'reason', None) or error})") from None


def _why(error: ssl.SSLCertVerificationError, host: str, authority: Path) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "the server's certificate has expired; on the server: edgefed provision --out FOLDER --renew"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet by this device's clock: set the clock (timedatectl)"
    if code in _UNTRUSTED:
        return (
            f"the server's certificate is signed by another authority than {authority.name}: copy the deployment's own"
        )
    if code in _OTHER_NAME:
        return f"the server's certificate is for other names than {host}: provision with --server {host},..."
    return f"the server's certificate is refused ({error.verify_message})"


def _skew(connection: socket.socket, where: str, *, secure: bool) -> float | None:
    """Return by how many seconds the server's clock is ahead, from the date of its answer (to half a second)."""
    asked = time.time()
    try:
        connection.sendall(f"GET /health HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
    except (OSError, http.client.HTTPException):
        if secure:
            return None
        # A server that speaks TLS closes on plain text, or answers with an alert.
        raise HandshakeError(f"{where} does not take plain text: it speaks TLS; leave out --insecure") from None
    try:
        date = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, OverflowError):  # none, or not one: it may be another's server
        return None
    # The header has whole seconds: half of one is the best guess at what it leaves out.
    return date.timestamp() + 0.5 - (asked + time.time()) / 2
