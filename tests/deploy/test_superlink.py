"""A server's process, in parts: where its own machine finds it, and what it says of what it does not serve."""

import pytest
from processes import free_port

from edgefed.deploy.listening import EVERYWHERE, HERE
from edgefed.deploy.provision import provision
from edgefed.deploy.superlink import Serve, _for_flowers_command, _tell_of_other_kind, run_server
from edgefed.errors import SettingsError
from edgefed.lock import only_writer


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


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("server.crt", b"garbage", "cannot be used (not a certificate); edgefed provision --out FOLDER --renew makes"),
        (
            "server.key",
            b"garbage",
            "cannot be used (not the key of server.crt); edgefed provision --out FOLDER --renew",
        ),
        ("ca.crt", b"garbage", "cannot be used (not a certificate); copy the deployment's ca/ca.crt there again"),
        ("server.crt", None, "no such file; edgefed provision --out FOLDER --renew makes it again"),
        ("server.key", None, "no such file; edgefed provision --out FOLDER --renew makes it again"),
        ("ca.crt", None, "no such file; copy the deployment's ca/ca.crt there again"),
    ],
)
def test_a_broken_file_of_the_servers_is_named_with_what_mends_it(tmp_path, name, content, says):
    path = provision(tmp_path / "lab", ["127.0.0.1"], 1, port=free_port()).server / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        run_server(Serve(tmp_path / "lab"))
    assert str(caught.value).startswith(f"{path.resolve()}: {says}")


def test_a_deployment_has_one_server_wherever_the_second_one_would_listen(tmp_path):
    deployment = provision(tmp_path / "lab", ["fl.lab.example"], 1, port=free_port())
    with only_writer(deployment.server), pytest.raises(SettingsError, match="a deployment has one server: stop that"):
        run_server(Serve(tmp_path / "lab", "127.0.0.1"))
