"""Print results as Markdown, for the README: what was measured when and where, figures, ratios.

python experiments/speed/tables.py w1.json w2.json ...
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

WHOLE = ("w2", "shell")
"""Workloads whose one round is a command from its start to its end."""


def markdown(result: dict[str, Any]) -> str:
    """Return a result as Markdown: a line on where it comes from, and two tables."""
    machine = result["machine"]
    unit, times = ("s", 1) if result["workload"] in WHOLE else ("ms", 1000)
    lines = [
        f"`{result['command']}`",
        "",
        f"{result['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, {_versions(result['figures'])}; load before: {_number(machine['load_before'])}. "
        f"Median of {result['repeats']} (smallest to largest).",
        "",
        f"| system | clients | updates/s | {unit} a round | start-up, s | peak memory, MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["figures"]:
        startup = row.get("startup_seconds")
        lines.append(
            f"| {row['system']} | {row['clients']:,} | {_spread(row['updates_per_second'])} | "
            f"{_spread(row['seconds_a_round'], times)} | {'' if startup is None else _number(startup['median'])} | "
            f"{'' if row['peak_mib'] is None else _number(row['peak_mib'])} |"
        )
    if result["ratios"]:
        lines += ["", "| ratio | of | clients | |", "|---|---|---:|---:|"]
    for entry in result["ratios"]:
        (system, clients), (other, others) = entry["of"], entry["to"]
        sizes = f"{clients:,}" if clients == others else f"{clients:,} / {others:,}"
        lines.append(
            f"| {system} / {other} | {entry['measure'].replace('_', ' ')} | {sizes} | {_spread(entry['ratio'])} |"
        )
    if result["left_out"]:
        lines.append("")
    for entry in result["left_out"]:
        lines.append(f"Left out: {entry['system']}, {entry['clients']:,} clients ({entry['why']}).")
    return "\n".join(lines)


def _versions(figures: list[dict[str, Any]]) -> str:
    found = {name: version for row in figures for name, version in row["versions"].items()}
    return ", ".join(f"{name} {found[name]}" for name in sorted(found))


def _spread(values: dict[str, float], times: int = 1) -> str:
    median, least, most = (_number(times * values[name]) for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def _number(value: float | None) -> str:
    """Return a number with three digits that count."""
    if value is None:
        return "not known"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    asked = parser.parse_args()
    print("\n\n".join(markdown(json.loads(path.read_text(encoding="utf-8"))) for path in asked.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
