"""Where a server listens: a socket for each kind of address, bound before anything is started."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from edgefed.deploy.addresses import is_this_machine
from edgefed.errors import SettingsError
from edgefed.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import uvicorn

EVERYWHERE, HERE = ("0.0.0.0", "::"), ("127.0.0.1", "::1")
"""Every address of this machine, and those that no other machine reaches, of either kind."""


def addresses_for(host: str, dialled: str) -> tuple[str, ...]:
    """Return the addresses to listen on.

    Parameters
    ----------
    host : str
        ``--host``: addresses out of :data:`EVERYWHERE` and :data:`HERE`, comma-separated, or ``localhost``; a loopback
        that another covers is left out. Neutral: empty, for every address, and loopback alone where devices dial this
        machine itself.
    dialled : str
        What devices dial.

    Raises
    ------
    SettingsError
        One line, for another address: this machine's own processes would not find the server at it.
    """
    if not host:
        if not is_this_machine(dialled):
            return EVERYWHERE
        if dialled in HERE:
            return (dialled,)
        # This machine's own commands find the server at these; its certificate holds them.
        return HERE if dialled == "localhost" else (*HERE, dialled)
    if host == "localhost":
        return HERE
    found = tuple(dict.fromkeys(part.strip() for part in host.split(",")))
    wrong = [each for each in found if each not in EVERYWHERE + HERE]
    if wrong:
        raise SettingsError(
            f"--host {wrong[0]}: this machine's own commands reach the server at loopback; expected "
            f"{', '.join(EVERYWHERE + HERE)} or localhost, and a firewall for the rest"
        )
    every = {here: everywhere for everywhere, here in zip(EVERYWHERE, HERE, strict=True)}
    return tuple(each for each in found if every.get(each) not in found)


@contextmanager
def bound(addresses: Sequence[str], port: int, *, all_of_them: bool) -> Iterator[list[socket.socket]]:
    """Yield a bound socket an address; they are closed at the end.

    An IPv6 socket takes IPv6 alone: what it shows of a peer is then never an IPv4 address in another form.

    Parameters
    ----------
    addresses : sequence of str
    port : int
    all_of_them : bool
        Each was asked for by name. Otherwise a machine on which IPv6 is off goes on without, and says so.

    Raises
    ------
    SettingsError
        One line: IPv6 is off, or somebody has the port.
    """
    with ExitStack() as stack:
        sockets = []
        for address in _that_there_are(addresses, all_of_them):
            each = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
            if os.name == "posix":  # elsewhere it would let two servers have one port
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if each.family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                each.bind((address, port))
            except OSError as error:
                raise cannot_be_taken(address, port, error) from None
            sockets.append(each)
        yield sockets


def _that_there_are(addresses: Sequence[str], all_of_them: bool) -> Sequence[str]:
    without = [each for each in addresses if ":" not in each]
    if len(without) == len(addresses) or _ipv6_is_on():
        return addresses
    if all_of_them or not without:
        missing = next(each for each in addresses if ":" in each)
        raise SettingsError(
            f"IPv6 is off on this machine, so it has no {missing} (sysctl net.ipv6.conf.all.disable_ipv6); leave out "
            "--host, or give --host 0.0.0.0"
        )
    note("edgefed: IPv6 is off on this machine: serving over IPv4 alone")
    return without


def serving_on(sockets: Sequence[socket.socket]) -> type[uvicorn.Server]:
    """Return Uvicorn's server on bound sockets, in the place of the one address that Flower gives it.

    That address is where Flower's own processes find the server: it is one of the sockets'.

    Raises
    ------
    OSError
        When it is run: somebody else listens there since the socket was bound.
    """
    import uvicorn

    class Server(uvicorn.Server):
        def run(self, _: object = None) -> None:
            for each in sockets:  # uvloop would pass over one that cannot, and serve nobody there
                each.listen(self.config.backlog)
            super().run(list(sockets))

    return Server


def cannot_be_taken(address: str, port: int, error: OSError) -> SettingsError:
    """Return the line for a port that somebody has."""
    return SettingsError(
        f"port {port} of {address} cannot be taken ({error.strerror}): stop what has it, or provision with --port"
    )


def kinds(addresses: Sequence[str]) -> str:
    """Return which of IPv4 and IPv6 some addresses are, in words."""
    found = dict.fromkeys("IPv6" if ":" in address else "IPv4" for address in addresses)
    return " and ".join(found)


def _ipv6_is_on() -> bool:
    # Where it is switched off, :: can be bound all the same, and nobody reaches it.
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
