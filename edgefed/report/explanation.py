"""Pictures of an explanation, drawn from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefed.report import confusion, effects, explained_features, reliability, selection
from edgefed.report.folder import ExplanationFolder
from edgefed.report.glyphs import glyphs_told
from edgefed.report.style import save
from edgefed.runs import EXPLANATION_HOME

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@glyphs_told()
def plot_explanation(folder: Path, out: Path | None = None) -> list[Path]:
    """Draw an explanation and return the files, each picture as PNG and SVG.

    Importance, of columns too where some are categorical; how far methods agree; importance by client and by class;
    effects of features; rows explained; reliability; confusion; balanced accuracy by number of features where features
    were selected. A picture whose figures the folder does not have is left out.

    Parameters
    ----------
    folder : path
        Of a run or comparison that was explained.
    out : path, optional
        Where the pictures go. Neutral: ``explanation/plots`` in the folder.

    Raises
    ------
    SettingsError
        When the folder has no explanation, or ``out`` cannot be written.
    """
    found = ExplanationFolder.read(Path(folder))
    home = Path(out) if out is not None else Path(folder) / EXPLANATION_HOME / "plots"
    sheets = {
        "columns": explained_features.columns_figure(found),
        "importance": explained_features.importance_figure(found),
        "methods": explained_features.methods_figure(found),
        "clients": explained_features.clients_figure(found),
        "classes": explained_features.classes_figure(found),
        "effects": effects.effects_figure(found),
        "examples": effects.examples_figure(found),
        "reliability": reliability.reliability_figure(found),
        "confusion": _confusion(found),
        "selection": selection.selection_figure(found),
    }
    return [path for name, figure in sheets.items() if figure is not None for path in save(figure, home / name)]


def _confusion(found: ExplanationFolder) -> Figure | None:
    matrix = found.result.get("confusion")
    if matrix is None:
        return None
    runs = found.result["runs"]
    over = f", summed over {runs} seeds" if runs > 1 else ""
    said = f"{confusion.tested_in_words(found.run)} after the last round{over}. "
    names = list(found.run.manifest["classes"])
    return confusion.explained_confusion(np.array(matrix), names, f"Confusion: {found.result['explained']}", said)
