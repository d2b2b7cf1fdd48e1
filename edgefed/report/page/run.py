"""The page of a single run: measures, confusion, learning curves, shards, clients, settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from edgefed.effects import without_effect
from edgefed.notes import few_test_rows_of_run, notes_of_run, tested_by_devices
from edgefed.report.folder import RANKED, number
from edgefed.report.page import words
from edgefed.report.page.applied import applied_in_run
from edgefed.report.page.audited import audited
from edgefed.report.page.blocks import Cell, Column, Figure, Line, Page, Section, Table, Terms, number_cell
from edgefed.report.page.clients import shards, taking_part
from edgefed.report.page.findings import MEASURES
from edgefed.report.page.learning import of_each_round
from edgefed.report.page.leaving import leaving, promised
from edgefed.report.page.lines import Frame, limits, line_chart
from edgefed.report.page.lines import Line as Curve
from edgefed.report.page.moved import moved
from edgefed.report.page.repeat import MEANINGS, explained, repeat, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.runs import Run

TERMS = (
    "Balanced accuracy",
    "Macro-F1",
    "Worst recall",
    "G-mean",
    "Log-loss, Brier score",
    "Global class counts",
    "Long tail",
)


def run_page(run: Run) -> Page:
    """Return the page of a finished run; a section whose figures the folder does not have is left out."""
    config, summary = run.config, run.summary
    data = config.data_name
    test = summary.get("test") or {}
    lead = []
    if test.get(RANKED) is not None:
        own = tested_by_devices(run)
        rows = f"the {words.many(own, 'row')} that the devices held out" if own else "test rows"
        lead.append(
            Markup("After {} rounds the model has a balanced accuracy of <strong>{} %</strong> on {}{}.").format(
                len(run.rounds), words.percent(test[RANKED]), rows, _worst(run, test)
            )
        )
    few = few_test_rows_of_run(run)
    lead += [Markup("{}").format(words.sentence(line)) for line in few]  # what the figure above it is worth
    traffic = summary.get("bytes") or {}
    modelled = {} if config.dataset == "devices" else summary.get("modelled") or {}
    facts = [
        ("Remedy", config.imbalance),
        ("Rounds", words.count(summary.get("rounds", len(run.rounds)))),
        ("Clients", words.count(summary.get("clients", config.num_clients))),
        ("Client updates", words.count(summary.get("client_updates"))),
        ("Sent up", words.size(traffic.get("up"))),
        ("Sent down", words.size(traffic.get("down"))),
        ("Time", words.seconds(summary.get("seconds"))),
        ("Modelled time on devices", words.seconds(modelled.get("seconds"))),
        ("Modelled energy", words.energy(modelled.get("joules"))),
    ]
    sections = [
        _measures(run, test),
        _confusion(run),
        _curves(run),
        shards(run, ""),
        applied_in_run(run),
        taking_part(run),
        moved(run),
        leaving(run),
        promised(run),
        explained(run.folder, "What the model uses"),
        audited(run.folder),
        _repeat(run),
        Section("terms", "In plain words", [Terms([(term, MEANINGS[term]) for term in TERMS])]),
    ]
    return Page(
        title=f"{config.imbalance} on {data}, seed {config.seed}",
        kicker="Run",
        lead=lead,
        facts=[(name, value) for name, value in facts if value and value != words.NOTHING],
        sections=sections,
        notes=[
            "One run shows no spread: whether a remedy helps is for a comparison over seeds to say.",
            *(words.sentence(line) for line in notes_of_run(run) if line not in few),
            *(f"`{setting}` {said}." for setting, said in without_effect(config)),
        ],
    )


def _worst(run: Run, test: dict[str, Any]) -> str:
    recalls = [number(value) for value in test.get("recall") or []]
    known = [value for value in recalls if math.isfinite(value)]
    if not known:
        return ""
    if min(known) == max(known):
        return f"; every class has a recall of {words.percent(min(known))} %"
    name = run.manifest["classes"][recalls.index(min(known))]
    return f"; its weakest class is {name}, with a recall of {words.percent(min(known))} %"


def _measures(run: Run, test: dict[str, Any]) -> Section:
    validation, own = run.summary.get("validation") or {}, tested_by_devices(run)
    kinds = {RANKED: ("Balanced accuracy", words.percent, "%, mean over classes of recall")} | MEASURES
    lines = [
        Line(
            [
                _named(title, note),
                number_cell(test.get(key), say),
                *([number_cell(validation.get(key), say)] if validation else []),
            ]
        )
        for key, (title, say, note) in kinds.items()
        if key in test and not (own and key == "brier" and test[key] is None)  # no device tells it
    ]
    for place, name in enumerate(run.manifest.get("classes") or []):
        parts = [rows.get("recall") or [] for rows in (test, validation)]
        if place < len(parts[0]):
            lines.append(
                Line(
                    [
                        Cell(f"Recall of {name}, %", tone="name"),
                        *(
                            number_cell(recalls[place] if place < len(recalls) else None, words.percent)
                            for recalls in parts[: 2 if validation else 1]
                        ),
                    ]
                )
            )
    blocks: list[Any] = []
    if lines:
        columns = [
            Column("Measure"),
            Column("Held-out rows" if own else "Test rows", True),
            *([Column("Validation rows", True)] if validation else []),
        ]
        blocks.append(Table("measures", "The model after the last round.", columns, lines))
    clients = run.summary.get("clients_test") or {}
    heads = {"mean": "Mean", "worst": "Worst client", "bottom10": "Worst tenth", "std": "Spread (SD)"}
    if any(clients.get(key) is not None for key in heads):
        row = Line([Cell("All clients", tone="name"), *(number_cell(clients.get(key), words.percent) for key in heads)])
        caption = f"Balanced accuracy over clients, in percent. Basis: {clients.get('basis') or 'not said'}."
        blocks.append(
            Table("clients-measures", caption, [Column(""), *(Column(t, True) for t in heads.values())], [row])
        )
    return Section("measures", "Measures", blocks)


def _named(title: str, note: str) -> Cell:
    """Return a measure's name with its unit, and below it what else is said of it."""
    unit, _, rest = note.partition(", ") if note.startswith("%") else ("", "", note)
    return Cell(f"{title}, {unit}" if unit else title, rest, tone="name")


