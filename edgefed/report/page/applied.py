"""Section on what each remedy did on which client, and why not elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from edgefed.report.folder import CONTROL, client_names, number
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Fold, Line, Section, Table, Text, empty, number_cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.report.folder import ComparisonFolder
    from edgefed.runs import Run

from edgefed.report.page.clients import LISTED, OPEN

WIDE = 8
"""Columns up to which remedies stand side by side; more stand one below the other where that is shorter."""


def applied(found: ComparisonFolder) -> Section:
    """Return what each remedy did on which client under the first seed."""
    records = {arm["name"]: _record(arm, found) for arm in found.arms}
    # The control asks for nothing.
    records = {name: clients for name, clients in records.items() if clients and name != CONTROL}
    if not records:
        return Section("applied", "What each remedy did", [])
    first = found.seeds[0]
    blocks: list[Any] = [
        Text(
            "A remedy can only do what a shard allows: a client with one class has nothing to weigh, one without rows "
            "nothing to draw. This is what was asked, and what was done."
        ),
        _summary(records, first),
    ]
    clients = max(len(record) for record in records.values())
    blocks.append(
        Fold(f"Client by client ({words.many(clients, 'client')})", [_by_client(records, first)], clients <= OPEN)
    )
    return Section("applied", "What each remedy did", blocks)


def applied_in_run(run: Run) -> Section:
    """Return what a run's remedy did on each client."""
    record = _of_manifest(run)
    if not record or run.config.imbalance == CONTROL:
        return Section("applied", "What the remedy did", [])
    asked = str((run.manifest.get("applied") or {}).get("asked") or run.config.imbalance)
    return Section(
        "applied", "What the remedy did", [_summary({asked: record}, None), _by_client({asked: record}, None)]
    )


def _record(arm: dict[str, Any], found: ComparisonFolder) -> list[dict[str, Any]]:
    """Return a remedy's clients under the first seed; of an older folder only why it did nothing."""
    first = found.runs[arm["name"]][0]
    said = (arm.get("applied") or {}).get("clients")
    if not said:
        return _of_manifest(first)
    idle = _idle(first, len(said))
    return [client | {"idle": idle[place] or _without_rows(client)} for place, client in enumerate(said)]


def _idle(run: Run, clients: int) -> list[bool]:
    """Return on which clients the remedy did nothing at all: elsewhere it may have acted otherwise than asked."""
    idle = (run.manifest.get("shards") or {}).get("idle") or []
    return [bool(why) for why in idle] if len(idle) == clients else [False] * clients


def _without_rows(client: dict[str, Any]) -> bool:
    return not int(client.get("rows") or 0)


def _of_manifest(run: Run) -> list[dict[str, Any]]:
    held = run.manifest.get("shards") or {}
    rows = [sum(counts) for counts in held.get("class_counts") or []]
    done = run.manifest.get("applied") or {}
    why = done.get("why") or held.get("idle") or []
    if not rows or len(why) != len(rows):
        return []
    names, idle = client_names(run), _idle(run, len(rows))
    return [
        {
            "client": names.get(place, str(place)),
            "rows": rows[place],
            "why": why[place],
            "idle": idle[place] or not rows[place],
        }
        | {key: done[key][place] for key in ("drawn", "made") if len(done.get(key) or []) == len(rows)}
        for place in range(len(rows))
    ]


def _summary(records: Mapping[str, Sequence[dict[str, Any]]], seed: int | None) -> Table:
    drawn = any("drawn" in client for clients in records.values() for client in clients)
    lines = []
    for name, clients in records.items():
        able = [client for client in clients if not client["idle"]]
        as_asked = sum(not client.get("why") for client in able)
        rows = sum(int(client.get("rows") or 0) for client in clients)
        acted = sum(int(client.get("rows") or 0) for client in able)
        reasons = Counter(_why(client) for client in clients if _why(client))
        cells = [
            Cell(name, tone="name"),
            Cell(f"{len(able)} of {len(clients)}", value=float(len(able))),
            Cell(f"{100 * acted / rows:.0f}" if rows else words.NOTHING, value=acted / rows if rows else math.nan),
            Cell(f"{as_asked} of {len(clients)}", value=float(as_asked)),
        ]
        if drawn:
            for key in ("drawn", "made"):
                cells.append(number_cell(sum(int(client.get(key) or 0) for client in clients), words.count))
        said = "; ".join(f"{why} ({count})" for why, count in reasons.most_common())
        cells.append(Cell(said or "as asked on all", tone="words"))
        lines.append(Line(cells))
    under = f", under seed {seed}" if seed is not None else ""
    return Table(
        "applied-summary",
        f"Clients where each remedy acts, where it did all that was asked, and why not elsewhere{under}.",
        [
            Column("Remedy"),
            Column("Acts on clients", True),
            Column("Their rows, %", True),
            Column("Wholly as asked", True),
            *([Column("Rows drawn", True), Column("Rows made", True)] if drawn else []),
            Column("Elsewhere"),
        ],
        lines,
    )


def _by_client(records: Mapping[str, Sequence[dict[str, Any]]], seed: int | None) -> Table:
    first = next(iter(records.values()))
    order = list(range(len(first)))
    if len(first) > LISTED:
        order = sorted(sorted(order, key=lambda place: -int(first[place].get("rows") or 0))[:LISTED])
    under = f", under seed {seed}" if seed is not None else ""
    caption = f"What each remedy did on each client{under}. ✓: as asked; otherwise why not."
    if len(records) > max(WIDE, len(order)):
        columns = [Column("Remedy")]
        columns += [
            Column(_titled(str(first[place]["client"])), note=words.many(int(first[place].get("rows") or 0), "row"))
            for place in order
        ]
        lines = [
            Line(
                [
                    Cell(name, tone="name"),
                    *(_did(clients[place]) if place < len(clients) else empty() for place in order),
                ]
            )
            for name, clients in records.items()
        ]
    else:
        columns = [Column("Client"), Column("Rows", True), *(Column(name) for name in records)]
        lines = []
        for place in order:
            cells = [
                Cell(str(first[place]["client"]), value=float(place)),
                number_cell(first[place].get("rows"), words.count),
            ]
            cells += [_did(clients[place]) if place < len(clients) else empty() for clients in records.values()]
            lines.append(Line(cells))
    return Table("applied-clients", caption, columns, lines, filtered=True, look="tall")


def _titled(client: str) -> str:
    """Return a client's name, or its number as one."""
    return f"Client {client}" if client.isdigit() else client


def _why(client: dict[str, Any]) -> str:
    """Return why a client is not as asked; one without rows is served by no remedy, whatever it asks of clients."""
    return str(client.get("why") or ("empty shard" if _without_rows(client) else ""))


def _did(client: dict[str, Any]) -> Cell:
    drawn, made, rows = (number(client.get(key)) for key in ("drawn", "made", "rows"))
    note = []
    if math.isfinite(drawn) and drawn != rows:
        note.append(f"drew {words.count(drawn)}")
    if math.isfinite(made) and made:
        note.append(f"made {words.count(made)}")
    why = _why(client)
    return Cell(why or "✓", ", ".join(note), tone="words idle" if why else "words done")
