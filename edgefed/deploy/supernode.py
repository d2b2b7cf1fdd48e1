"""A device's process: Flower's SuperNode, and the warm worker beside it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.data.device_file import last_column
from edgefed.deploy.addresses import is_this_machine
from edgefed.deploy.certificates import make_device_key
from edgefed.deploy.dialling import Dialling
from edgefed.deploy.folder import DeviceIdentity
from edgefed.deploy.handshake import HandshakeError, UnreachableError, shake_hands
from edgefed.deploy.in_hand import InHand
from edgefed.deploy.logs import keep_logs, keep_output
from edgefed.errors import FederationError, SettingsError, shown
from edgefed.federation.introduction import DATA_PATH, DEVICE_NAME, LABEL
from edgefed.federation.terms import FILE, TERMS
from edgefed.federation.terms_file import read_terms
from edgefed.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgefed.deploy.worker import Worker

log = logging.getLogger("edgefed")

TRY_AGAIN = 2.0
"""Seconds until a server that did not answer is tried again."""
JOIN_AGAIN, JOINED_BEFORE = 5.0, "EDGEFED_JOINED_BEFORE"
"""Seconds until a device that is not taken at once joins again; the variable that tells it why it does."""
FORGOTTEN = "the server was started again and has forgotten who is there"
COUNTED = "the server counts it as connected from before, for another minute"
BROKEN = "the connection to the server broke"
LONGEST_BACKOFF = 4.0
"""Seconds between two tries to reach a server that is away. Flower's 20 are many rounds of small models."""
GRACE = 3.0
"""Seconds that a server which has just come up is given to register its keys."""
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
IDLE, QUICK, PATIENT = 1.0, 0.1, 10.0
"""Flower sleeps longer than IDLE seconds only where it has nothing to do; a look at the server after QUICK seconds, or
after a PATIENT-th of the time since the last message."""


@dataclass(frozen=True)
class Start:
    """How a device is started.

    Attributes
    ----------
    folder : Path
        The device's own, from provisioning.
    data : Path
        Its rows.
    insecure, on_network : bool
        Plain text; over a network too, where anybody can read and change what passes.
    label : str
        Its label column. Neutral: the last one.
    """

    folder: Path
    data: Path
    insecure: bool = False
    on_network: bool = False
    label: str = ""


