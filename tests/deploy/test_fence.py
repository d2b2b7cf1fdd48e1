"""The fence: another machine reaches the devices' interface and nothing else."""

import asyncio
import socket
import threading
from contextlib import closing

import httpx
import pytest
import uvicorn
from processes import address_of_this_machine, ipv6
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from edgefed.deploy.fence import Fence

PATHS = ("/v1/fleet/pull-messages", "/health", "/v1/control/start-run", "/v1/runtime/get-nodes", "/docs", "/v1/fleet")


@pytest.fixture
def application():
    routes = [Route(path, lambda request: PlainTextResponse("inside")) for path in PATHS]
    return Fence(Starlette(routes=routes))


def asked(application, host, headers=None, paths=PATHS):
    """Ask for every path as a machine of this address would; return the answers."""

    async def ask():
        transport = httpx.ASGITransport(application, client=(host, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return [await client.get(path, headers=headers) for path in paths]

    return asyncio.run(ask())


@pytest.mark.parametrize("here", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_reaches_everything(application, here):
    assert [answer.text for answer in asked(application, here)] == ["inside"] * len(PATHS)


@pytest.mark.parametrize(
    "there",
    [
        *("192.168.1.7", "10.0.0.1", "2001:db8::1", "fd00::2", "fe80::1%eth0", "::ffff:192.168.1.5", "::127.0.0.1"),
        *("::1%eth0", "ipv6:%5B::1%5D:1234", "[::1]", "?"),
    ],
)
def test_another_machine_reaches_what_devices_need(application, there):
    answers = asked(application, there)
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403, 403, 403]
    assert answers[2].text == "for the server's own machine alone\n"


@pytest.mark.parametrize("here", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("header", ["X-Forwarded-For", "forwarded", "via", "x-real-ip"])
def test_what_a_proxy_on_this_machine_passes_on_is_another_machines(application, header, here):
    answers = asked(application, here, {header: here})
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403, 403, 403]


def test_strangers_cannot_fill_the_log(application, caplog):
    asked(application, "10.0.0.1", paths=["/" + "a" * 5000] * 300)
    lines = [record.getMessage() for record in caplog.records if record.name == "edgefed"]
    assert 1 <= len(lines) < 30
    assert max(map(len, lines)) < 350


@ipv6
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Uvicorn's choice of a WebSocket protocol
def test_peers_of_a_socket_that_takes_both_kinds_are_told_apart_by_real_requests(application):
    """On such a socket IPv4 peers are shown mapped; our own server has a socket a kind."""
    with closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(application, log_level="critical", lifespan="off", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        found = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            for host in ("::1" if family == socket.AF_INET6 else "127.0.0.1", address_of_this_machine(family)):
                if host is not None:
                    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
                    with httpx.Client(verify=False) as client:
                        found[host] = [client.get(where + path).status_code for path in PATHS]
        server.should_exit = True
        thread.join()
    assert found.pop("127.0.0.1") == found.pop("::1") == [200] * 6
    assert list(found.values()) == [[200, 200, 403, 403, 403, 403]] * len(found)
