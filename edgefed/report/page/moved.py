"""Section on moved data: what federated training sent, what sending the rows would have, and what each reveals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefed.imbalance import REMEDIES
from edgefed.report.folder import number
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Line, Section, Table, Text, number_cell

if TYPE_CHECKING:
    from edgefed.runs import Run

LABEL_BYTES, FEATURE_BYTES = 1, 4
"""A row sent as it is: a float32 a feature, and a byte for its class."""


def raw_bytes(run: Run) -> int:
    """Return what sending every training row to the server would have moved, without any header."""
    rows = run.manifest["rows"]["train"]
    return int(rows * (FEATURE_BYTES * len(run.manifest["features"]) + LABEL_BYTES))


def moved(run: Run) -> Section:
    """Return the section of a run, empty where its folder does not say what was moved."""
    summary, manifest = run.summary, run.manifest
    if "bytes" not in summary or "rows" not in manifest or "query_bytes" not in manifest:
        return Section("moved", "Moved data against raw data", [])
    query = sum(manifest["query_bytes"].values())
    explained = sum(manifest.get("explanation_bytes", {}).values())
    total = sum(summary["bytes"].values())
    trained = total - query - explained
    payload = summary.get("payload_bytes")
    raw = raw_bytes(run)
    lines = [
        _line("Weights and updates, all rounds", trained, _of_training(run)),
        _line("Query round, once", query, _of_query(run)),
        *([_line("Explanation, once", explained, "sums and means over each client's rows")] if explained else []),
        _line(
            "Instead: every training row, once", raw, "everything: each row and its label, to whoever runs the server"
        ),
    ]
    columns = [Column("What is sent"), Column("Bytes", True), Column("What the server learns by it")]
    caption = (
        "Bytes but for the last line's are Flower's deflated objects as counted, HTTP and TLS left out; those of the "
        f"rows are {FEATURE_BYTES} a feature and {LABEL_BYTES} a label, without headers."
    )
    times = total / raw if raw else float("nan")
    compared = (
        f"Federated training moved {times:.3g} times what the rows themselves weigh"
        if times >= 1
        else f"Federated training moved {words.percent(times)} % of what the rows themselves weigh"
    )
    said = (
        [f"{compared}: it is not done to save bytes here, but so that no row leaves its device."] if times >= 1 else []
    )
    said = said or [f"{compared}, and no row left its device."]
    if payload and trained > 0:
        arrays = sum(payload.values())
        share = arrays / trained
        said.append(
            f"Of what the rounds moved, {words.size(arrays)} ({words.percent(share)} %) are numbers of the model; the "
            "rest is names, shapes and headers" + (", which outweigh them at this size." if share < 0.5 else ".")
        )
    return Section(
        "moved", "Moved data against raw data", [Text(" ".join(said)), Table("moved-table", caption, columns, lines)]
    )


def _line(what: str, size: float, reveals: str) -> Line:
    return Line([Cell(what, tone="name"), number_cell(number(size), words.size), Cell(reveals, tone="words")])


def _of_training(run: Run) -> str:
    config = run.config
    sent = {
        "none": "each client's trained weights",
        "float16": "each client's update, in half precision",
        "int8": "each client's update, to a 127th of its largest number",
        "top-k": f"the largest {100 * config.top_k_share:g} % of each client's update",
    }[config.compression]
    remedy: Any = REMEDIES[config.imbalance](config)
    also = ["its row count and mean loss"]
    if remedy.reweighs:
        also.append("its say in the average")
    return f"{sent}, {words.listed(also)}. Weights can give rows away: nothing here hides them from the server"


def _of_query(run: Run) -> str:
    found = ["row counts"]
    if run.config.standardize in ("federated", "local") or run.config.missing == "mean":
        found.append("means and spreads of each client's features")
    if run.manifest.get("class_counts_asked"):
        noisy = REMEDIES[run.config.imbalance](run.config).tells_noisy_counts
        found.append(f"{'noisy ' if noisy else ''}class counts of each client")
    return words.listed(found)
