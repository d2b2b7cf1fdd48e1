"""Where a server listens: both kinds of addresses, one or the other, and what it says where IPv6 is off."""

import socket
import threading

import httpx
import pytest
import uvicorn
from processes import free_port, ipv6

from edgefed.deploy import listening
from edgefed.deploy.listening import EVERYWHERE, HERE, addresses_for, bound, kinds, serving_on
from edgefed.deploy.provision import provision
from edgefed.deploy.superlink import _for_flowers_command
from edgefed.errors import SettingsError


@pytest.mark.parametrize(
    ("host", "dialled", "addresses"),
    [
        ("", "fl.lab.example", EVERYWHERE),
        ("", "192.168.1.20", EVERYWHERE),
        ("", "2001:db8::20", EVERYWHERE),
        ("", "localhost", HERE),
        ("", "127.0.0.1", ("127.0.0.1",)),
        ("", "::1", ("::1",)),
        ("", "127.0.1.1", (*HERE, "127.0.1.1")),
        ("0.0.0.0", "fl.lab.example", ("0.0.0.0",)),
        ("::", "fl.lab.example", ("::",)),
        ("127.0.0.1", "fl.lab.example", ("127.0.0.1",)),
        ("::1", "127.0.0.1", ("::1",)),
        ("localhost", "fl.lab.example", HERE),
        ("0.0.0.0, ::", "127.0.0.1", EVERYWHERE),
        ("::,::", "127.0.0.1", ("::",)),
        ("0.0.0.0,127.0.0.1", "fl.lab.example", ("0.0.0.0",)),
        ("::1,::", "fl.lab.example", ("::",)),
        ("::,127.0.0.1", "fl.lab.example", ("::", "127.0.0.1")),
        ("::1,127.0.0.1,0.0.0.0,::", "fl.lab.example", EVERYWHERE),
    ],
)
def test_a_server_listens_on_both_kinds_unless_it_is_narrowed(host, dialled, addresses):
    assert addresses_for(host, dialled) == addresses


@pytest.mark.parametrize("host", ["192.168.1.7", "fl.lab.example", "fe80::1%eth0", "2001:db8::1", "0.0.0.0,", "[::1]"])
def test_an_address_at_which_this_machines_commands_would_not_find_it_is_refused(host):
    with pytest.raises(SettingsError, match=r"--host .*: this machine's own commands reach the server at loopback"):
        addresses_for(host, "fl.lab.example")


def test_where_ipv6_is_off_it_goes_on_over_ipv4_and_says_so_once(monkeypatch, capsys):
    monkeypatch.setattr(listening, "_ipv6_is_on", lambda: False)
    port = free_port()
    with bound(EVERYWHERE, port, all_of_them=False) as sockets:
        assert [each.getsockname()[:2] for each in sockets] == [("0.0.0.0", port)]
    assert capsys.readouterr().err == "edgefed: IPv6 is off on this machine: serving over IPv4 alone\n"
    with bound(["127.0.0.1"], port, all_of_them=True) as sockets:
        assert len(sockets) == 1
    for addresses, asked in ((["::1"], True), (["::1"], False), (EVERYWHERE, True)):
        with pytest.raises(SettingsError, match="IPv6 is off on this machine, so it has no ::"):
            bound(addresses, port, all_of_them=asked).__enter__()
    assert capsys.readouterr().err == ""


def test_this_machines_commands_find_a_server_that_devices_dial_at_another_loopback_address(tmp_path):
    deployment = provision(tmp_path / "lab", ["127.0.1.1"], 1, port=free_port())
    with bound(addresses_for("", "127.0.1.1"), deployment.port, all_of_them=False) as sockets:
        addresses = [each.getsockname()[0] for each in sockets]
        _for_flowers_command(deployment, deployment.server.resolve(), addresses, insecure=False)
        for each in sockets:
            each.listen()
        for host in (deployment.loopback, "127.0.1.1"):
            socket.create_connection((host, deployment.port), 10).close()


@ipv6
def test_each_kind_has_a_socket_of_its_own_and_no_peer_is_shown_in_another_form():
    port = free_port()
    with bound(EVERYWHERE, port, all_of_them=True) as sockets:
        for each, (own, other) in zip(sockets, (HERE, HERE[::-1]), strict=True):
            each.listen()
            each.settimeout(10)
            with socket.create_connection((own, port), 10), each.accept()[0] as far:
                assert far.getpeername()[0] == own
            if each is sockets[0]:
                with pytest.raises(ConnectionRefusedError):  # the other is bound, and listens not yet
                    socket.create_connection((other, port), 10)
        with pytest.raises(SettingsError, match=rf"port {port} of :: cannot be taken \(Address already in use\)"):
            bound(["::"], port, all_of_them=True).__enter__()
    assert all(each.fileno() == -1 for each in sockets)


async def peer(scope, receive, send):
    """Answer with the address that the request is from."""
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@ipv6
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Uvicorn's choice of a WebSocket protocol
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_server_answers_on_all_of_its_sockets_or_not_at_all(loop):
    port = free_port()
    config = uvicorn.Config(peer, log_level="critical", lifespan="off", loop=loop)
    with bound(EVERYWHERE, port, all_of_them=True) as sockets:
        server = serving_on(sockets)(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        with httpx.Client(verify=False, transport=httpx.HTTPTransport(retries=5)) as client:
            for host in HERE:
                where = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
                assert client.get(where).text == host
        server.should_exit = True
        thread.join()
    with bound(EVERYWHERE, port, all_of_them=True) as sockets, socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", port))
        other.listen()  # since the server has bound its own
        with pytest.raises(OSError, match="in use"):
            serving_on(sockets)(config).run()


def test_which_kinds_some_addresses_are():
    assert [kinds(addresses) for addresses in (EVERYWHERE, ("::1",), ("127.0.0.1",))] == [
        "IPv4 and IPv6",
        "IPv6",
        "IPv4",
    ]
