"""Provisioning: a folder with all that a server and its devices need to trust each other."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from edgefed.deploy.addresses import server_name
from edgefed.deploy.certificates import (
    make_authority,
    make_device_key,
    make_server_certificate,
    read_public_key,
)
from edgefed.deploy.folder import ACTIVE, AWAITING_KEY, REVOKED, Deployment, Device, DeviceIdentity
from edgefed.deploy.instructions import device_readme, device_unit, readme, server_unit, start_script
from edgefed.errors import SettingsError, read_utf8
from edgefed.runs import new_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAYS, PORT = 365, 8000
MOST_DEVICES, MOST_DAYS = 10_000, 3650


def provision(
    folder: Path,
    names: Sequence[str],
    devices: int,
    *,
    port: int = PORT,
    days: int = DAYS,
    keys_on_device: bool = False,
) -> Deployment:
    """Make a deployment's folder: authority, server certificate, a folder a device.

    Parameters
    ----------
    folder : Path
        Made new.
    names : sequence of str
        Host names and addresses of the server, IPv4 and IPv6; devices dial the first.
    devices : int
    port : int
    days : int
        How long the server's certificate is valid.
    keys_on_device : bool
        Make no private key for any device: each makes its own when it is first started, and the server takes the
        public half (:func:`accept_key`).

    Raises
    ------
    SettingsError
        For a folder that exists, or a name that is none.
    """
    if not names:
        raise SettingsError("--server: expected a host name or an address")
    names = tuple(dict.fromkeys(server_name(name) for name in names))
    check_days(days)
    if not 1 <= devices <= MOST_DEVICES:
        raise SettingsError(f"--devices {devices}: expected 1 to {MOST_DEVICES}")
    if not 1 <= port <= 65535:
        raise SettingsError(f"--port {port}: expected 1 to 65535")
    if (folder / "deployment.json").is_file():
        raise SettingsError(
            f"--out {folder}: a deployment exists already: --add, --revoke, --public-key or --renew in place of "
            "--server changes it; another folder makes another one"
        )
    folder = new_folder(folder, "", instead="give another folder")
    folder.chmod(0o700)
    deployment = Deployment(folder, names, port, ())
    for part in ("ca", "server", "devices"):
        (folder / part).mkdir(mode=0o700)
    make_authority(folder / "ca")
    renew_server_certificate(deployment, days)
    shutil.copy(folder / "ca" / "ca.crt", deployment.server / "ca.crt")
    start_script(deployment.server / "start", "launch-server", "..")
    (deployment.server / "edgefed-server.service").write_text(server_unit(), encoding="utf-8")
    return add_devices(deployment, devices, keys_on_device=keys_on_device)


def renew_server_certificate(deployment: Deployment, days: int = DAYS) -> None:
    """Make the server a new certificate, for its names as they are now."""
    make_server_certificate(deployment.folder / "ca", deployment.server, deployment.names, days)


def add_devices(deployment: Deployment, count: int, *, keys_on_device: bool = False) -> Deployment:
    """Add devices to a deployment, and write it.

    Raises
    ------
    SettingsError
        For less than one, or a folder that lies where one's own would.
    """
    if not 1 <= count <= MOST_DEVICES:
        raise SettingsError(f"--add {count}: expected 1 to {MOST_DEVICES}")
    first = max((device.partition_id for device in deployment.devices), default=-1) + 1
    for partition_id in range(first, first + count):
        name = f"device-{partition_id}"
        home = deployment.device_folder(name)
        try:
            home.mkdir(mode=0o700)
        except FileExistsError:  # of an --add that was stopped, before the deployment knew of it
            raise SettingsError(f"{home}: exists, and {deployment.folder} has no such device: remove it") from None
        shutil.copy(deployment.folder / "ca" / "ca.crt", home / "ca.crt")
        DeviceIdentity(name, partition_id, deployment.address).write(home)
        public = "" if keys_on_device else make_device_key(home)
        start_script(home / "start", "launch-device", ".")
        (home / "edgefed-device.service").write_text(device_unit(name), encoding="utf-8")
        (home / "README.md").write_text(device_readme(name, deployment, keys_on_device), encoding="utf-8")
        deployment = deployment.with_device(Device(name, partition_id, public, AWAITING_KEY if not public else ACTIVE))
    return _written(deployment)


def accept_key(deployment: Deployment, name: str, public_key: Path) -> Deployment:
    """Take the public half of a key that a device has made itself.

    Raises
    ------
    SettingsError
        For a file that is no public key, one that another device has, or one that was revoked.
    """
    device = deployment.find(name)
    text = read_public_key(read_utf8(public_key, "a public key"), str(public_key))
    if device.state == REVOKED and device.public_key == text:
        raise SettingsError(
            f"{public_key}: this key of {name} was revoked; make a new key: on the device, remove device.key and "
            "device.pub and start it again"
        )
    for other in deployment.devices:
        if other.public_key == text and other.name != name:
            raise SettingsError(f"{public_key}: the key of {other.name} already; each device needs its own")
    return _written(deployment.with_device(Device(device.name, device.partition_id, text, ACTIVE)))


def revoke(deployment: Deployment, name: str) -> Deployment:
    """Take a device's key out: a running server drops it within seconds. Its partition id is not given again."""
    device = deployment.find(name)
    return _written(deployment.with_device(Device(device.name, device.partition_id, device.public_key, REVOKED)))


def _written(deployment: Deployment) -> Deployment:
    deployment.write()
    (deployment.folder / "README.md").write_text(readme(deployment), encoding="utf-8")
    return deployment


def check_days(days: int) -> None:
    """Refuse days that no certificate is valid for."""
    if not 1 <= days <= MOST_DAYS:
        raise SettingsError(f"--days {days}: expected 1 to {MOST_DAYS}")
