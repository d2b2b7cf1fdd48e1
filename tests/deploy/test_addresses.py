"""Names and addresses: how they are written where a port follows, which a server can have, which are loopback."""

import ipaddress

import pytest

from edgefed.deploy.addresses import is_loopback, is_this_machine, joined, server_name, split_address
from edgefed.errors import SettingsError


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("fl.lab.example", "fl.lab.example:8000"),
        ("192.168.1.20", "192.168.1.20:8000"),
        ("2001:db8::20", "[2001:db8::20]:8000"),
        ("::1", "[::1]:8000"),
    ],
)
def test_an_ipv6_address_is_in_brackets_where_a_port_follows(host, text):
    assert joined(host, 8000) == text
    assert split_address(text) == (host, 8000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2001:db8::20:8000", "an IPv6 address in brackets"),  # is the last part the port?
        ("::1:8000", "an IPv6 address in brackets"),
        ("[2001:db8::20]", "expected HOST:PORT"),
        ("[2001:db8::20:8000", "expected HOST:PORT"),
        ("fl.lab.example", "expected HOST:PORT"),
        ("fl.lab.example:0", "expected HOST:PORT"),
        ("fl.lab.example:65536", "expected HOST:PORT"),
        ("fl.lab.example:٨", "expected HOST:PORT"),
        (":8000", "expected HOST:PORT"),
        ("[]:8000", "expected HOST:PORT"),
        ("[fl.lab.example]:8000", "not an IPv6 address"),
        ("[2001:db8::g]:8000", "not an IPv6 address"),
        ("[fe80::1%eth0]:8000", r"a zone \(%eth0\) is a link of one machine"),
        ("[fe80::1]:8000", "a link-local address cannot be dialled"),
    ],
)
def test_what_is_no_host_and_port_is_refused(text, says):
    with pytest.raises(SettingsError, match=says) as caught:
        split_address(text)
    assert str(caught.value).startswith(f"'{text}': ")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fl.lab.example", "fl.lab.example"),
        ("Server", "server"),
        ("LocalHost", "localhost"),
        ("192.168.1.20", "192.168.1.20"),
        ("2001:DB8:0:0::20", "2001:db8::20"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("fd00::2", "fd00::2"),
    ],
)
def test_a_servers_address_is_taken_in_its_shortest_form(text, name):
    assert server_name(text) == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fe80::1%eth0", r"a zone \(%eth0\) .* no certificate holds it; give a name, or a global or unique local"),
        ("2001:db8::1%2", r"a zone \(%2\)"),
        ("fe80::1", "a link-local address cannot be dialled without the device's own link"),
        ("2001:db8:::1", "not an IPv6 address"),
        ("2001:db8::12345", "not an IPv6 address"),
        ("1:2:3", "not an IPv6 address"),
        ("[2001:db8::1]", "without brackets, and without port"),
        ("[2001:db8::1]:8000", "without brackets, and without port"),
        ("::ffff:192.168.1.20", "give 192.168.1.20"),
        ("::", "no device can dial it"),
        ("0.0.0.0", "no device can dial it"),
        ("ff02::1", "no device can dial it"),
        ("224.0.0.1", "no device can dial it"),
        ("192.168.1.300", "not an IPv4 address, and no host name ends in a number"),
        ("192.168.1", "not an IPv4 address"),
        ("192.168.1.20:8000", "without scheme and port"),
    ],
)
def test_an_address_that_no_device_can_dial_is_refused_in_one_line(text, says):
    with pytest.raises(SettingsError, match=says) as caught:
        server_name(text)
    assert str(caught.value).startswith(f"--server {text}: ")


LOCAL = ["127.0.0.1", "127.8.8.8", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:127.8.8.8"]
"""This machine: loopback of both kinds, and IPv4's as a socket of both kinds shows it."""
FOREIGN = [
    *("192.168.1.5", "10.0.0.1", "169.254.1.1", "0.0.0.0", "128.0.0.1", "126.255.255.255"),
    *("::ffff:192.168.1.5", "::ffff:0.0.0.0", "::ffff:128.0.0.1", "::ffff:169.254.1.1"),
    *("2001:db8::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fe80::7f00:1", "::", "::2", "1::", "::1:1", "ff02::1"),
    # Forms that hold 127.0.0.1 and are not it: IPv4-compatible, translated, NAT64, 6to4, Teredo, another prefix.
    *(
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "::fffe:127.0.0.1",
    ),
    # With a zone, which the kernel gives no loopback.
    *("::1%eth0", "::1%lo", "::ffff:127.0.0.1%eth0"),
    # What is no address of a peer: as gRPC writes them, with brackets or ports, other bases, space, nothing.
    *("ipv6:%5B::1%5D:1234", "ipv4:127.0.0.1:1234", "[::1]", "[::1]:80", "127.0.0.1:80", "%3a%3a1", "localhost"),
    *("127.1", "0177.0.0.1", "127.0.0.01", "2130706433", "0x7f000001", " 127.0.0.1", "::1 ", "127.0.0.1\n", "?", ""),
]


@pytest.mark.parametrize("address", LOCAL)
def test_loopback_of_both_kinds_is_this_machine(address):
    assert is_loopback(address)
    assert is_this_machine(address)


@pytest.mark.parametrize("address", FOREIGN)
def test_whatever_else_is_another_machine(address):
    assert not is_loopback(address)


def test_of_every_mapped_address_those_of_127_and_no_other_are_this_machine():
    for first in range(256):
        assert is_loopback(f"::ffff:{first}.0.0.1") == is_loopback(f"{first}.0.0.1") == (first == 127)
    for bit in range(128):  # ::1 with any one bit turned is another machine
        assert not is_loopback(str(ipaddress.IPv6Address(1 ^ (1 << bit))))


def test_a_name_of_this_machine_is_this_machine_to_who_dials_it_alone():
    assert is_this_machine("localhost")
    assert is_this_machine("LocalHost")
    assert not is_loopback("localhost")
    assert not is_this_machine("localhost.example")
