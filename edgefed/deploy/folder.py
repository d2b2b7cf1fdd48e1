"""What provisioning leaves on disk: one folder of a deployment, one of each device.

``deployment.json`` names the server and every device with the public half of its key; ``device.json``, which goes to
the device, says who it is and whom it dials. Neither holds a secret.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgefed.deploy.addresses import joined, server_name, split_address
from edgefed.deploy.certificates import read_public_key
from edgefed.errors import SettingsError, shown
from edgefed.runs import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

ACTIVE, AWAITING_KEY, REVOKED = "active", "awaiting-key", "revoked"


@dataclass(frozen=True)
class Device:
    """A device as the server knows it; ``public_key`` is OpenSSH text, empty until the device has made its own."""

    name: str
    partition_id: int
    public_key: str = ""
    state: str = ACTIVE


@dataclass(frozen=True)
class Deployment:
    """A server and its devices.

    Attributes
    ----------
    folder : Path
    names : tuple of str
        Host names and addresses in the server's certificate; devices dial the first.
    port : int
        One port serves everything.
    devices : tuple of Device
        By partition id.
    """

    folder: Path
    names: tuple[str, ...]
    port: int
    devices: tuple[Device, ...]

    @property
    def address(self) -> str:
        """Where devices dial."""
        return joined(self.names[0], self.port)

    @property
    def server(self) -> Path:
        """The folder that stays on the server."""
        return self.folder / "server"

    @property
    def flowers_file(self) -> Path:
        """The file by which Flower's own command finds the server: ``FLWR_HOME=server/flwr flwr ls edgefed``."""
        return self.server / "flwr" / "config.toml"

    @property
    def loopback(self) -> str:
        """The loopback address at which this machine's own commands find the server, as it was last started."""
        try:
            found = tomllib.loads(self.flowers_file.read_text(encoding="utf-8"))
            return split_address(found["superlink"]["edgefed"]["address"])[0]
        except (OSError, ValueError, KeyError, TypeError, SettingsError):  # it was never started
            return "127.0.0.1"

    @property
    def active(self) -> tuple[Device, ...]:
        """Devices that may take part."""
        return tuple(device for device in self.devices if device.state == ACTIVE)

    @property
    def clients(self) -> int:
        """Partition ids up to the last active device's: what ``num-clients`` is where it is not said."""
        return self.active[-1].partition_id + 1 if self.active else 0

    def device_folder(self, name: str) -> Path:
        """Return the folder that is made for a device, and goes to it."""
        return self.folder / "devices" / name

    def with_device(self, device: Device) -> Deployment:
        """Return the deployment with a device added, or changed."""
        others = [known for known in self.devices if known.name != device.name]
        return replace(self, devices=tuple(sorted([*others, device], key=lambda known: known.partition_id)))

    def find(self, name: str) -> Device:
        """Return a device by its name.

        Raises
        ------
        SettingsError
            Where there is none.
        """
        for device in self.devices:
            if device.name == name:
                return device
        known = ", ".join(device.name for device in self.devices)
        raise SettingsError(f"{self.folder}: no device '{name}'; there are {known}")

    def write(self) -> None:
        """Write ``deployment.json``."""
        devices = [
            {"name": d.name, "partition-id": d.partition_id, "public-key": d.public_key, "state": d.state}
            for d in self.devices
        ]
        content = {"format": 1, "server": {"names": list(self.names), "port": self.port}, "devices": devices}
        write_json(self.folder / "deployment.json", content)

    @classmethod
    def read(cls, folder: Path) -> Deployment:
        """Read a deployment's folder, or that of its server.

        Raises
        ------
        SettingsError
            One line, where it is none.
        """
        folder = folder.parent if folder.name == "server" and not (folder / "deployment.json").exists() else folder
        path = folder / "deployment.json"
        if not path.is_file():
            raise SettingsError(
                f"{folder}: no deployment.json; edgefed provision --server HOST --out {folder} makes it"
            )
        found = read_json(path)
        try:
            devices = [
                Device(str(d["name"]), int(d["partition-id"]), str(d["public-key"]), str(d["state"]))
                for d in found["devices"]
            ]
            names, port = [str(name) for name in found["server"]["names"]], int(found["server"]["port"])
            listed = isinstance(found["server"]["names"], list)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SettingsError(f"{path}: the file was edited ({type(error).__name__}: {error})") from None
        if not names or not listed:
            raise SettingsError(f'{path}: "names": expected a list of names and addresses; devices dial the first')
        if not 1 <= port <= 65535:
            raise SettingsError(f'{path}: "port": {port}: expected 1 to 65535')
        names = [server_name(name, f'{path}: "names": {shown(name)}') for name in names]
        for device in devices:
            if device.public_key or device.state == ACTIVE:
                read_public_key(device.public_key, f"{path}: public-key of {device.name}")
        return cls(folder, tuple(names), port, tuple(devices))


@dataclass(frozen=True)
class DeviceIdentity:
    """What a device's own folder says: who it is and whom it dials (``HOST:PORT``)."""

    name: str
    partition_id: int
    server: str

    def write(self, folder: Path) -> None:
        """Write ``device.json``."""
        content: dict[str, Any] = {"format": 1} | {key.replace("_", "-"): value for key, value in asdict(self).items()}
        write_json(folder / "device.json", content)

    @classmethod
    def read(cls, folder: Path) -> DeviceIdentity:
        """Read a device's folder.

        Raises
        ------
        SettingsError
            One line, where it is none.
        """
        path = folder / "device.json"
        if not path.is_file():
            hint = (
                f"is it {folder / 'devices' / 'device-0'}?"
                if (folder / "devices").is_dir()
                else "copy it from the server"
            )
            raise SettingsError(f"{folder}: no device.json, so this is not a device's folder; {hint}")
        found = read_json(path)
        try:
            identity = cls(str(found["name"]), int(found["partition-id"]), str(found["server"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{path}: the file was edited ({type(error).__name__}: {error})") from None
        try:
            split_address(identity.server)
        except SettingsError as error:
            raise SettingsError(f'{path}: "server": {error}') from None
        return identity

    @property
    def host(self) -> str:
        """The server's name or address."""
        return split_address(self.server)[0]

    @property
    def port(self) -> int:
        """The server's port."""
        return split_address(self.server)[1]
