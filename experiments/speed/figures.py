"""From workers' measurements to figures: medians with their spread, ratios, the machine, a table."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return the median of values, the smallest, the largest, and the values in the order of the repeats."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def figure(system: str, clients: int, updates: int, measurements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one system's figures at one size.

    Parameters
    ----------
    system : str
    clients : int
        Size of the federation.
    updates : int
        Client updates in one timed round; 0 takes what the worker counted.
    measurements : sequence of dict
        What the worker printed in each repeat.
    """
    seconds = [statistics.fmean(found["round_seconds"]) for found in measurements]
    last = measurements[-1]
    updates = updates or last["client_updates"]
    row: dict[str, Any] = {
        "system": system,
        "clients": clients,
        "timed_rounds": len(last["round_seconds"]),
        "seconds_a_round": spread(seconds),
        "updates_per_second": spread(updates / value for value in seconds),
        "peak_mib": _largest(found["peak_mib"] for found in measurements),
    }
    if "startup_seconds" in last:
        row["startup_seconds"] = spread(found["startup_seconds"] for found in measurements)
    known = {"round_seconds", "peak_mib", "startup_seconds"}
    return row | {name: value for name, value in last.items() if name not in known}


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def ratio(of: dict[str, Any], to: dict[str, Any], measure: str) -> dict[str, Any]:
    """Return one figure's ratio to another: of each repeat, whose systems ran one after the other, then the median."""
    pairs = zip(of[measure]["values"], to[measure]["values"], strict=True)
    return {
        "of": [of["system"], of["clients"]],
        "to": [to["system"], to["clients"]],
        "measure": measure,
        "ratio": spread(one / other for one, other in pairs),
    }


def machine() -> dict[str, Any]:
    """Return what there is to know about this machine but its name."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def table(result: dict[str, Any]) -> str:
    """Return a result as text for a terminal."""
    rows = [("system", "clients", "updates/s", "min to max", "ms a round", "start-up s", "peak MiB")]
    for row in result["figures"]:
        rate, startup = row["updates_per_second"], row.get("startup_seconds")
        rows.append(
            (
                row["system"],
                f"{row['clients']:,}",
                f"{rate['median']:,.0f}",
                f"{rate['min']:,.0f} to {rate['max']:,.0f}",
                f"{1000 * row['seconds_a_round']['median']:,.1f}",
                "" if startup is None else f"{startup['median']:.1f}",
                "" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for entry in result["ratios"]:
        (system, clients), (other, others), found = entry["of"], entry["to"], entry["ratio"]
        lines.append(
            f"{entry['measure'].replace('_', ' ')}: {system} ({clients:,}) / {other} ({others:,}) = "
            f"{found['median']:.3g} ({found['min']:.3g} to {found['max']:.3g})"
        )
    for entry in result["left_out"]:
        lines.append(f"left out: {entry['system']} ({entry['clients']:,}): {entry['why']}")
    return "\n".join(lines)
