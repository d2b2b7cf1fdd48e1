"""The page of a grid of comparisons: where each remedy gains, and a link to each block's own page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgefed.config import SettingsError
from edgefed.notes import notes_of_grid
from edgefed.report.folder import number, verb_of
from edgefed.report.page import words
from edgefed.report.page.blocks import (
    Cell,
    Column,
    Line,
    Links,
    Page,
    Section,
    Table,
    Text,
    empty,
    gain_cell,
    number_cell,
)
from edgefed.report.page.repeat import compare_command, repeat, terms
from edgefed.runs import is_folder_of, read_json

if TYPE_CHECKING:
    from pathlib import Path

SIGNS = {"better": "▲", "worse": "▼"}


def grid_page(folder: Path) -> Page:
    """Return the page of a finished grid.

    Raises
    ------
    SettingsError
        One line, when ``grid.json`` does not hold a grid's figures.
    """
    result = read_json(folder / "grid.json")
    try:
        return _page(folder, result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SettingsError(f"{folder / 'grid.json'}: not a grid's figures ({type(error).__name__}: {error})") from None


def block_folders(folder: Path) -> list[Path]:
    """Return the folders of a grid's blocks that are there and finished."""
    blocks = read_json(folder / "grid.json").get("blocks") or []
    homes = [folder / str(block["folder"]) for block in blocks if block.get("folder")]
    return [home for home in homes if is_folder_of(home, "comparison")]


def _page(folder: Path, result: dict[str, Any]) -> Page:
    finding = str(result.get("finding") or "").strip()
    facts = [
        ("Blocks", words.count(len(result["blocks"]))),
        ("Seeds", words.count(len(result.get("seeds") or []))),
        ("Federations", words.count(result.get("federations"))),
        ("Client updates", words.count(result.get("client_updates"))),
        ("Time", words.seconds(result.get("seconds"))),
    ]
    return Page(
        title="Where does each remedy for class imbalance help?",
        kicker=f"Grid {result.get('comparison') or folder.name}, {' by '.join(result.get('grid') or {})}",
        lead=[f"{finding[:1].upper()}{finding[1:]}{' seeds' if finding[-1].isdigit() and 'need' in finding else ''}."]
        if finding
        else [],
        facts=[(name, value) for name, value in facts if value != words.NOTHING],
        notes=[
            *(f"{verb_of(result)} {said}." for said in [str(result.get("generalises_over") or "").strip()] if said),
            *map(words.sentence, notes_of_grid(result)),
        ],
        sections=[
            _gains(result),
            _wins(result),
            _across(result),
            _blocks(folder, result),
            _repeat(folder, result),
            terms("Each block is a comparison of its own, and blocks of one dataset share its rows."),
        ],
    )


def _gains(result: dict[str, Any]) -> Section:
    rows = result.get("gains") or []
    arms = list(dict.fromkeys(str(row["strategy"]) for row in rows))
    found = {(row["block"], row["strategy"]): row for row in rows}
    largest = max((abs(number(row["mean"])) for row in rows if math.isfinite(number(row["mean"]))), default=0.0)
    keys = list(result.get("grid") or result["blocks"][0]["settings"])
    told = rows and all("tier_grid" in row and not row["tier_grid"].startswith("too few") for row in rows)
    tier = "tier_grid" if told else "tier"
    lines = []
    for block in result["blocks"]:
        cells = [_setting(block["settings"].get(key)) for key in keys]
        mine = [found.get((block["block"], arm)) for arm in arms]
        base = next((row["none"] for row in mine if row), None)
        cells.append(number_cell(base, words.percent))
        for row in mine:
            cells.append(_gain(row, largest, tier) if row else empty())
        lines.append(Line(cells))
    columns = [*(Column(key) for key in keys), Column("none, %", True), *(Column(arm, True) for arm in arms)]
    caption = (
        "Gain over none in points of test balanced accuracy, mean and 95 % interval over seeds. ▲ better and ▼ worse "
        "than none; others cannot be told from it. "
    )
    caption += (
        "So many contrasts would need more seeds: p is adjusted within each block alone."
        if tier == "tier"
        else "p is adjusted by Holm's method over all contrasts of the grid."
    )
    table = Table("gains", caption, columns, lines, filtered=True, look="heat")
    return Section("gains", "Gain over none, block by block", [table] if rows else [])


