"""What a person reads and runs in a deployment's folder: pages with its own commands, start scripts, systemd units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.deploy.folder import ACTIVE, AWAITING_KEY, Deployment

if TYPE_CHECKING:
    from pathlib import Path


def start_script(path: Path, command: str, folder: str) -> None:
    """Write a script that starts a server or a device from its own folder."""
    path.write_text(
        "#!/bin/sh\n"
        "# Starts from the folder that this file lies in; EDGEFED says where the command is, if not on the PATH.\n"
        'here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 1\n'
        f'exec "${{EDGEFED:-edgefed}}" {command} "$here/{folder}" "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)


def _unit(what: str, command: str, folder: str) -> str:
    # ProtectSystem=strict leaves nothing writable but the folder: logs, state and runs lie in it.
    return f"""[Unit]
Description={what}
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target

[Service]
User=edgefed
Environment=EDGEFED=/opt/edgefed/bin/edgefed
ExecStart={command}
WorkingDirectory={folder}
Restart=always
RestartSec=10
KillSignal=SIGTERM
TimeoutStopSec=30
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=strict
ProtectHome=true
ReadWritePaths={folder}

[Install]
WantedBy=multi-user.target
"""


def server_unit() -> str:
    """Return the server's systemd unit."""
    return _unit("edgefed server (Flower SuperLink)", "/srv/edgefed/server/start", "/srv/edgefed")


def device_unit(name: str) -> str:
    """Return a device's systemd unit."""
    return _unit(
        f"edgefed {name} (Flower SuperNode)",
        "/srv/edgefed-device/start --data /srv/edgefed-device/data.csv",
        "/srv/edgefed-device",
    )


def readme(deployment: Deployment) -> str:
    """Return the page of a deployment: its own commands."""
    where = deployment.folder.name
    first = deployment.devices[0].name if deployment.devices else "device-0"
    rows = "\n".join(f"| {d.name} | {d.partition_id} | {d.state} |" for d in deployment.devices)
    waiting = [device.name for device in deployment.devices if device.state == AWAITING_KEY]
    keys = ""
    if waiting:
        keys = f"""
## Keys that the devices make

{", ".join(waiting)}: each makes its own key when it is first started, and prints the public half (`device.pub`).
Bring that file here, and

    edgefed provision --out {where} --public-key device.pub --device {waiting[0]}
"""
    return f"""# This deployment

Server {deployment.address}, {len(deployment.devices)} devices. One port, {deployment.port} over TLS, serves everything;
devices dial out to it and open no port of their own.

| device | partition id | key |
|---|---|---|
{rows}

## On the server

Keep `ca/ca.key` off the network when you are done: whoever has it can pose as the server. The server needs
`deployment.json` and `server/`.

    edgefed launch-server {where}

## On each device

Copy the device's folder to it, and nothing else:

    scp -rp {where}/devices/{first} {first}:edgefed-device

and there, in the environment that edgefed is installed in, with the device's rows:

    edgefed doctor edgefed-device --data data.csv
    edgefed launch-device edgefed-device --data data.csv

Then remove its private key from this machine: the device alone needs it.

    rm -f {where}/devices/{first}/device.key
{keys}
## Run, and see

    edgefed launch {where} -s num-server-rounds=50 -s test-path=test.csv
    edgefed status {where}
    edgefed doctor {where}

`edgefed launch` runs on the server itself: the control interface answers no other machine.

## Later

    edgefed provision --out {where} --add 1
    edgefed provision --out {where} --revoke {first}
    edgefed provision --out {where} --renew

A running server takes up each of these within seconds, except a renewed certificate: restart it for that.
To start with the machine: `server/edgefed-server.service`, `devices/*/edgefed-device.service` (systemd).
"""


def device_readme(name: str, deployment: Deployment, keys_on_device: bool) -> str:
    """Return the page of a device: its own commands."""
    key = (
        "It makes its own key when it is first started, and says how to bring the public half to the server.\n"
        if keys_on_device
        else "`device.key` is this device's identity: it stays here, readable by its owner alone.\n"
    )
    return f"""# {name}

Dials {deployment.address}. {key}
    edgefed doctor . --data data.csv
    edgefed launch-device . --data data.csv

`data.csv` holds this device's rows: a header line, feature columns, and the label in the last column (else
`--label COL`, for both). No row is sent; what is, is in `docs/devices.md` of edgefed, by name
and bytes. What a run may ask of this device is for its owner to say, in `terms.toml` in this folder (there under
"A device's own terms"). To start with the machine: `edgefed-device.service` (systemd).
"""


def states(deployment: Deployment) -> str:
    """Return how many devices are in which state, in words."""
    active = sum(device.state == ACTIVE for device in deployment.devices)
    waiting = sum(device.state == AWAITING_KEY for device in deployment.devices)
    words = [f"{active} devices may join"]
    if waiting:
        words.append(f"{waiting} have yet to bring their key")
    return ", ".join(words)
