"""A fence around what the open-source SuperLink does not protect: its control and runtime interfaces.

One port serves devices, the person who submits runs, and the processes of a run. Devices are known by their keys;
nobody else is: whoever reaches the port could register keys and submit code. So every request that is no device's is
answered on this machine alone.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse

from edgefed.deploy.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Application = Callable[[Scope, Any, Any], Awaitable[None]]

log = logging.getLogger("edgefed")

FOR_ALL = ("/v1/fleet/", "/health")
"""What other machines may ask for: the devices' interface, where Flower checks keys, and whether anybody is there."""
FORWARDED = frozenset({b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip"})
"""Headers of a request that something on the way has passed on, from wherever."""
TELL_EVERY, MOST_OF_PATH = 1.0, 200
"""Seconds between two lines on refused requests, and characters of a path in one: strangers must not fill the disk."""


class Fence:
    """ASGI middleware: requests from other machines reach :data:`FOR_ALL` and nothing else."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self._told, self._untold = -TELL_EVERY, 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with 403."""
        path = str(scope.get("path", ""))
        if scope["type"] not in ("http", "websocket") or path.startswith(FOR_ALL) or _from_here(scope):
            await self.app(scope, receive, send)
            return
        if (now := time.monotonic()) - self._told >= TELL_EVERY:
            more = f" ({self._untold} more since the last line)" if self._untold else ""
            who = (scope.get("client") or ("?",))[0]
            log.warning("refused %s to %s: it is for this machine alone%s", path[:MOST_OF_PATH], who, more)
            self._told, self._untold = now, 0
        else:
            self._untold += 1
        answer = PlainTextResponse("for the server's own machine alone\n", status_code=403)
        await answer(scope, receive, send)


def _from_here(scope: Scope) -> bool:
    client = scope.get("client")
    if any(name.lower() in FORWARDED for name, _ in scope.get("headers", ())):
        return False
    return client is not None and is_loopback(client[0])
