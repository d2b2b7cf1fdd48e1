"""Sections on privacy: the ledger of what left the clients, and what the run's noise promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Fold, Line, Section, Table, Text, number_cell

if TYPE_CHECKING:
    from edgefed.runs import Run

MESSAGES = {
    "query.introduce": "Introduction, once",
    "query": "Query round, once",
    "train": "Training, each round",
    "query.secagg_keys": "Secure aggregation, keys",
    "query.secagg_shares": "Secure aggregation, shares",
    "query.secagg_unmask": "Secure aggregation, unmasking",
    "evaluate": "Evaluation by clients",
    "query.class_moments": "Explanation, once",
    "query.explain": "Explanation, once",
}
MEANINGS = {
    "exact": "the server sees it as it is",
    "noised": "the client adds noise before it leaves, which the server, who has the seed, can take off",
    "clipped and noised centrally": "the server sees it as it is, and puts noise on the average that it sends on",
    "masked": "the server sees nothing but the sum over clients",
    "no data": "names, headers and keys alone",
}


def leaving(run: Run) -> Section:
    """Return the ledger of a run, empty where its folder has none."""
    ledger: list[dict[str, Any]] = run.manifest.get("ledger") or []
    if not ledger:
        return Section("leaving", "What left the clients", [])
    total = sum(row["bytes"] or 0 for row in ledger)
    exact = [row for row in ledger if row["status"] == "exact"]
    lines = [
        Line(
            [
                Cell(row["field"], MESSAGES.get(row["message"], row["message"]), tone="name"),
                Cell(row["what"], tone="words"),
                number_cell(row["messages"], words.count),
                number_cell(row["bytes"], words.size),
                Cell("; ".join(filter(None, (row["status"], row.get("caveat")))), tone="words"),
            ]
        )
        for row in ledger
    ]
    columns = [
        Column("Field"),
        Column("What it is"),
        Column("Messages", True),
        Column("Bytes", True),
        Column("Protection"),
    ]
    said = (
        f"All {words.size(total)} that left the clients, by field: {len(exact)} of {len(ledger)} fields leave as they "
        "are. No field is a row; what a field gives away of rows is another question, which no ledger answers."
    )
    found = dict.fromkeys(row["status"] for row in ledger)
    means = "; ".join(f"{status}: {MEANINGS[status]}" for status in found if status in MEANINGS)
    caption = f"Every field of every message that a client sent; bytes sum to what the run moved up. {means}."
    table = Table("ledger", caption, columns, lines)
    return Section("leaving", "What left the clients", [Text(said), Fold(f"All {len(ledger)} fields", [table])])


def promised(run: Run) -> Section:
    """Return what the noise of a run promises, empty where it had none."""
    account: dict[str, Any] | None = run.summary.get("privacy")
    if not account or "assumes" not in account:
        return Section("promised", "What the noise promises", [])
    lines = []
    if account["epsilon"] is not None:
        said = (
            f"models of {words.count(account['releases'])} rounds: noise {account['noise_multiplier']:g} times a "
            f"clipping norm of {account['clipping_norm']:g} on a sum over {words.count(account['cohort'])} clients"
        )
        lines.append(_line("a client", f"{account['epsilon']:.4g}", f"{account['delta']:.3g}", said))
    elif account["mechanism"] != "none":
        lines.append(_line("a client", "none", "none", account["says"]))
    if account["histogram"]:
        told = account["histogram"]
        lines.append(_line("a row", f"{told['epsilon']:g}", "0", "class counts, told once: one row's class replaced"))
    columns = [Column("Of whom"), Column("Epsilon", True), Column("Delta", True), Column("What it covers")]
    caption = "Differential privacy: with or without one client (or with another class for one row), nothing that is "
    caption += "covered is more than e^epsilon times as likely, but for a probability of delta. The two units are "
    caption += "never added."
    blocks: list[Any] = []
    if account["says"] and account["epsilon"] is not None:
        blocks.append(Text(f"{account['says'][0].upper()}{account['says'][1:]}."))
    blocks.append(Table("account", caption, columns, lines))
    blocks += [Text(f"It assumes: {'; '.join(account['assumes'])}.")]
    if account["leaves_out"]:
        blocks.append(Text(f"It does not cover: {'; '.join(account['leaves_out'])}."))
    return Section("promised", "What the noise promises", blocks)


def _line(unit: str, epsilon: str, delta: str, covers: str) -> Line:
    return Line([Cell(unit, tone="name"), Cell(epsilon), Cell(delta), Cell(covers, tone="words")])
