"""The shape of a feature's effect, by scikit-learn's own display, and single rows explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.report.explained_features import SPEAKS_AGAINST, SPEAKS_FOR
from edgefed.report.folder import numbers
from edgefed.report.style import BLUE, GREY, INK, WIDTH, caption, house_style, label, new_figure, settle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from edgefed.report.folder import ExplanationFolder

FEATURES, CLASSES = 4, 4
"""Features (rows of panels) and classes (columns) drawn at most."""
BARS = 8
"""Features of a single row that have a bar: the largest ones."""


@house_style()
def effects_figure(found: ExplanationFolder) -> Figure | None:
    """Return partial dependence over individual curves: the strongest features by the classes; None without rows."""
    from sklearn.inspection import PartialDependenceDisplay
    from sklearn.utils import Bunch

    shown = found.result.get("effects", [])[:FEATURES]
    if not shown:
        return None
    names = [str(name) for name in found.run.manifest["classes"]]
    binary = len(names) == 2
    columns = names[1:] if binary else names[:CLASSES]
    figure = new_figure(
        WIDTH if len(columns) > 2 else 4.6, 1.5 * len(shown) + 1.7, f"How features act: {found.result['explained']}"
    )
    grid = figure.subplots(len(shown), len(columns), sharey=True, squeeze=False)
    for line, effect in zip(grid, shown, strict=True):
        results = Bunch(
            grid_values=[numbers(effect["grid"])],
            average=np.array(effect["average"], float),
            individual=np.array(effect["individual"], float),
        )
        for column, axes in enumerate(line):
            display = PartialDependenceDisplay(
                [results],
                features=[(0,)],
                feature_names=[effect["feature"]],
                target_idx=column,
                deciles={0: numbers(effect["deciles"])},
                kind="both",
            )
            display.plot(
                ax=axes,
                ice_lines_kw={"color": GREY, "alpha": 0.45, "linewidth": 0.6},
                pd_line_kw={"color": BLUE, "linewidth": 2.0, "linestyle": "-", "label": None},
                pdp_lim={1: (0.0, 1.0)},
            )
            _tidy(display, f"P({label(columns[column], 20, 1)})", column)
    caption(
        figure,
        f"Blue: partial dependence, the mean over {found.result['effect_rows']:,} of the server's test rows of the "
        "probability with the feature set to the value below; grey: single rows. Ticks inside: deciles of the feature. "
        "Where features go together, some of these rows are unlike any real one."
        + ("" if binary or len(names) <= CLASSES else f" The first {CLASSES} of {len(names)} classes.")
        + (f" Model of seed {found.result['seeds'][0]}." if found.result["runs"] > 1 else ""),
    )
    settle(figure)
    return figure


def _tidy(display: Any, head: str, column: int) -> None:
    """Make scikit-learn's panel look like the house's: it lays axes of its own over the one that it is given."""
    drawn = display.axes_[0, 0]
    legend = drawn.get_legend()
    if legend is not None:
        legend.remove()
    drawn.set_title(head, fontsize=8, loc="left")
    drawn.set_ylabel("" if column else "probability")
    drawn.set_ylim(-0.02, 1.02)
    drawn.tick_params(labelleft=not column)


@house_style()
def examples_figure(found: ExplanationFolder) -> Figure | None:
    """Return a few test rows with what speaks for and against the class that the model gives them; None without."""
    examples = found.result.get("examples")
    if not examples or not examples["rows"]:
        return None
    rows = examples["rows"]
    across = min(2, len(rows))
    down = -(-len(rows) // across)
    bars = min(BARS, len(found.features))
    figure = new_figure(WIDTH, (0.2 * bars + 0.88) * down + 1.3, f"Rows explained: {found.result['explained']}")
    grid = figure.subplots(down, across, squeeze=False)
    reach = 1.08 * max(float(np.abs(numbers(row["shap"])).max()) for row in rows) or 1.0
    for axes, row in zip(grid.ravel(), rows, strict=False):
        shap, values = numbers(row["shap"]), numbers(row["values"])
        largest = np.argsort(-np.abs(shap), kind="stable")[:bars]
        places = np.arange(len(largest))
        colours = [SPEAKS_FOR if shap[place] > 0 else SPEAKS_AGAINST for place in largest]
        hatches = ["" if shap[place] > 0 else "////" for place in largest]
        axes.barh(places, shap[largest], 0.7, color=colours, hatch=hatches, edgecolor="white", linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(
            places, [f"{label(found.features[place], 20, 1)} = {values[place]:.4g}" for place in largest], fontsize=6.5
        )
        axes.set_ylim(len(largest) - 0.4, -0.6)
        axes.set_xlim(-reach, reach)
        right = row["true"] == row["predicted"]
        verdict = "right" if right else f"wrong: is {label(row['true'], 15, 1)}"
        axes.set_title(
            f"row {row['row']}: {label(row['predicted'], 15, 1)} at {100 * row['probability']:.0f} %\n{verdict}",
            fontsize=7.5,
            loc="left",
        )
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    for axes in grid.ravel()[len(rows) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("SHAP value (probability)")
    caption(
        figure,
        f"SHAP values of the probability of the predicted class against {examples['background']} "
        f"({examples['background_rows']}); blue raises it, hatched vermillion lowers it. Test rows chosen for what "
        "they show: wrong and sure, right and unsure, the surest of each class.",
    )
    settle(figure)
    return figure
