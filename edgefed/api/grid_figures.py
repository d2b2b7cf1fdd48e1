"""A finished grid in figures: each remedy's gain in each block, where it is told apart from none, and where not.

Two adjustments for how many contrasts are looked at. Inside a block p is adjusted over its remedies, as its own
comparison says it (``p_holm``, ``tier``). A statement about the whole grid, such as where a remedy wins, looks at all
blocks at once: there p is adjusted over all remedies in all blocks (``p_holm_grid``, ``tier_grid``), and the wins and
the finding go by it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from statsmodels.stats.multitest import multipletests

from edgefed.analysis.blocks import across_blocks
from edgefed.analysis.statistics import (
    CONFIDENCE,
    EXACT_UP_TO,
    HELPS,
    HURTS,
    PERMUTATIONS,
    SAME,
    UNDECIDED,
    seeds_needed,
    sign_flip_p,
)
from edgefed.api.grid_finding import BlockResult, finding, generalises_over
from edgefed.api.plan import CONTROL, RANKED
from edgefed.notes import told_here_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.schema import Scalar

#: Of each remedy in each block; the rest is in the block's own ``comparison.json``.
KEPT = (
    "name",
    "family",
    "tier",
    "difference",
    "balanced_accuracy",
    "accuracy",
    "macro_f1",
    "worst_recall",
    "learning_rate",
    "validation_balanced_accuracy",
    "acts_on_rows",
    "not_converged",
    "past_best",
    "privacy",
)
COUNTED = {HELPS: "better", SAME: "indistinguishable", HURTS: "worse", UNDECIDED: "undecided"}


def grid_figures(
    title: str, grid: Mapping[str, Sequence[Scalar]], blocks: Sequence[BlockResult], arms: Sequence[str]
) -> dict[str, Any]:
    """Return what a grid prints and keeps: see the command line's contract.

    Parameters
    ----------
    title : str
        The grid's name.
    grid : mapping of key to its values
    blocks : sequence of BlockResult
    arms : sequence of str
        The remedies, the control among them.
    """
    gains = _gains(blocks, [arm for arm in arms if arm != CONTROL])
    wins = _wins(gains, blocks)
    return {
        "comparison": title,
        "grid": {key: list(values) for key, values in grid.items()},
        "federations": sum(block.result["federations"] for block in blocks),
        "client_updates": sum(block.result["client_updates"] for block in blocks),
        "seconds": sum(block.result["seconds"] for block in blocks),
        "seeds": blocks[0].result["seeds"],
        "ranked_by": blocks[0].result["ranked_by"],
        "finding": finding(grid, wins, blocks, len(gains)),
        "generalises_over": generalises_over(blocks),
        "contrasts": len(gains),
        "tiers": {
            "tier": "p_holm: adjusted by Holm's method over the remedies of a block",
            "tier_grid": f"p_holm_grid: adjusted by Holm's method over all {len(gains)} contrasts of the grid",
        },
        "gains": gains,
        "wins": wins,
        "across_blocks": _across(blocks),
        "blocks": [_block(block) for block in blocks],
    }


def _block(block: BlockResult) -> dict[str, Any]:
    result = block.result
    return {
        "block": block.name,
        "settings": dict(block.settings),
        "folder": block.folder,
        "finding": result["finding"],
        "setting": result["setting"],
        "strategies": [{key: entry[key] for key in KEPT if key in entry} for entry in result["strategies"]],
        "references": result["references"],
        "on_the_edge": [arm for arm, row in result["tuned"].items() if row["on_the_edge"]],
    }


# ---------------------------------------------------------------------------------------------- gains
def _gains(blocks: Sequence[BlockResult], remedies: Sequence[str]) -> list[dict[str, Any]]:
    """Return each remedy's paired difference to none in each block, p adjusted within blocks and over all."""
    rows: list[dict[str, Any]] = []
    samples = []
    for block in blocks:
        entries = {entry["name"]: entry for entry in block.result["strategies"]}
        control = entries[CONTROL][RANKED]
        for arm in remedies:
            difference = entries[arm]["difference"]
            figures = {key: difference[key] for key in ("mean", "low", "high", "p", "p_holm")}
            rows.append(
                {"block": block.name, "strategy": arm}
                | figures
                | {
                    "tier": entries[arm]["tier"],
                    "nadeau_bengio": entries[arm].get("nadeau_bengio"),
                    "learning_rate": entries[arm]["learning_rate"],
                    "none": control["mean"],
                }
            )
            samples.append(np.subtract(_values(entries[arm]), _values(entries[CONTROL])))
    if not rows:
        return []
    raw = [_fine_enough(row["p"], sample, len(rows)) for row, sample in zip(rows, samples, strict=True)]
    for row, sample, p in zip(rows, samples, multipletests(raw, method="holm")[1], strict=True):
        row["p_holm_grid"] = float(p)
        row["tier_grid"] = _tier(row["mean"], float(p), len(sample), len(rows))
        row["on_these_rows"] = told_here_only({"tier": row["tier_grid"], "nadeau_bengio": row.pop("nadeau_bengio")})
    return rows


