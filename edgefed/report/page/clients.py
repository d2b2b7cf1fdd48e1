"""Sections on clients: who holds what, and how each took part."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.report.folder import client_names
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Line, Section, Table, Text, empty, number_cell
from edgefed.runs import CLIENT_COLUMNS

if TYPE_CHECKING:
    from edgefed.runs import Run

LISTED = 200
"""Clients up to which each has a row; of more, those with the most rows."""
OPEN = 24
"""Clients up to which the list of them needs no unfolding."""


# ---------------------------------------------------------------------------------------------- shards
def shards(run: Run, which: str) -> Section:
    """Return training rows by client and class, classes from common to rare.

    Parameters
    ----------
    which : str
        Whose shards they are, as "under seed 0, the first of 30"; empty for a single run.
    """
    held = run.manifest.get("shards") or {}
    if not held.get("class_counts"):
        return Section("shards", "Who holds what", [])
    names = [str(name) for name in run.manifest["classes"]]
    counts = np.array(held["class_counts"], np.int64).reshape(-1, len(names))
    order = np.argsort(-counts.sum(0), kind="stable")
    clients = client_names(run)
    rows = counts.sum(1)
    listed = np.arange(len(counts))
    if len(counts) > LISTED:
        listed = np.sort(np.argsort(-rows, kind="stable")[:LISTED])
    largest = int(counts.max(initial=1))
    lines = [
        Line(
            [
                Cell(clients.get(int(client), str(client)), value=float(client)),
                *(_held(int(counts[client, label]), largest) for label in order),
                number_cell(int(rows[client]), words.count),
                number_cell(int((counts[client] > 0).sum()), words.count),
            ]
        )
        for client in listed
    ]
    total = [Cell("all clients", tone="total")]
    total += [
        Cell(
            words.count(counts[:, label].sum()),
            f"at {int((counts[:, label] > 0).sum())}",
            float(counts[:, label].sum()),
            "total",
        )
        for label in order
    ]
    total += [Cell(words.count(rows.sum()), value=float(rows.sum()), tone="total"), empty("")]
    columns = [
        Column("Client"),
        *(Column(names[label], True) for label in order),
        Column("Rows", True),
        Column("Classes", True),
    ]
    table = Table(
        "shards",
        f"Training rows by client and class{', ' + which if which else ''}; classes go from common to rare.",
        columns,
        [*lines, Line(total, look="foot")],
        filtered=len(lines) > OPEN,
        look="heat tall",
    )
    return Section("shards", "Who holds what", [Text(_shards_in_words(counts, len(listed))), table])


def _held(count: int, largest: int) -> Cell:
    if not count:
        return Cell("·", value=0.0, tone="nothing")
    return Cell(words.count(count), value=float(count), tone="heat plus", strength=round(math.sqrt(count / largest), 3))


def _shards_in_words(counts: Any, listed: int) -> str:
    rows, kinds = counts.sum(1), (counts > 0).sum(1)
    empty_clients, single = int((rows == 0).sum()), int((kinds == 1).sum())
    parts = [
        f"{words.many(len(counts), 'client')} hold {words.count(rows.sum())} training rows of "
        f"{words.many(counts.shape[1], 'class')}, {words.count(np.median(rows))} in the median."
    ]
    if empty_clients:
        parts.append(f"{words.count(empty_clients)} {'is' if empty_clients == 1 else 'are'} empty.")
    if single:
        parts.append(f"{words.count(single)} {'holds' if single == 1 else 'hold'} one class only.")
    if listed < len(counts):
        parts.append(f"Listed are the {listed} with the most rows.")
    return " ".join(parts)


# ---------------------------------------------------------------------------------------------- taking part
def taking_part(run: Run) -> Section:
    """Return each client's rows, rounds, steps and last training loss, from ``clients.csv``."""
    title = "How each client took part"
    if run.folder is None or not (run.folder / "clients.csv").is_file():
        return Section("clients", title, [])
    names = client_names(run)
    parts: dict[str, dict[str, Any]] = {}
    try:
        table = csv.DictReader(io.StringIO((run.folder / "clients.csv").read_text(encoding="utf-8")))
        if not set(CLIENT_COLUMNS) <= set(table.fieldnames or ()):
            return Section("clients", title, [])
        for row in table:
            part = parts.setdefault(row["client"], {"rounds": 0, "steps": 0, "refused": 0, "loss": "", "rows": 0})
            part["rounds"] += 1
            part["steps"] += int(row["steps"] or 0)
            part["refused"] += not row["verdict"].startswith("ok")
            part["loss"], part["rows"] = row["train_loss"], int(row["rows"] or 0)
    except (OSError, ValueError, TypeError, csv.Error):
        return Section("clients", title, [])
    costs, masked = _costs(run), run.config.privacy == "secagg"  # the server knows the steps of all together alone
    keys = sorted(parts, key=lambda key: (-parts[key]["rows"], key))[:LISTED]
    lines = [
        Line(
            [
                Cell(
                    names.get(int(key), key) if key.isdigit() else key,
                    value=float(key) if key.isdigit() else None,
                ),
                number_cell(parts[key]["rows"], words.count),
                number_cell(parts[key]["rounds"], words.count),
                number_cell(None if masked else parts[key]["steps"], words.count),
                number_cell(float(parts[key]["loss"]) if parts[key]["loss"] else None, words.plain),
                *(costs.get(key, [empty()] * 3) if costs else []),
                number_cell(parts[key]["refused"], words.count),
            ]
        )
        for key in keys
    ]
    listed = f"; the {LISTED} with the most rows" if len(parts) > LISTED else ""
    columns = [
        Column("Client"),
        Column("Rows", True),
        Column("Rounds", True, f"of {len(run.rounds)}"),
        Column("Local steps", True, "in all"),
        Column("Training loss", True, "its last"),
        *(
            [Column("Device"), Column("At work", True, "modelled, in all"), Column("Energy", True, "modelled, in all")]
            if costs
            else []
        ),
        Column("Not counted", True, "refused, lost, late"),
    ]
    table_block = Table(
        "clients",
        f"Clients that took part{listed}. An empty client sends no update.",
        columns,
        lines,
        filtered=len(lines) > OPEN,
        look="tall",
    )
    return Section("clients", title, [*_holders(run), table_block])


def _costs(run: Run) -> dict[str, list[Cell]]:
    """Return each client's device, modelled seconds at work and joules, by its number; nothing on real devices."""
    edge = run.manifest.get("edge") or {}
    if run.config.dataset == "devices" or not {"kind", "devices", "busy_seconds", "joules"} <= edge.keys():
        return {}
    columns = zip(edge["kind"], edge["busy_seconds"], edge["joules"], strict=True)
    return {
        str(client): [
            Cell(str(edge["devices"][kind]), tone="words"),
            number_cell(busy, words.seconds),
            number_cell(joules, words.energy),
        ]
        for client, (kind, busy, joules) in enumerate(columns)
    }


def _holders(run: Run) -> list[Text]:
    """Return in a sentence how often the holders of each class were counted; nothing where nobody knows."""
    shares = (run.manifest.get("edge") or {}).get("by_class")
    if not shares:
        return []
    said = [f"{name} {words.percent(share)} %" for name, share in zip(run.manifest["classes"], shares, strict=True)]
    return [Text(f"Share of rounds in which the updates of a class's holders counted, by rows: {words.listed(said)}.")]
