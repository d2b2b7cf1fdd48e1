"""A fence around what the open-source SuperLink does not protect: its control and runtime interfaces.

One port serves devices, the person who submits runs, and the processes of a run. Devices are known by their keys;
nobody else is: whoever reaches the port could register keys and submit code. So every request that is no device's is
answered on this machine alone.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Application = Callable[[Scope, Any, Any], Awaitable[None]]

log = logging.getLogger("edgefed")

FOR_ALL = ("/v1/fleet/", "/health")
"""What other machines may ask for: the devices' interface, where Flower checks keys, and whether anybody is there."""


class Fence:
    """ASGI middleware: requests from other machines reach :data:`FOR_ALL` and nothing else."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with 403."""
        path = str(scope.get("path", ""))
        if scope["type"] not in ("http", "websocket") or path.startswith(FOR_ALL) or _from_here(scope):
            await self.app(scope, receive, send)
            return
        log.warning("refused %s to %s: it is for this machine alone", path, (scope.get("client") or ("?",))[0])
        answer = PlainTextResponse("for the server's own machine alone\n", status_code=403)
        await answer(scope, receive, send)


def _from_here(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
