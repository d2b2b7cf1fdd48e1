"""Where a name leads: its addresses of both kinds, and a way past those that do not answer."""

from __future__ import annotations

import errno
import socket
from typing import Any

PATIENCE = 5.0
"""Seconds to wait for an address that does not answer."""
NOBODY, NO_ANSWER = "nobody listens", "no answer"
_NOT_HERE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a machine says that has no address of the kind, or no route."""


def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """Return a host's addresses in the order in which this system tries them (RFC 6724).

    A link-local one, as names of a local network have (``NAME.local``), comes with its zone: ``fe80::1%eth0``.

    Raises
    ------
    OSError, UnicodeError
        Where its name has none, or is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return tuple(dict.fromkeys(socket.getnameinfo(each[4], numbers)[0] for each in found))


def why_not(address: str, error: OSError) -> str:
    """Return in words why an address could not be connected to."""
    if isinstance(error, ConnectionRefusedError):
        return NOBODY
    if isinstance(error, TimeoutError):
        return NO_ANSWER
    if error.errno in _NOT_HERE:
        return f"this machine has no way to IPv{6 if ':' in address else 4} addresses"
    return error.strerror or str(error)


class Dialling:
    """Stands in for ``socket`` where Flower's HTTP client connects.

    That client tries a name's addresses one after the other, in the system's order, each for half a minute, whenever
    it connects: an IPv6 address that a firewall drops would cost half a minute a connection, though the IPv4 address
    answers. Here the one that answered last is tried first, and only the last one for longer than :data:`PATIENCE`.
    """

    def __init__(self) -> None:
        self._answered: dict[tuple[str, int], str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def create_connection(
        self, address: tuple[str, int], timeout: float | None = None, source_address: tuple[str, int] | None = None
    ) -> socket.socket:
        """Return a connection to the first of a host's addresses that answers.

        Raises
        ------
        OSError
            Of the last one, where none does.
        """
        *others, last = sorted(addresses_of(*address), key=lambda each: each != self._answered.get(address))
        for each in others:
            try:
                found = self._connected(address, each, min(PATIENCE, timeout or PATIENCE), source_address)
            except OSError:
                continue
            found.settimeout(timeout)
            return found
        return self._connected(address, last, timeout, source_address)

    def _connected(
        self, address: tuple[str, int], at: str, timeout: float | None, source_address: tuple[str, int] | None
    ) -> socket.socket:
        found = socket.create_connection((at, address[1]), timeout, source_address)
        self._answered[address] = at
        return found
