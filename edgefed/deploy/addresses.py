"""Host names and addresses of both kinds: how they are written, and which of them are this machine's own."""

from __future__ import annotations

import ipaddress
import re

from edgefed.errors import SettingsError

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"


def joined(host: str, port: int) -> str:
    """Return ``HOST:PORT``, an IPv6 address in brackets (RFC 3986)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``.

    Raises
    ------
    SettingsError
        Where it is no such text: an IPv6 address without brackets, or with a zone, among them.
    """
    parts = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([0-9]{1,5})", text)
    if parts is None or not 0 < int(parts[3]) < 65536:
        raise SettingsError(f"'{text}': expected HOST:PORT, an IPv6 address in brackets ([2001:db8::20]:8000)")
    if parts[1]:
        _ipv6(parts[1], f"'{text}'")
    return parts[1] or parts[2], int(parts[3])


def server_name(text: str, where: str = "") -> str:
    """Return a server's host name in small letters, or its address in its shortest form (RFC 5952).

    A name is labels of 1 to 63 characters, 253 in all (RFC 1123), the last of which is no number.

    Parameters
    ----------
    text : str
    where : str
        What a mistake is told of. Neutral: empty, for ``--server``.

    Raises
    ------
    SettingsError
        One line, where it is neither, or an address that no other machine could dial.
    """
    where = where or f"--server {text}"
    if text.startswith("[") or text.count(":") > 1:
        if "[" in text or "]" in text:
            raise SettingsError(f"{where}: expected an IPv6 address without brackets, and without port (--port)")
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = _ipv6(text, where)
    else:
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            if len(text) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text):
                raise SettingsError(
                    f"{where}: expected a host name or an address, without scheme and port (--port)"
                ) from None
            if text.rpartition(".")[2].isdigit():
                raise SettingsError(f"{where}: not an IPv4 address, and no host name ends in a number") from None
            return text.lower()
    if found.is_unspecified or found.is_multicast:
        raise SettingsError(f"{where}: no device can dial it; give an address of the server's own")
    return str(found)


def _ipv6(text: str, where: str) -> ipaddress.IPv6Address:
    """Return an IPv6 address that is good on more than one link.

    Raises
    ------
    SettingsError
        One line, for what is none, has a zone, is link-local, or is an IPv4 address in disguise.
    """
    if "%" in text:
        raise SettingsError(
            f"{where}: a zone ({text[text.index('%') :]}) is a link of one machine, and no certificate holds it; give "
            "a name, or a global or unique local (fd00::/8) address without zone"
        )
    try:
        found = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise SettingsError(f"{where}: not an IPv6 address ({error})") from None
    if found.is_link_local:
        raise SettingsError(
            f"{where}: a link-local address cannot be dialled without the device's own link; give a name, or a global "
            "or unique local (fd00::/8) address"
        )
    if found.ipv4_mapped is not None:
        raise SettingsError(f"{where}: an IPv4 address in IPv6's clothes; give {found.ipv4_mapped}")
    return found


def is_loopback(address: str) -> bool:
    """Return whether an address, as a socket shows its peer's, is this machine's loopback.

    A socket that takes both kinds shows an IPv4 peer mapped, ``::ffff:127.0.0.1``, which not every Python's
    ``is_loopback`` sees through. What is no address, or has a zone, as loopback never has, is not.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        return (found.ipv4_mapped or found).is_loopback
    return found.is_loopback


def is_this_machine(host: str) -> bool:
    """Return whether a name or an address means the machine that dials it."""
    return host.lower() == "localhost" or is_loopback(host)