def _setting(value: Any) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value:.10g}", value=float(value), tone="name")
    return Cell(str(value) if value != "" else "empty", tone="name")


def _gain(row: dict[str, Any], largest: float, tier: str) -> Cell:
    cell = gain_cell(row["mean"], largest, words.interval(row, words.points))
    sign = SIGNS.get(str(row.get(tier) or "").partition(" ")[0], "")
    return Cell(f"{sign} {cell.text}".strip(), cell.note, cell.value, cell.tone, cell.strength)


def _wins(result: dict[str, Any]) -> Section:
    wins = result.get("wins") or []
    lines = [
        Line(
            [
                Cell(str(win["strategy"]), tone="name"),
                *(
                    number_cell(win.get(key), words.count)
                    for key in ("better", "indistinguishable", "worse", "undecided")
                ),
                number_cell(win.get("mean"), words.points),
                number_cell((win.get("least") or {}).get("mean"), words.points),
                number_cell((win.get("most") or {}).get("mean"), words.points),
            ]
        )
        for win in wins
    ]
    columns = [
        Column("Remedy"),
        Column("Better", True),
        Column("Indistinguishable", True),
        Column("Worse", True),
        Column("Too few seeds", True),
        Column("Mean gain, points", True),
        Column("Least", True),
        Column("Most", True),
    ]
    caption = f"In how many of {len(result['blocks'])} blocks each remedy is told apart from none, over the whole grid."
    return Section("wins", "How often", [Table("wins", caption, columns, lines)] if lines else [])


def _across(result: dict[str, Any]) -> Section:
    found = result.get("across_blocks") or {}
    blocks: list[Any] = []
    finding, basis = str(found.get("finding") or ""), str(found.get("basis") or "")
    if finding:
        blocks.append(Text(f"{finding[:1].upper()}{finding[1:]}."))
    friedman, critical = found.get("friedman") or {}, found.get("critical_difference")
    if critical is not None and number(friedman.get("p")) <= 0.05:
        blocks.append(
            Text(f"Two remedies differ where mean ranks are more than {words.plain(critical, 2)} apart (Nemenyi).")
        )
    ranks = (found.get("ranks") or {}) if friedman else {}  # of too few blocks no rank says anything
    if ranks:
        cliques = found.get("cliques") or []
        lines = [
            Line(
                [
                    Cell(str(arm), tone="name"),
                    number_cell(rank, lambda value: words.plain(value, 2)),
                    *(
                        [Cell(", ".join(chr(97 + place) for place, clique in enumerate(cliques) if arm in clique))]
                        if cliques
                        else []
                    ),
                ]
            )
            for arm, rank in ranks.items()
        ]
        columns = [
            Column("Remedy"),
            Column("Mean rank", True, "1 is best"),
            *([Column("Group", note="a shared letter: not told apart")] if cliques else []),
        ]
        blocks.append(Table("ranks", "Mean ranks over the blocks.", columns, lines))
    if basis.startswith("a dataset each"):
        basis = "a dataset counts once, by the mean over its blocks, which share its rows"
    if basis:
        blocks.append(Text(f"Mean ranks of remedies, {'tested' if ranks else 'not given'}: {basis}.", "small"))
    return Section("across", "Over all blocks", blocks)


def _blocks(folder: Path, result: dict[str, Any]) -> Section:
    items = []
    for block in result["blocks"]:
        home = block.get("folder")
        name = ", ".join(f"{key}={_setting(value).text}" for key, value in block["settings"].items())
        said = f"{name}: {block.get('finding') or ''}".rstrip(": ")
        there = home and is_folder_of(folder / str(home), "comparison")
        items.append((quote(f"{home}/report.html") if there else "", said))
    return Section("blocks", "Each block's own page", [Links(items)])


def _repeat(folder: Path, result: dict[str, Any]) -> Section:
    plan = read_json(folder / "plan.json") if (folder / "plan.json").is_file() else {}
    if not plan.get("settings"):
        return Section("repeat", "Do it again", [])
    command = compare_command(plan["settings"], plan | {"grid": plan.get("grid") or result.get("grid") or {}})
    return repeat(plan["settings"], {}, [("This grid", command)], [])
