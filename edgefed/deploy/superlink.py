"""The server's process: Flower's SuperLink, fenced, and the keys that it knows kept as the deployment's folder says."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgefed.deploy.addresses import is_loopback, joined
from edgefed.deploy.certificates import as_flower_keeps_it, check_server_files
from edgefed.deploy.ending import ending_the_superexec
from edgefed.deploy.folder import Deployment
from edgefed.deploy.instructions import states
from edgefed.deploy.listening import addresses_for, bound, cannot_be_taken, kinds, serving_on
from edgefed.deploy.logs import keep_logs, keep_output
from edgefed.errors import FederationError, SettingsError
from edgefed.federation.places import FILE, Places
from edgefed.lock import only_writer
from edgefed.schema import as_toml
from edgefed.terminal import note

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from edgefed.deploy.control import Control

log = logging.getLogger("edgefed")

LOOK_EVERY, TRY_AGAIN = 1.0, 0.2
"""Seconds between two looks at the deployment's file, and until a look that failed is made again."""
PATIENCE = 30.0
"""Seconds after which looks that fail are told of."""
SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
    # Uvicorn would take a stranger's X-Forwarded-For for its address.
    "FORWARDED_ALLOW_IPS": "127.0.0.1,::1",
}


@dataclass(frozen=True)
class Serve:
    """How a server is started.

    Attributes
    ----------
    folder : Path
        The deployment's.
    host : str
        The addresses to listen on (:func:`addresses_for`); empty: this machine alone where devices dial this machine,
        else every address, IPv4 and IPv6.
    insecure, on_network : bool
        Plain text and no keys; over a network too, where anybody can take part and read what passes.
    """

    folder: Path
    host: str = ""
    insecure: bool = False
    on_network: bool = False


def run_server(serve: Serve) -> None:
    """Serve until stopped.

    Raises
    ------
    SettingsError, FederationError
        One line: what is missing, or who has the port.
    """
    deployment = Deployment.read(serve.folder)
    home, port = deployment.server.resolve(), deployment.port
    addresses = addresses_for(serve.host, deployment.names[0])
    if serve.insecure and not all(map(is_loopback, addresses)) and not serve.on_network:
        raise SettingsError(
            f"--insecure lets anybody who reaches {' or '.join(addresses)} take part and read what passes: leave it "
            "out, use --host localhost, or say --on-network as well"
        )
    if not serve.insecure:
        check_server_files(home)
    with (
        only_writer(home, mend="a deployment has one server: stop that one, or leave it"),
        bound(addresses, port, all_of_them=serve.host not in ("", "localhost")) as sockets,
    ):
        addresses = tuple(str(each.getsockname()[0]) for each in sockets)
        _tell_of_other_kind(deployment.names[0], kinds(addresses))
        _serve(serve, deployment, home, addresses, sockets)


def _tell_of_other_kind(dialled: str, served: str) -> None:
    """Say so, where devices dial an address of a kind that is not served."""
    try:
        kind = f"IPv{ipaddress.ip_address(dialled).version}"
    except ValueError:  # a name may have both
        return
    if kind not in served:
        note(f"edgefed: devices dial {dialled}, and this serves {served} alone: they need a relay that has both")


def _serve(
    serve: Serve, deployment: Deployment, home: Path, addresses: Sequence[str], sockets: list[socket.socket]
) -> None:
    port = deployment.port
    path, last_error = keep_logs(home, "server")
    terminal = keep_output(home, "server")
    os.environ.update(SETTINGS)
    os.environ["FLWR_HOME"] = str(home / "flwr")
    # Flower starts its own helpers by name.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.pop(FILE, None)
    if not serve.insecure:
        os.environ[FILE] = str(home / "places.json")
        Places.of_server().write({})
    keeping = (serve, deployment, kinds(addresses), terminal, path)
    keeper = threading.Thread(target=_keep_keys, args=keeping, daemon=True)
    trust = (
        ["--insecure"]
        if serve.insecure
        else [
            *("--ssl-ca-certfile", str(home / "ca.crt"), "--ssl-certfile", str(home / "server.crt")),
            *("--ssl-keyfile", str(home / "server.key"), "--enable-supernode-auth"),
        ]
    )
    # Its state stays in memory: in a file, each of a round's hundred writes waits for the disk, and a run does not
    # outlive its server either way. The keys are in the deployment's own file.
    arguments = ["--host", addresses[0], "--port", str(port), *trust]
    _for_flowers_command(deployment, home, addresses, insecure=serve.insecure)
    try:
        _superlink(arguments, keeper, sockets)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise cannot_be_taken(" and ".join(addresses), port, error) from None
    except SystemExit as stop:
        if stop.code:
            raise FederationError(f"the server stopped: {last_error.message or f'see {path}'}") from None
    finally:
        os.dup2(terminal.fileno(), 2)  # why it ended is for the terminal
        terminal.close()


