"""A server's process, in parts: where its own machine finds it, and what it says of what it does not serve."""

import pytest

from edgefed.deploy.listening import EVERYWHERE, HERE
from edgefed.deploy.provision import provision
from edgefed.deploy.superlink import _for_flowers_command, _tell_of_other_kind


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        (EVERYWHERE, "127.0.0.1"),
        (HERE, "127.0.0.1"),
        (("::",), "::1"),
        (("::1",), "::1"),
        (("::", "127.0.0.1"), "127.0.0.1"),
    ],
)
def test_this_machines_commands_find_the_server_at_a_loopback_that_it_serves(tmp_path, addresses, found):
    deployment = provision(tmp_path / "lab", ["fl.lab.example"], 1)
    assert deployment.loopback == "127.0.0.1"
    _for_flowers_command(deployment, deployment.server.resolve(), addresses, insecure=False)
    assert deployment.loopback == found
    assert str(deployment.server.resolve() / "ca.crt") in deployment.flowers_file.read_text()


@pytest.mark.parametrize(
    ("dialled", "served", "said"),
    [
        ("2001:db8::20", "IPv4", "edgefed: devices dial 2001:db8::20, and this serves IPv4 alone: they need a relay"),
        ("192.168.1.20", "IPv6", "edgefed: devices dial 192.168.1.20, and this serves IPv6 alone: they need a relay"),
        ("2001:db8::20", "IPv4 and IPv6", ""),
        ("192.168.1.20", "IPv4", ""),
        ("fl.lab.example", "IPv6", ""),
    ],
)
def test_devices_that_dial_an_address_of_the_other_kind_are_spoken_of(capsys, dialled, served, said):
    _tell_of_other_kind(dialled, served)
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert bool(err) == bool(said)
