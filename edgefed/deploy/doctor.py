"""What is wrong on this machine: each check is a line, and a line that is not well says what mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from edgefed.config import FederationConfig
from edgefed.data.device_file import read_device_file
from edgefed.deploy.certificates import expires, names_in
from edgefed.deploy.dialling import NO_ANSWER
from edgefed.deploy.folder import Deployment, DeviceIdentity
from edgefed.deploy.handshake import (
    HandshakeError,
    SignatureError,
    UnreachableError,
    resolve,
    shake_hands,
    unanswered,
    unreachable,
)
from edgefed.deploy.listening import HERE, kinds
from edgefed.errors import FederationError, SettingsError
from edgefed.federation.terms import FILE
from edgefed.federation.terms_file import read_terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

GOOD, WARN, BAD = "ok", "warning", "problem"
PACKAGES = ("edgefed", "flwr", "torch", "numpy", "scikit-learn", "imbalanced-learn", "cryptography")
LEAST_PYTHON = (3, 11)
MEMORY_MB, DISK_MB = 500, 500
"""What a device process and its logs need at least."""
MOST_AHEAD, MOST_BEHIND = 5.0, 300.0
"""Seconds by which a device's clock may differ from the server's, which refuses a signature from the future, or an old
one (Flower's tolerances)."""
SET_CLOCK = "sudo timedatectl set-ntp true"
SOON_DAYS = 30
READ_BY = "categories, drop-columns, label-column, missing"
"""Settings of a run by which a device's file is read."""


@dataclass(frozen=True)
class Finding:
    """One check: how it went, what was found, and the command that mends it."""

    check: str
    state: str
    found: str
    mend: str = ""


def examine(
    folder: Path | None, data: Path | None = None, settings: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Yield a finding for each check of this machine and of a deployment's or a device's folder.

    Parameters
    ----------
    folder : Path, optional
        A deployment's folder (on the server) or a device's own.
    data : Path, optional
        A device's rows.
    settings : mapping of str to scalar, optional
        Of the run that is to read them. Neutral: the defaults.

    Raises
    ------
    SettingsError
        For a folder that is neither, or settings that no run on devices could have.
    """
    config = FederationConfig.from_mapping({**(settings or {}), "dataset": "devices"})
    yield from _machine(folder or Path.cwd())
    if folder is None:
        pass
    elif (folder / "device.json").is_file():
        yield from _device(folder)
    elif (folder / "deployment.json").is_file() or folder.name == "server":
        yield from _server(Deployment.read(folder))
    else:
        raise SettingsError(
            f"{folder}: neither a deployment (deployment.json) nor a device (device.json); edgefed provision makes both"
        )
    if data is not None:
        yield _rows(data, config)


# ------------------------------------------------------------------------------------------------ the machine
def _machine(folder: Path) -> Iterator[Finding]:
    python, where = platform.python_version(), f"{platform.system()} {platform.machine()}"
    if sys.version_info[:2] < LEAST_PYTHON:
        yield Finding("python", BAD, f"{python} on {where}; 3.11 or later is needed", "uv python install 3.12")
    elif sys.maxsize < 2**32:
        yield Finding("python", BAD, f"{python}, 32 bit: torch has no wheels for it", "install a 64-bit system")
    else:
        yield Finding("python", GOOD, f"{python} on {where}")
    yield from _packages()
    yield from _memory()
    free = shutil.disk_usage(folder).free / 1e6
    if free < DISK_MB:
        yield Finding("disk", BAD, f"{free:.0f} MB free in {folder}, {DISK_MB} are needed", f"df -h {folder}")
    else:
        yield Finding("disk", GOOD, f"{free / 1e3:.1f} GB free in {folder}")


def _packages() -> Iterator[Finding]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding("packages", BAD, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    elif not version("flwr").startswith("1.41"):
        yield Finding("packages", BAD, f"flwr {version('flwr')}; 1.41 is needed", "pip install 'flwr>=1.41,<1.42'")
    else:
        yield Finding("packages", GOOD, ", ".join(found))


def _memory() -> Iterator[Finding]:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) / 1e3
    except (OSError, KeyError, ValueError):
        yield Finding("memory", GOOD, "this system does not tell")
        return
    if free < MEMORY_MB:
        yield Finding(
            "memory", BAD, f"{free:.0f} MB are free, about {MEMORY_MB} are needed", "free -m; stop what is not needed"
        )
    else:
        yield Finding("memory", GOOD, f"{free / 1e3:.1f} GB free")


# ------------------------------------------------------------------------------------------------ a device
def _device(folder: Path) -> Iterator[Finding]:
    identity = DeviceIdentity.read(folder)
    authority, key = folder / "ca.crt", folder / "device.key"
    yield Finding("identity", GOOD, f"{identity.name}, partition id {identity.partition_id}, dials {identity.server}")
    yield _private(key, "start the device once: it makes its key")
    yield _terms(folder / FILE)
    try:
        addresses = resolve(identity.host, identity.port)
        yield Finding("name", GOOD, f"{identity.host} is {' and '.join(addresses)}")
        yield _port(identity, addresses)
        met = shake_hands(identity.host, identity.port, authority)
    except UnreachableError as error:
        yield Finding(
            "server", BAD, str(error), f"on the server: edgefed launch-server FOLDER; here: ping {identity.host}"
        )
        return
    except HandshakeError as error:
        yield Finding("tls", BAD, str(error), "copy this device's folder from the server again")
        return
    yield _lasting("tls", met.expires or 0.0)
    yield _clock(met.skew)
    if key.is_file():
        yield _admitted(identity, authority, key)


def _port(identity: DeviceIdentity, addresses: Sequence[str]) -> Finding:
    failed = unanswered(identity.host, identity.port)
    if len(failed) == len(addresses):
        raise unreachable(identity.host, identity.port, failed)
    well = [address for address in addresses if address not in failed]
    if not failed:
        return Finding("port", GOOD, f"{identity.server} answers")
    found = f"{identity.server} answers at {' and '.join(well)}, not at "
    found += ", ".join(f"{address} ({why})" for address, why in failed.items())
    if failed.get(addresses[0]) != NO_ANSWER:  # what refuses costs no time
        return Finding("port", GOOD, found)
    mend = f"let port {identity.port} through on the server's firewall, or take it out of the name's records"
    return Finding("port", WARN, f"{found}: it is tried first, and waited for", mend)


def _terms(path: Path) -> Finding:
    if not os.path.lexists(path):  # a link to nothing is no lack of terms
        line = f"no {FILE}: it answers whatever a run asks of it; one is found when the device is started"
        return Finding("terms", GOOD, f"{line} (docs/devices.md)")
    try:
        terms = read_terms(path)
        said = "; ".join(terms.lines()) or "none are in it: it answers whatever a run's settings call for"
        if terms.used_up:
            return Finding("terms", WARN, f"{said}: no more of {', '.join(terms.used_up)}", f"edit {path}")
    except SettingsError as error:
        return Finding("terms", BAD, str(error), f"edit {path}")
    return Finding("terms", GOOD, said)


def _admitted(identity: DeviceIdentity, authority: Path, key: Path) -> Finding:
    from edgefed.deploy.admission import key_is_known

    mend = f"on the server: edgefed provision --out FOLDER --public-key device.pub --device {identity.name}"
    try:
        if key_is_known(identity.server, authority, key):
            return Finding("key", GOOD, "the server knows this device's key")
        return Finding("key", BAD, "the server does not know this device's key", mend)
    except SignatureError as error:
        return Finding("key", BAD, str(error), SET_CLOCK)
    except (SettingsError, HandshakeError, UnreachableError) as error:
        return Finding("key", BAD, str(error), mend)


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return Finding("clock", WARN, "the server does not tell the time", "compare by hand: date")
    words = f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the server"
    bounds = f"{MOST_BEHIND:g} s behind or {MOST_AHEAD:g} s ahead"
    if not -MOST_AHEAD <= skew <= MOST_BEHIND:
        return Finding("clock", BAD, f"{words}: beyond {bounds} it refuses signatures", SET_CLOCK)
    if skew > MOST_AHEAD:
        return Finding("clock", WARN, f"{words}: up to {bounds} will do", SET_CLOCK)
    return Finding("clock", GOOD, f"{words}, up to {bounds} will do")


def _private(path: Path, mend: str) -> Finding:
    if not path.is_file():
        return Finding("private key", BAD, f"{path} is not there", mend)
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        return Finding("private key", BAD, f"{path} can be read by others ({mode:03o})", f"chmod 600 {path}")
    return Finding("private key", GOOD, f"{path}, for its owner alone")


def _lasting(check: str, until: float) -> Finding:
    days = (until - time.time()) / 86400
    mend = "on the server: edgefed provision --out FOLDER --renew, then start it again"
    if days < 0:
        return Finding(check, BAD, f"the server's certificate expired {-days:.0f} days ago", mend)
    if days < SOON_DAYS:
        return Finding(check, WARN, f"the server's certificate is good for {days:.0f} days", mend)
    return Finding(check, GOOD, f"the server's certificate is good for {days:.0f} days")


def _rows(path: Path, config: FederationConfig) -> Finding:
    try:
        table = read_device_file(path, config, ask_label=True)
    except SettingsError as error:
        named = "" if config.label_column else " --label COL where the label is not its last column,"
        edit = f"edit {path},{named} or -s KEY=VALUE as the run has it ({READ_BY})"
        return Finding(
            "data", BAD, str(error), edit if path.is_file() else "--data FILE: the file of this device's rows"
        )
    shape = f"{len(table.labels)} rows of {len(table.feature_names)} features"
    if not len(table.labels):
        return Finding("data", WARN, f"{path}: no rows: this device has nothing to train on", f"wc -l {path}")
    return Finding("data", GOOD, f"{path}: {shape}, label '{table.label_name}': {', '.join(table.class_names)}")


# ------------------------------------------------------------------------------------------------ a server
def _server(deployment: Deployment) -> Iterator[Finding]:
    home = deployment.server
    counts = f"{len(deployment.active)} of {len(deployment.devices)} devices may join"
    yield Finding("deployment", GOOD if deployment.active else WARN, f"{deployment.address}; {counts}")
    yield _private(home / "server.key", f"edgefed provision --out {deployment.folder} --renew")
    left = sorted(path.parent.name for path in (deployment.folder / "devices").glob("*/device.key"))
    if left:
        names = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        mend = f"once they are copied: rm {deployment.folder}/devices/*/device.key"
        yield Finding("device keys", WARN, f"private keys of {names} lie here; the devices alone need them", mend)
    if (home / "server.crt").is_file():
        yield from _certificate(home / "server.crt", deployment)
    host = deployment.names[0]
    try:
        yield Finding("name", GOOD, f"{host} is {' and '.join(resolve(host, deployment.port))} from here")
        shake_hands(deployment.loopback, deployment.port, home / "ca.crt")
        yield _serving(deployment)
    except (UnreachableError, HandshakeError) as error:
        yield Finding("server", WARN, str(error), f"edgefed launch-server {deployment.folder}")
        return
    yield _registered(deployment)


def _serving(deployment: Deployment) -> Finding:
    host, port = deployment.names[0], deployment.port
    served = kinds([address for address in HERE if not unanswered(address, port)])
    wanted = kinds(resolve(host, port))
    if any(kind not in served for kind in wanted.split(" and ")):
        mend = "edgefed launch-server without --host, on a machine that has both"
        return Finding("server", WARN, f"serving on port {port} over {served}, and {host} has {wanted}", mend)
    return Finding("server", GOOD, f"serving on port {port} over {served}")


def _certificate(path: Path, deployment: Deployment) -> Iterator[Finding]:
    mend = f"edgefed provision --out {deployment.folder} --renew"
    try:
        certificate = path.read_bytes()
        until, names = expires(certificate), names_in(certificate)
    except (OSError, ValueError) as error:
        yield Finding("certificate", BAD, f"{path} cannot be read ({' '.join(str(error).split())[:60]})", mend)
        return
    yield _lasting("certificate", until.timestamp())
    held = [name.lower() for name in names]
    if missing := [name for name in deployment.names if name not in held]:
        yield Finding("names", BAD, f"the certificate is not for {', '.join(missing)}", mend)
    else:
        yield Finding("names", GOOD, f"the certificate is for {', '.join(names)}")


def _registered(deployment: Deployment) -> Finding:
    from edgefed.deploy.status import devices_of

    try:
        known = devices_of(deployment)
    except (SettingsError, FederationError) as error:
        return Finding("keys", BAD, str(error), f"edgefed launch-server {deployment.folder}")
    absent = [row["name"] for row in known if row["state"] == "active" and not row["registered"]]
    online = sum(row["connected"] for row in known)
    if absent:
        return Finding("keys", BAD, f"not registered: {', '.join(absent)}", "wait a second, or start the server again")
    return Finding("keys", GOOD, f"every active device's key is registered; {online} connected")
