"""The page of a comparison: the answer first, then what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgefed.notes import idle_settings, notes_of_comparison
from edgefed.report.page import words
from edgefed.report.page.answer import lead, needs, notes, warnings
from edgefed.report.page.applied import applied
from edgefed.report.page.audited import audited
from edgefed.report.page.blocks import Page, Section, Terms, Text
from edgefed.report.page.classes import orders, recall
from edgefed.report.page.clients import shards
from edgefed.report.page.cost import cost
from edgefed.report.page.findings import measures, tiers
from edgefed.report.page.learning import curves, rates
from edgefed.report.page.moved import moved_by_remedy
from edgefed.report.page.references import references
from edgefed.report.page.repeat import compare_command, explained, repeat, terms
from edgefed.runs import read_json

if TYPE_CHECKING:
    from edgefed.report.folder import ComparisonFolder


def comparison_page(found: ComparisonFolder) -> Page:
    """Return the page of a finished comparison; a section whose figures the folder does not have is left out."""
    data = data_name(found)
    first = next(iter(found.runs.values()))[0]
    cautions = warnings(found)
    sections = [
        tiers(found),
        rates(found),
        curves(found),
        recall(found),
        measures(found),
        shards(first, f"under seed {found.seeds[0]}, the first of {len(found.seeds)}"),
        applied(found),
        cost(found),
        moved_by_remedy(found),
        orders(found),
        references(found),
        Section(
            "warnings",
            "Before you rely on this",
            [Terms(cautions, "warnings")]
            if cautions
            else [
                Text(
                    "None of the checks found anything: runs converged, rates lie inside the grid, and the last "
                    "tenth of the rounds agrees."
                )
            ],
        ),
        explained(found.folder, "What the models use"),
        audited(found.folder),
        _repeat(found),
        terms(found.scope),
    ]
    said = notes(found)
    said += map(words.sentence, notes_of_comparison(found.result))
    said += [f"`{setting}` {line}." for setting, line in idle_settings(found.result)]
    if cautions:
        heads = "; ".join(head[0].lower() + head[1:] for head, _ in cautions)  # one has an "on": commas would run on
        said.append(Markup('<a href="#warnings">Before you rely on this</a>: {}.').format(heads))
    return Page(
        title=f"Which remedy for class imbalance helps on {data}?",
        kicker=f"Comparison {found.result.get('comparison') or found.folder.name}",
        lead=lead(found),
        needs=needs(found),
        notes=[found.scope, *said],
        facts=_facts(found),
        sections=sections,
    )


def data_name(found: ComparisonFolder) -> str:
    """Return the dataset's name; a person's CSV goes by its file name."""
    config = next(iter(found.runs.values()))[0].config
    return config.data_name


def _facts(found: ComparisonFolder) -> list[tuple[str, str]]:
    result = found.result
    setting = str(result.get("setting") or "")
    facts = [
        ("Remedies", words.count(len(found.remedies))),
        ("Seeds", words.count(len(found.seeds))),
        ("Federations", words.count(result.get("federations"))),
        ("Client updates", words.count(result.get("client_updates"))),
        ("Time", words.seconds(result.get("seconds"))),
        ("Setting", setting),
    ]
    return [(name, value) for name, value in facts if value and value != words.NOTHING]


def _repeat(found: ComparisonFolder) -> Section:
    first = next(iter(found.runs.values()))[0]
    plan: dict[str, Any] = {}
    if (found.folder / "plan.json").is_file():
        plan = read_json(found.folder / "plan.json")
    settings = found.result.get("settings") or plan.get("settings") or first.config.to_mapping()
    arms = [str(arm["name"]) for arm in found.arms]
    asked = {
        "strategies": plan.get("strategies") or sorted(arms, key=lambda name: name != "none"),
        "seeds": found.seeds,
        "rates": plan.get("rates") or [],
        "tuned": plan.get("tuned", bool(found.result.get("tuned"))),
    }
    environment = first.manifest.get("environment") or {}
    if found.result.get("versions"):
        environment = found.result["versions"]
    facts = [("Engine", str(first.manifest.get("engine") or "")), ("Rows, SHA-256", _digest(first.manifest, plan))]
    commands = [
        ("This comparison", compare_command(settings, asked)),
        ("This page, from its folder", "edgefed report FOLDER"),
        ("The best on validation rows, as a run", "edgefed run FOLDER/best.toml"),
    ]
    return repeat(settings, environment, commands, [(name, value) for name, value in facts if value])


def _digest(manifest: dict[str, Any], plan: dict[str, Any]) -> str:
    return str(manifest.get("data_sha256") or plan.get("data_sha256") or "")
