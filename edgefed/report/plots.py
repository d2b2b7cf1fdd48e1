"""Pictures of a run or a comparison, drawn from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefed.report import confusion, panels
from edgefed.report.costs import comparison_costs, run_costs
from edgefed.report.curves import run_curves
from edgefed.report.folder import ComparisonFolder, client_names
from edgefed.report.glyphs import glyphs_told
from edgefed.report.ranking import ranking_figure
from edgefed.report.shards import plot_shards
from edgefed.report.style import save
from edgefed.report.timeline import timeline_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from edgefed.runs import Run


@glyphs_told()
def plot_run(run: Run, folder: Path) -> list[Path]:
    """Draw a run and return the files, each as PNG and SVG.

    Who holds what, learning curves, confusion matrix, accuracy against cost, and a round on its devices.

    A picture whose figures the run does not have is left out.

    Parameters
    ----------
    run : Run
    folder : path
        Where the pictures go; made if need be. Pictures there are drawn over.

    Raises
    ------
    SettingsError
        When the folder cannot be written.
    """
    folder = Path(folder)
    name = _name_of(run)
    return [
        *_shards(run, folder / "shards", f"{run.config.data_name}, {run.config.partition}, seed {run.config.seed}"),
        *_saved(run_curves(run, f"Learning curves: {name}"), folder / "learning-curves"),
        *_saved(confusion.run_confusion(run, f"Confusion: {name}"), folder / "confusion"),
        *_saved(run_costs(run, f"Accuracy against cost: {name}"), folder / "accuracy-by-cost"),
        *_saved(timeline_figure(run, f"A round on its devices: {name}"), folder / "round-timeline"),
    ]


@glyphs_told()
def plot_comparison(folder: Path, out: Path | None = None) -> list[Path]:
    """Draw a comparison and return the files, each picture as PNG and SVG.

    The ranking; balanced accuracy, difference to none and validation loss by round; confusion matrices of the
    control and the best remedy; accuracy against bytes, seconds and joules; who holds what under the first seed. A
    picture whose figures the comparison does not have is left out: a control alone has no differences.

    Parameters
    ----------
    folder : path
        Of a finished comparison.
    out : path, optional
        Where the pictures go. Neutral: ``plots`` in the folder.

    Raises
    ------
    SettingsError
        When the folder is not a finished comparison, or ``out`` cannot be written.
    """
    found = ComparisonFolder.read(Path(folder))
    home = Path(out) if out is not None else Path(folder) / "plots"
    first = next(iter(found.runs.values()))[0]
    sheets = {
        "ranking": ranking_figure(found),
        "learning-curves": panels.accuracy_by_round(found),
        "difference-by-round": panels.difference_by_round(found),
        "validation-loss": panels.loss_by_round(found),
        "accuracy-by-cost": comparison_costs(found),
        "confusion": confusion.arms_confusion(found),
        "confusion-by-rarity": confusion.rarity_confusion(found),
    }
    seed = f"seed {first.config.seed}, the first of {len(found.seeds)}"
    title = f"{first.config.data_name}, {first.config.partition}, {seed}"
    return [
        *(path for name, figure in sheets.items() for path in _saved(figure, home / name)),
        *_shards(first, home / "shards", title, idle=False),
    ]


def _name_of(run: Run) -> str:
    config = run.config
    return f"{config.data_name}, {config.imbalance}, seed {config.seed}"


def _saved(figure: Figure | None, stem: Path) -> list[Path]:
    return [] if figure is None else save(figure, stem)


def _shards(run: Run, stem: Path, title: str, *, idle: bool = True) -> list[Path]:
    shards = run.manifest.get("shards") or {}
    counts = shards.get("class_counts")
    if not counts:
        return []
    why = shards.get("idle") or [] if idle else []
    known = client_names(run)
    named = [known.get(client, str(client)) for client in range(len(counts))]
    return plot_shards(np.array(counts), run.manifest["classes"], stem, title=title, client_names=named, idle=why)
