"""What a finished grid says in words: where each remedy is told apart from none, where not, and what that holds for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefed.analysis.statistics import need_of_seeds, seeds_needed
from edgefed.api.grid_plan import in_text
from edgefed.notes import BEYOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.schema import Scalar

NAMED = 4
"""Names that a sentence lists; of more it gives the number."""


@dataclass(frozen=True)
class BlockResult:
    """A block's name, settings, folder (relative to the grid's) and its comparison's result."""

    name: str
    settings: Mapping[str, Scalar]
    folder: str | None
    result: dict[str, Any]


def generalises_over(blocks: Sequence[BlockResult]) -> str:
    """Return what the blocks say of themselves, datasets that say the same together."""
    parts = [block.result["generalises_over"].rpartition(", over ") for block in blocks]
    datasets = list(dict.fromkeys(on.removeprefix("on ") for on, _, _ in parts))
    over = list(dict.fromkeys(rest for _, _, rest in parts))
    if len(over) > 1:
        return "; ".join(dict.fromkeys(block.result["generalises_over"] for block in blocks))
    each = ", each by itself" if len(datasets) > 1 else ""
    return f"on {_and(datasets)}{each}, over {over[0]}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def finding(
    grid: Mapping[str, Sequence[Scalar]],
    wins: Sequence[dict[str, Any]],
    blocks: Sequence[BlockResult],
    contrasts: int,
) -> str:
    """Return where each remedy is told apart from none, and where not, in a sentence."""
    if not wins:
        return "nothing to compare: name remedies beside none"
    head = f"over {len(blocks)} blocks ({' by '.join(grid)})"
    seeds = len(blocks[0].result["seeds"])
    if seeds < seeds_needed(contrasts):
        line = f"{head}, too few seeds to tell any remedy from none: {need_of_seeds(contrasts)}"
        inside = [
            f"{win['strategy']} {word} in {win['within_blocks'][word]}"
            for win in wins
            for word in ("better", "worse")
            if win["within_blocks"][word]
        ]
        return line + (f"; each block taken alone: {', '.join(inside)}" if inside else "")
    settings = {block.name: block.settings for block in blocks}
    parts = []
    for word, order in (("better", wins), ("worse", wins[::-1])):
        told = sorted((win for win in order if win[word]), key=lambda win: -win[word])
        places = [_where(win[f"{word}_in"], settings, grid) for win in told]
        said = [
            f"{win['strategy']} in {win[word]}{place if rank < NAMED else ''}"
            for rank, (win, place) in enumerate(zip(told, places, strict=True))
        ]
        if said:
            parts.append(f"{word} than none: {_listed(said, 2 * NAMED)}")
    rest = [win["strategy"] for win in wins if not win["better"] and not win["worse"]]
    if rest:
        parts.append(f"not told from none in any block: {_listed(rest, NAMED)}")
    here = [
        f"{win['strategy']} in {win['on_these_rows']} of {win['better'] + win['worse']}"
        for win in wins
        if win["on_these_rows"]
    ]
    if here:
        parts.append(f"on these rows alone ({BEYOND}): {_listed(here, NAMED)}")
    return f"{head}, {'; '.join(parts)}"


def _where(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Scalar]], grid: Mapping[str, Sequence[Scalar]]
) -> str:
    """Return which blocks these are in brackets: all, or those with certain values where that says it exactly."""
    if len(names) == len(settings):
        return " (all)"
    seen = {
        key: [value for value in values if any(settings[name][key] == value for name in names)]
        for key, values in grid.items()
    }
    if math.prod(len(values) for values in seen.values()) == len(names):
        # A combination of values: only what leaves some value out needs saying.
        narrowed = [
            f"{key}={' or '.join(in_text(value) for value in values)}"
            for key, values in seen.items()
            if len(values) < len(grid[key])
        ]
        return f" ({', '.join(narrowed)})"
    return ""


def _listed(names: Sequence[str], most: int) -> str:
    more = len(names) - most
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:most])} and {more} others"