def _for_flowers_command(deployment: Deployment, home: Path, addresses: Sequence[str], *, insecure: bool) -> None:
    """Write where this server is found from this machine, by Flower's own command and by :class:`Control`."""
    trust = "insecure = true" if insecure else f"root-certificates = {as_toml(str(home / 'ca.crt'))}"
    here = "::1" if all(":" in address for address in addresses) else "127.0.0.1"
    path = deployment.flowers_file
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(f'[superlink.edgefed]\naddress = "{joined(here, deployment.port)}"\n{trust}\n', encoding="utf-8")


def _superlink(arguments: list[str], keeper: threading.Thread, sockets: list[socket.socket]) -> None:
    """Run Flower's own ``flower-superlink`` in this process, on sockets and with the fence outermost, until it ends."""
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    from edgefed.deploy.fence import Fence

    others = extensions.get_middleware
    vars(extensions)["get_middleware"] = lambda: (Middleware(Fence), *others())
    vars(sys.modules["uvicorn.main"])["Server"] = serving_on(sockets)
    # A line a request, or for every one that is no HTTP, would fill the disk.
    logging.getLogger("uvicorn.access").addFilter(lambda record: False)
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno >= logging.ERROR)
    sys.argv = ["flower-superlink", *arguments, "--disable-runtime-dependency-installation"]
    keeper.start()
    with ending_the_superexec():
        flower_superlink()


# ------------------------------------------------------------------------------------------------ keys
def _keep_keys(serve: Serve, deployment: Deployment, over: str, terminal: IO[str], path: Path) -> None:
    """Register and take out keys as the deployment's file says, now and whenever it changes."""
    from edgefed.deploy.control import Control

    seen, told = 0, False
    well, warned = time.monotonic(), False
    while True:
        try:
            stamp = (deployment.folder / "deployment.json").stat().st_mtime_ns
            if stamp != seen:
                deployment = Deployment.read(deployment.folder)
                # Not kept open: a server that stops waits half a minute for an idle connection over TLS.
                authority = None if serve.insecure else deployment.server / "ca.crt"
                with closing(Control(deployment.port, authority, deployment.loopback)) as to:
                    if serve.insecure:
                        to.nodes()
                    else:
                        match_keys(to, deployment)
                        Places.of_server().write(places_of(to, deployment))
                seen = stamp
            well, warned = time.monotonic(), False
        except Exception as error:  # a key that is revoked must be taken out, whatever went wrong before
            expected = isinstance(error, SettingsError | FederationError)  # not up yet, or the file is being written
            if time.monotonic() - well > PATIENCE and not warned:
                warned = True
                line = f"devices' keys are not taken up since {PATIENCE:g} s ({error}); trying on"
                log.error("%s", line, exc_info=not expected)
                terminal.write(f"edgefed: {line}\n")
            time.sleep(TRY_AGAIN if expected else LOOK_EVERY)
            continue
        if not told:
            told = True
            where = f"{'http' if serve.insecure else 'https'}://{deployment.address}"
            terminal.write(f"edgefed: serving at {where} over {over}; {states(deployment)}; log: {path}\n")
        time.sleep(LOOK_EVERY)


def places_of(control: Control, deployment: Deployment) -> dict[int, int]:
    """Return the partition id of each registered node: that of the device whose key it has."""
    ids = {as_flower_keeps_it(device.public_key): device.partition_id for device in deployment.active}
    nodes = [node for node in control.nodes() if node["status"] != "unregistered"]
    return {node["node"]: ids[node["public-key"]] for node in nodes if node["public-key"] in ids}


def match_keys(control: Control, deployment: Deployment) -> None:
    """Make the SuperLink know exactly the keys of a deployment's active devices.

    Keys are taken out before others are let in, and one that cannot be let in keeps nobody else from it.

    Raises
    ------
    SettingsError, FederationError
        One line, where the SuperLink does not answer or a key could not be taken out.
    """
    wanted = {as_flower_keeps_it(device.public_key): device for device in deployment.active}
    known = {node["public-key"]: node["node"] for node in control.nodes() if node["status"] != "unregistered"}
    failed: FederationError | None = None
    for key, node in known.items():
        if key not in wanted:
            try:
                control.unregister(node)
                log.info("node %d may not join any more", node)
            except FederationError as error:
                failed = error
    for key, device in wanted.items():
        if key not in known:
            try:
                control.register(device)
                log.info("%s may join", device.name)
            except FederationError as error:
                # Flower never frees the key of a node that was taken out.
                log.error("%s cannot join until the server is restarted: %s", device.name, error)
    if failed is not None:
        raise failed