class Pace:
    """Stands in for ``time`` in the SuperNode's loop, which sleeps three seconds whenever it finds no message.

    While a run is under way the server is looked at sooner: the longer nothing has come, the less often, and never
    less often than Flower itself does. While the SuperNode waits for a reply, the worker is told at once and tells
    back at once.
    """

    def __init__(self) -> None:
        self.arrived, self.answered = threading.Event(), threading.Event()
        self._last = -float("inf")

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or less."""
        if seconds < IDLE:  # it holds a message and waits for the worker's reply
            self._last = time.monotonic()
            self.arrived.set()
            self.answered.wait(seconds)
            self.answered.clear()
        else:
            time.sleep(min(seconds, max(QUICK, (time.monotonic() - self._last) / PATIENT)))


class Dismissal:
    """Stands in for ``os`` where the SuperNode stops itself, since the server does not know it any more.

    A server that was started again has forgotten all nodes, and knows their keys: the device joins again, or is told
    that its key was revoked.
    """

    def __init__(self) -> None:
        self.came = False
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def kill(self, process: int, number: int) -> None:
        """Write it down, and do it once.

        Its heartbeat and its loop each find that they are not known; a second signal would count as a person's Ctrl-C
        while the first one ends Flower's node in order.
        """
        with self._lock:
            first, self.came = not self.came, True
        if first:
            os.kill(process, number)


def run_device(start: Start) -> None:
    """Take part until stopped: connect, and answer the server's messages.

    Raises
    ------
    SettingsError
        One line, for what a person has to mend on the device.
    FederationError
        One line, for why the server does not take it.
    """
    identity = DeviceIdentity.read(start.folder)
    data = start.data.expanduser().resolve()
    if '"' in str(data):
        raise SettingsError(f"--data {start.data}: Flower cannot take a path that holds a double quote: rename it")
    if not data.is_file():
        raise SettingsError(f"--data {start.data}: no such file; expected this device's rows as CSV")
    label = start.label or last_column(data)
    if '"' in label:
        raise SettingsError(f"label column {shown(label)}: Flower cannot take a double quote: rename it")
    terms = _terms(start.folder.resolve())
    authority = _authority(start, identity)
    if authority is not None and not (start.folder / "device.key").is_file():
        make_device_key(start.folder)
        raise FederationError(_bring_key(start.folder, identity))
    if (again := os.environ.pop(JOINED_BEFORE, "")) == COUNTED:
        time.sleep(JOIN_AGAIN)
    _dial_past_dead_addresses()
    _wait_for_server(identity, authority, start.folder / "device.key")
    os.environ.update(QUIET)
    path, last_error = keep_logs(start.folder, identity.name)
    if not again:
        under = f"under the terms of {terms}" if terms else f"without terms of its own ({FILE})"
        note(f"edgefed: {identity.name} joins {identity.server} with {data}, {under}; log: {path}")
    terminal = keep_output(start.folder, identity.name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # Flower's threads may still write
        os.environ["FLWR_HOME"] = temporary  # nothing is kept there: the app is the installed one
        secret = Path(temporary) / "secret"
        secret.write_bytes(secrets.token_bytes(32))
        port = _free_port()
        pace, dismissal = Pace(), Dismissal()
        worker = _worker(f"127.0.0.1:{port}", secret.read_bytes(), pace)
        arguments = _arguments(start, identity, data, label, authority, port, secret)
        try:
            _supernode(arguments, pace, dismissal, worker.start)
            why = BROKEN  # Flower's node ends by an exit, but for this
        except SystemExit as stop:
            if stop.code and "activat" not in last_error.message.lower():
                raise FederationError(_in_words(last_error.message, identity)) from None
            # Its key is known, so it counts as connected from before, until the server has missed its heartbeats.
            why = COUNTED if stop.code else FORGOTTEN if dismissal.came else ""
        finally:
            worker.stop()
            os.dup2(terminal.fileno(), 2)
            terminal.close()
    if why:
        log.warning("%s: %s joins again", why, identity.name)
        # At once: Flower has begun to end this process, and does so within seconds.
        os.environ[JOINED_BEFORE] = why
        os.execv(sys.executable, [sys.executable, "-P", "-m", "edgefed", *_same_again(start)])


def _same_again(start: Start) -> list[str]:
    options = ["--insecure"] * start.insecure + ["--on-network"] * start.on_network
    options += ["--label", start.label] * bool(start.label)
    return ["launch-device", str(start.folder), "--data", str(start.data), *options]


def _terms(folder: Path) -> Path | None:
    """Return the file of the device's terms, which can be read; None where it has none."""
    path = folder / FILE
    if not os.path.lexists(path):  # a link to nothing is no lack of terms
        return None
    if '"' in str(path):
        raise SettingsError(f"{path}: Flower cannot take a path that holds a double quote: rename the folder")
    read_terms(path).given()
    return path


def _authority(start: Start, identity: DeviceIdentity) -> Path | None:
    """Return the certificate by which the server is known; None in the clear, where that is allowed."""
    if start.insecure:
        if not is_this_machine(identity.host) and not start.on_network:
            raise SettingsError(
                f"--insecure sends weights in the clear to {identity.host}, which is another machine: "
                "leave it out, or say --on-network as well"
            )
        return None
    authority = start.folder / "ca.crt"
    if not authority.is_file():
        raise SettingsError(f"{authority}: no such file; copy the device's folder from the server again")
    return authority


