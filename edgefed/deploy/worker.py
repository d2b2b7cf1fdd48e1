"""A device's warm worker: answers messages in a process that has everything imported and its rows in memory.

Flower starts a process for each message, and importing torch is most of what that process does. With
``--isolation process`` a SuperNode starts none and leaves messages to whoever asks its local interface for them: here,
a thread beside it. It runs the ClientApp that is installed on the device; the bundle that comes with a run is not
unpacked, so no code from the network is ever executed here.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import torch
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from edgefed.federation.client_app import clients_of_node, make_client_app
from edgefed.federation.introduction import DATA_PATH

if TYPE_CHECKING:
    from flwr.app import Context

    from edgefed.federation.clients import Clients

log = logging.getLogger("edgefed")

APP = "edgefed/edgefed"
"""The only app that a device runs."""
LOOK_EVERY = 30.0
"""Seconds between two looks for a message that nobody has announced. Rare, since one that is still on its way costs a
second of Flower's patience."""
ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class KeptClients:
    """Finds a context's client, and keeps it for as long as settings and file stay what they are."""

    def __init__(self) -> None:
        self._kept: tuple[Any, Clients] | None = None

    def __call__(self, context: Context) -> Clients:
        """Return the context's client."""
        key = (sorted(context.run_config.items()), sorted(context.node_config.items()), _stamp(context))
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, clients_of_node(context))
        return self._kept[1]


def _stamp(context: Context) -> tuple[int, int] | None:
    """Return what changes when somebody writes to the device's file."""
    if DATA_PATH not in context.node_config:
        return None
    with contextlib.suppress(OSError):
        found = Path(str(context.node_config[DATA_PATH])).stat()
        return found.st_mtime_ns, found.st_size
    return None


class Worker(threading.Thread):
    """Answers a SuperNode's messages, one after the other.

    Parameters
    ----------
    address : str
        The SuperNode's local interface, ``127.0.0.1:PORT``.
    secret : bytes
        Shared with the SuperNode: no other process of this machine is given its messages.
    arrived : threading.Event
        Set when the SuperNode holds a message.
    answered : threading.Event
        Set here when its reply is there.
    """

    def __init__(self, address: str, secret: bytes, arrived: threading.Event, answered: threading.Event) -> None:
        super().__init__(name="edgefed-worker", daemon=True)
        self.address = address
        self.arrived = arrived
        self.answered = answered
        self.app = make_client_app(KeptClients())
        self._stop_asked = False
        self._client = self._connected(SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={ACQUIRE}))

    def _connected(self, *interceptors: Any) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=True,  # it does not leave this machine
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="edgefed"), *interceptors],
            retry_invoker=_retries(),
        )

    def stop(self) -> None:
        """Take no further message."""
        self._stop_asked = True
        self.arrived.set()

    def run(self) -> None:
        """Answer messages until :meth:`stop`."""
        torch.set_num_threads(1)  # a device's matrices are too small to share out
        while not self._stop_asked:
            self.arrived.wait(LOOK_EVERY)
            self.arrived.clear()
            try:
                while not self._stop_asked and (token := self._acquired()):
                    self._answer(token)
            except Exception:
                if not self._stop_asked:
                    log.exception("the SuperNode's local interface does not answer; looking again")

    def _acquired(self) -> str:
        """Return the token of a waiting message; empty text where there is none."""
        found = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        return str(found.token) if found.HasField("task") and found.token else ""

    def _answer(self, token: str) -> None:
        client = self._connected(RuntimeTokenHttpInterceptor(token))
        heartbeat = HeartbeatSender(lambda: _beat(client))
        heartbeat.start()
        context, problem = None, "no message came with the task"
        try:
            message, context, run, _ = pull_task_input(client)
            reply, problem = self._reply(message, context, run.fab_id)
            push_message(client, reply, context)
        finally:
            # First: its token is worth nothing once the task has ended, and a beat may come late on a busy device.
            with contextlib.suppress(RuntimeError):
                heartbeat.stop()
            status = SubStatus.FAILED if problem else SubStatus.COMPLETED
            try:
                push_task_output(client, context, status, problem)
            finally:  # of a run that was stopped nothing is taken any more
                client.close()
                self.answered.set()

    def _reply(self, message: Message, context: Context, app: str) -> tuple[Message, str]:
        """Return the reply and, where it is an error, what the server is told of it in one line.

        An exception's text may quote a row or name a file: it goes into the device's own log alone.
        """
        try:
            if app == APP:
                return self.app(message, context), ""
            line = told = f"PermissionError: this device runs {APP} alone, the server sent {app}"
        except Exception as error:
            name = type(error).__name__
            line = f"{name}: {' '.join(str(error).split())}"
            told = f"{name}: {getattr(error, 'told', '') or 'the log of the device says more'}"
        log.error("%s of round %s: %s", message.metadata.message_type, message.metadata.group_id or "-", line)
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, told), reply_to=message), told


def _retries() -> RetryInvoker:
    """Return how Flower tries again, but that a token which is refused is an error, and no reason to end this process.

    It is refused where its task has ended, as that of a run does which was stopped: the device goes on to the next.
    """
    found = make_simple_http_retry_invoker()
    give_up = found.should_giveup

    def gives_up(error: Exception) -> bool:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.UNAUTHORIZED:
            return True
        return give_up is not None and give_up(error)

    found.should_giveup = gives_up
    return found


def _beat(client: RuntimeHttpClient) -> bool:
    try:
        return bool(client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)
    except httpx.HTTPError:
        return False
