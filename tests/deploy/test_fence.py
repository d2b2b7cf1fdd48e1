"""The fence: another machine reaches the devices' interface and nothing else."""

import asyncio

import httpx
import pytest
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


@pytest.mark.parametrize("here", ["127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_reaches_everything(application, here):
    assert [answer.text for answer in asked(application, here)] == ["inside"] * len(PATHS)


@pytest.mark.parametrize("there", ["192.168.1.7", "10.0.0.1", "2001:db8::1", "?"])
def test_another_machine_reaches_what_devices_need(application, there):
    answers = asked(application, there)
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403, 403, 403]
    assert answers[2].text == "for the server's own machine alone\n"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "forwarded", "via", "x-real-ip"])
def test_what_a_proxy_on_this_machine_passes_on_is_another_machines(application, header):
    answers = asked(application, "127.0.0.1", {header: "127.0.0.1"})
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403, 403, 403]


def test_strangers_cannot_fill_the_log(application, caplog):
    asked(application, "10.0.0.1", paths=["/" + "a" * 5000] * 300)
    lines = [record.getMessage() for record in caplog.records if record.name == "edgefed"]
    assert 1 <= len(lines) < 30
    assert max(map(len, lines)) < 350