def _bring_key(folder: Path, identity: DeviceIdentity) -> str:
    return (
        f"{identity.name} has made its key; bring {folder / 'device.pub'} to the server and run there: "
        f"edgefed provision --out FOLDER --public-key device.pub --device {identity.name}; then start this again"
    )


def _dial_past_dead_addresses() -> None:
    from httpcore._backends import sync

    vars(sync)["socket"] = Dialling()


def _wait_for_server(identity: DeviceIdentity, authority: Path | None, key: Path) -> None:
    """Wait until the server answers, and refuse what waiting does not mend."""
    from edgefed.deploy.admission import key_is_known

    said, grace = "", 0.0
    while True:
        try:
            shake_hands(identity.host, identity.port, authority)
            if authority is None or key_is_known(identity.server, authority, key):
                return
            grace = grace or time.monotonic() + GRACE
            if time.monotonic() > grace:
                raise FederationError(
                    f"the server does not know the key of {identity.name}: it was revoked (then remove device.key and "
                    "device.pub and start again, which makes a new one), or never registered; for a key that is not "
                    f"revoked, on the server: edgefed provision --out FOLDER --public-key device.pub "
                    f"--device {identity.name}"
                )
            time.sleep(GRACE / 4)
        except HandshakeError as error:
            raise FederationError(str(error)) from None
        except UnreachableError as error:
            if str(error) != said:
                said = str(error)
                note(f"edgefed: {said}; trying again every {TRY_AGAIN:g} s")
            time.sleep(TRY_AGAIN)


def _arguments(
    start: Start, identity: DeviceIdentity, data: Path, label: str, authority: Path | None, port: int, secret: Path
) -> list[str]:
    """Return the command line of ``flower-supernode``."""
    said = {DATA_PATH: str(data), DEVICE_NAME: identity.name, LABEL: label}
    if (terms := _terms(start.folder.resolve())) is not None:
        said[TERMS] = str(terms)
    quoted = (f'{key}="{value}"'.replace("\\", "\\\\") for key, value in said.items())
    node_config = " ".join([f"partition-id={identity.partition_id}", *quoted])
    trust = (
        ["--insecure"]
        if authority is None
        else ["--root-certificates", str(authority), "--auth-supernode-private-key", str(start.folder / "device.key")]
    )
    return [
        *("--superlink", identity.server, *trust, "--node-config", node_config),
        *("--isolation", "process", "--host", "127.0.0.1", "--port", str(port)),
        *("--superexec-auth-secret-file", str(secret)),
    ]


def _worker(address: str, secret: bytes, pace: Pace) -> Worker:
    from edgefed.deploy.worker import Worker  # torch: not before the server has answered

    return Worker(address, secret, pace.arrived, pace.answered)


def _supernode(arguments: list[str], pace: Pace, dismissal: Dismissal, ready: Callable[[], None]) -> None:
    """Run Flower's own ``flower-supernode`` in this process, until it ends."""
    import flwr.supercore.retry.http_retry as retry
    import flwr.supernode.fleet_http_connection as connection
    import flwr.supernode.start_client_internal as loop
    from flwr.supernode.cli.flower_supernode import flower_supernode

    hand = InHand()
    vars(loop)["time"] = pace
    vars(loop)["_pull_and_store_message"] = hand.pulling(loop._pull_and_store_message)
    vars(loop)["_push_messages"] = hand.pushing(loop._push_messages)
    vars(retry)["MAX_RETRY_DELAY"] = LONGEST_BACKOFF
    vars(connection)["os"] = vars(retry)["os"] = dismissal
    sys.argv = ["flower-supernode", *arguments]
    ready()
    flower_supernode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _in_words(message: str, identity: DeviceIdentity) -> str:
    """Return why Flower's SuperNode ended, in one line that says what to do."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exit Code", "For more information"))]
    return f"{identity.name} stopped: {' '.join(told) or 'no reason given; see its log'}"