def _confusion(run: Run) -> Section:
    found = (run.rounds[-1].get("test") or {}).get("confusion") if run.rounds else None
    if found is None:
        return Section("confusion", "Which class is taken for which", [])
    names = [str(name) for name in run.manifest["classes"]]
    table = confusion_table(np.array(found, np.int64), names, devices_own=tested_by_devices(run) > 0)
    return Section("confusion", "Which class is taken for which", [table])


def confusion_table(
    matrix: NDArray[np.int64], names: Sequence[str], over: str = "", *, devices_own: bool = False
) -> Table:
    """Return counts of true classes (lines) taken for classes (columns); ``over`` says what they are summed over.

    With ``devices_own`` they are of rows that the devices held out. Neutral: of the server's test rows.
    """
    kind, rows = ("held-out row", "Rows held out by the devices,") if devices_own else ("test row", "Test rows")
    lines = []
    for place, name in enumerate(names):
        total = int(matrix[place].sum())
        cells = [Cell(name, f"{words.count(total)} {kind}s", tone="name")]
        for other in range(len(names)):
            count = int(matrix[place, other])
            share = count / total if total else 0.0
            tone = "heat right" if place == other else "heat wrong"
            cells.append(
                Cell(words.count(count), f"{100 * share:.0f} %", float(count), tone, round(share, 3))
                if count
                else Cell("·", value=0.0, tone="nothing")
            )
        lines.append(Line(cells))
    columns = [Column("True class"), *(Column(f"as {name}", True) for name in names)]
    caption = f"{rows} after the last round{over}: each line is a true class, each column what it was taken for."
    return Table("confusion", caption, columns, lines, look="heat")


def _curves(run: Run) -> Section:
    x = of_each_round(run, "round")
    scores = {
        "held out" if tested_by_devices(run) else "test": (f"test.{RANKED}", "of-ink"),
        "validation": (f"validation.{RANKED}", "hue-0 dash-1"),
    }
    losses = {"training": ("train_loss", "hue-1 dash-2"), "validation": ("validation.log_loss", "hue-0 dash-1")}
    pictures = []
    for name, words_up, scale, parts in (
        ("scores", "balanced accuracy (%)", 100, scores),
        ("losses", "loss", 1, losses),
    ):
        lines = []
        for label, (key, look) in parts.items():
            values = scale * of_each_round(run, key)
            if np.isfinite(values).any():
                blank = np.full(len(values), np.nan)
                lines.append(Curve(look, values, blank, blank, label))
        if lines:
            low, high = limits(lines, least=0.1)
            frame = Frame(400, 280, "round", words_up, low, high, margin=80)
            ends = " ".join(f"{line.label}: {line.mean[np.isfinite(line.mean)][-1]:.3g} at the end." for line in lines)
            pictures.append(("", "", line_chart(name, f"{words_up} by round", ends, x, lines, frame)))
    if not pictures:
        return Section("curves", "Learning curves", [])
    told = {
        "train_loss": f"Training loss ({run.config.loss}) is the mean over clients",
        "validation.log_loss": "validation loss is the log-loss",
    }
    said = "; ".join(line for key, line in told.items() if np.isfinite(of_each_round(run, key)).any())
    caption = words.sentence(said) if said else ""
    return Section("curves", "Learning curves", [Figure(pictures, caption, "pair")])


def _repeat(run: Run) -> Section:
    manifest, settings = run.manifest, run.config.to_mapping()
    facts = [
        ("Engine", str(manifest.get("engine") or "")),
        ("Model, SHA-256", str(run.summary.get("model_sha256") or "")),
        ("Rows, SHA-256", str(manifest.get("data_sha256") or "")),
    ]
    commands = [("This run", run_command(settings)), ("This page, from its folder", "edgefed report FOLDER")]
    return repeat(settings, manifest.get("environment") or {}, commands, [fact for fact in facts if fact[1]])