def _values(entry: dict[str, Any]) -> list[float]:
    return list(entry[RANKED]["values"])


def _fine_enough(p: float, differences: np.ndarray[Any, np.dtype[np.float64]], contrasts: int) -> float:
    """Return p from as many random sign flips as its adjustment over the grid needs.

    The smallest p that N drawn flips give is 2 / (N + 1): over hundreds of contrasts even that would be no finding.
    With so many as here it is a fifth of the level.
    """
    needed = math.ceil(10 * contrasts / (1 - CONFIDENCE))
    if len(differences) <= EXACT_UP_TO or needed <= PERMUTATIONS or p > 10 / PERMUTATIONS:
        return p
    return sign_flip_p(differences, needed)


def _tier(mean: float, p: float, seeds: int, contrasts: int) -> str:
    if seeds < seeds_needed(contrasts):
        return UNDECIDED
    if p > 1 - CONFIDENCE:
        return SAME
    return HELPS if mean > 0 else HURTS


def _wins(gains: Sequence[dict[str, Any]], blocks: Sequence[BlockResult]) -> list[dict[str, Any]]:
    """Return in how many blocks each remedy is better, worse or neither, from the most to the fewest."""
    wins = []
    for arm in dict.fromkeys(row["strategy"] for row in gains):
        own = [row for row in gains if row["strategy"] == arm]
        least, most = (choose(own, key=lambda row: row["mean"]) for choose in (min, max))
        wins.append(
            {"strategy": arm, "blocks": len(blocks)}
            | _count(own, "tier_grid")
            | {
                "better_in": [row["block"] for row in own if row["tier_grid"] == HELPS],
                "worse_in": [row["block"] for row in own if row["tier_grid"] == HURTS],
                "within_blocks": _count(own, "tier"),
                "on_these_rows": sum(row["on_these_rows"] for row in own),
                "mean": float(np.mean([row["mean"] for row in own])),
                "least": {"block": least["block"], "mean": least["mean"]},
                "most": {"block": most["block"], "mean": most["mean"]},
            }
        )
    return sorted(wins, key=lambda win: (win["worse"] - win["better"], -win["mean"]))


def _count(rows: Sequence[dict[str, Any]], tier: str) -> dict[str, int]:
    return {word: sum(row[tier] == said for row in rows) for said, word in COUNTED.items()}


def _across(blocks: Sequence[BlockResult]) -> dict[str, Any]:
    """Return mean ranks over datasets, tested: blocks that share a dataset share its rows, and count as one."""
    values: dict[str, dict[str, list[float]]] = {}
    for block in blocks:
        of_dataset = values.setdefault(str(block.settings.get("dataset", "the dataset")), {})
        for entry in block.result["strategies"]:
            of_dataset.setdefault(entry["name"], []).append(float(np.mean(_values(entry))))
    found = across_blocks(values)
    shared = len(values) < len(blocks)
    if shared:  # what there are too few of is not what the grid calls blocks
        found["finding"] = found["finding"].replace("too few blocks", "too few datasets")
    found["basis"] = "a dataset each, the mean over its blocks: those share its rows" if shared else "a block a dataset"
    return found
