"""Section on moved data: what federated training sent, what sending the rows would have, and what each reveals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefed.categories import columns_of, parsed_categories
from edgefed.imbalance import REMEDIES
from edgefed.report.folder import number
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Line, Section, Table, Text, empty, number_cell
from edgefed.report.page.findings import line_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.report.folder import ComparisonFolder
    from edgefed.runs import Run

LABEL_BYTES, FEATURE_BYTES = 1, 4
"""A row sent as it is: a float32 a number, and a byte for each category and for its class."""
TITLE = "Moved data against raw data"
EVERYTHING = "everything: each row and its label"
COUNTED = (
    "Flower's deflated objects as counted, HTTP and TLS left out; those of the rows are "
    f"{FEATURE_BYTES} a number and {LABEL_BYTES} a category or label, without headers"
)


def raw_bytes(run: Run) -> int:
    """Return what sending every training row to the server would have moved, without any header."""
    rows, features = run.manifest["rows"]["train"], run.manifest["features"]
    columns = columns_of(features, categories := parsed_categories(run.config.categories))
    numbers = sum(column not in categories for column in columns)
    return int(rows * (FEATURE_BYTES * numbers + LABEL_BYTES * (len(columns) - numbers + 1)))


def moved(run: Run) -> Section:
    """Return the section of a run, empty where its folder does not say what was moved."""
    if not _known(run):
        return Section("moved", TITLE, [])
    trained, query, explained = _moved_by(run)
    total = trained + query + explained
    payload = run.summary.get("payload_bytes")
    raw = raw_bytes(run)
    lines = [
        _line("Weights and updates, all rounds", trained, f"{_of_training(run)}. {_caution(run)}"),
        _line("Query round, once", query, _of_query(run)),
        *([_line("Explanation, once", explained, "sums and means over each client's rows")] if explained else []),
        _line("Instead: every training row, once", raw, f"{EVERYTHING}, to whoever runs the server"),
    ]
    columns = [Column("What is sent"), Column("Bytes", True), Column("What the server learns by it")]
    caption = f"Bytes but for the last line's are {COUNTED}."
    times = total / raw if raw else float("nan")
    compared = (
        f"Federated training moved {_times(times)} times what the rows themselves weigh"
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
    return Section("moved", TITLE, [Text(" ".join(said)), Table("moved-table", caption, columns, lines)])


def moved_by_remedy(found: ComparisonFolder) -> Section:
    """Return the section of a comparison: a line a remedy, means over seeds; empty where runs do not say."""
    if not all(_known(run) for runs in found.runs.values() for run in runs):
        return Section("moved", TITLE, [])
    raw = _mean([raw_bytes(run) for run in next(iter(found.runs.values()))])
    lines = []
    for arm in found.arms:
        runs = found.runs[arm["name"]]
        trained, query, explained = (_mean(column) for column in zip(*map(_moved_by, runs), strict=True))
        total = trained + query + explained
        cells = [
            number_cell(trained, words.size),
            number_cell(query, words.size),
            number_cell(total / raw if raw else None, _times),
            Cell(_of_training(runs[0]), tone="words"),
            Cell(_of_query(runs[0]), tone="words"),
        ]
        lines.append(line_of(arm, cells))
    everything = [number_cell(raw, words.size), empty(""), number_cell(1.0, lambda value: f"{value:.0f}")]
    lines.append(
        Line(
            [Cell("Instead: every training row", tone="total"), *everything, Cell(EVERYTHING, tone="words"), empty("")],
            look="foot",
        )
    )
    columns = [
        Column("Remedy"),
        Column("Rounds", True, "weights and updates"),
        Column("Query round", True, "once"),
        Column("Times the rows", True),
        Column("What the server learns in the rounds"),
        Column("and in the query round"),
    ]
    caption = f"What a run of each remedy moved, up and down, mean over seeds. Bytes are {COUNTED}."
    return Section(
        "moved",
        TITLE,
        [Text(f"{_caution(found.runs[found.arms[0]['name']][0])}."), Table("moved-table", caption, columns, lines)],
    )


def _known(run: Run) -> bool:
    return "bytes" in run.summary and {"rows", "query_bytes", "features"} <= run.manifest.keys()


def _moved_by(run: Run) -> tuple[int, int, int]:
    """Return the bytes of a run's rounds, of its query round and of its explanation."""
    query = sum(run.manifest["query_bytes"].values())
    explained = sum(run.manifest.get("explanation_bytes", {}).values())
    return sum(run.summary["bytes"].values()) - query - explained, query, explained


def _times(value: Any) -> str:
    return words.count(value) if number(value) >= 1000 else f"{number(value):.3g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _line(what: str, size: float, reveals: str) -> Line:
    return Line([Cell(what, tone="name"), number_cell(number(size), words.size), Cell(reveals, tone="words")])


def _caution(run: Run) -> str:
    if run.config.privacy == "secagg":
        return "A sum can give rows away too, the fewer clients the more: it is not noised"
    if run.config.privacy == "none":
        return "Weights can give rows away: nothing here hides them from the server"
    return (
        f"Weights can give rows away: what privacy={run.config.privacy} hides is on a run's page, What left the clients"
    )


def _of_training(run: Run) -> str:
    config = run.config
    if config.privacy == "secagg":
        return "the sums of the clients' updates, say, rows, losses and steps, and no client's own"
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
    return f"{sent}, {words.listed(also)}"


def _of_query(run: Run) -> str:
    found = ["row counts"]
    if run.config.standardize in ("federated", "local") or run.config.missing == "mean":
        found.append("means and spreads of each client's features")
    if run.manifest.get("class_counts_asked"):
        noisy = REMEDIES[run.config.imbalance](run.config).tells_noisy_counts
        found.append(f"{'noisy ' if noisy else ''}class counts of each client")
    return words.listed(found)
