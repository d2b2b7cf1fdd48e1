"""Who is there: a deployment's devices, whether they are connected, and what they did in the newest run."""

from __future__ import annotations

import csv
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from edgefed.deploy.certificates import as_flower_keeps_it
from edgefed.deploy.control import Control
from edgefed.deploy.launch import last_run, left_out_of
from edgefed.errors import SettingsError
from edgefed.runs import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from edgefed.deploy.folder import Deployment


def devices_of(deployment: Deployment, *, insecure: bool = False) -> list[dict[str, Any]]:
    """Return a row a device.

    ``name``, ``partition-id``, ``state`` (of its key), ``registered``, ``connected``, ``seen`` (seconds since the
    server last heard of it; None where it never did), and from the newest run's folder ``rows``, ``rounds`` (taken
    part in) and ``error`` (the last one, with its round).

    Raises
    ------
    SettingsError, FederationError
        One line, where the server does not answer.
    """
    authority = None if insecure else deployment.server / "ca.crt"
    with closing(Control(deployment.port, authority, deployment.loopback)) as control:
        nodes = {node["public-key"]: node for node in control.nodes() if node["status"] != "unregistered"}
    folder = last_run(deployment)
    took_part = part_in(folder) if folder is not None else {}
    rows = []
    for device in deployment.devices:
        node = nodes.get(as_flower_keeps_it(device.public_key)) if device.public_key else None
        did = took_part.get(device.partition_id, {"rows": None, "rounds": 0, "error": ""})
        rows.append(
            {
                "name": device.name,
                "partition-id": device.partition_id,
                "state": device.state,
                "registered": node is not None,
                "connected": node is not None and node["status"] == "online",
                "seen": _seen(node),
                **did,
            }
        )
    return rows


def _seen(node: dict[str, Any] | None) -> float | None:
    """Return the seconds since a node's last heartbeat: it is believed for two of its intervals after that."""
    if node is None or not node["online-until"]:
        return None
    return max(0.0, time.time() - (float(node["online-until"]) - 2 * float(node["heartbeat"])))


def part_in(folder: Path) -> dict[int, dict[str, Any]]:
    """Return by partition id how many rows each client of a run trains on, its rounds, and its last error."""
    found: dict[int, dict[str, Any]] = {}
    last_asked: dict[int, int] = {}
    try:
        with (folder / "clients.csv").open(encoding="utf-8", newline="") as file:
            # A last line without its end is being written.
            for row in csv.DictReader(line for line in file if line.endswith("\n")):
                entry = found.setdefault(int(row["client"]), {"rows": None, "rounds": 0, "error": ""})
                last_asked[int(row["client"])] = int(row["round"])
                if row["verdict"].startswith("ok"):
                    entry["rounds"] += 1
                    entry["rows"] = int(row["rows"])
                if row["verdict"] != "ok":
                    entry["error"] = f"round {row['round']}: {row['verdict']}"
    except (OSError, KeyError, TypeError, ValueError):
        return found
    newest = max(last_asked.values(), default=0)
    try:
        for device in left_out_of(folder):
            entry = found.setdefault(int(device["partition-id"]), {"rows": None, "rounds": 0, "error": ""})
            if last_asked.get(int(device["partition-id"])) != newest:  # else it has come in since
                entry["error"] = f"left out: {device['why']}"
        for device in read_json(folder / "manifest.json").get("devices", ()):
            found.setdefault(int(device["partition-id"]), {"rows": None, "rounds": 0, "error": ""})["rows"] = device[
                "rows"
            ]
    except (SettingsError, KeyError, TypeError, ValueError):
        pass
    return found
