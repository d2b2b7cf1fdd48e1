"""Whether a model's probabilities can be taken at their word: the reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefed.report.folder import number
from edgefed.report.style import BLUE, GREY, caption, house_style, light_grid, new_figure, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from edgefed.report.folder import ExplanationFolder


@house_style()
def reliability_figure(found: ExplanationFolder) -> Figure | None:
    """Return accuracy against confidence in bins of equal mass; None where the test rows are not here."""
    said = found.result.get("calibration")
    if said is None:
        return None
    bins = said["bins"]
    figure = new_figure(4.6, 4.7, f"Reliability: {found.result['explained']}")
    axes = figure.subplots()
    sure, right = ([100 * row[key] for row in bins] for key in ("confidence", "accuracy"))
    one_run = found.result["runs"] == 1
    around = None
    if one_run:
        around = [
            [max(0.0, 100 * (row["accuracy"] - row["low"])) for row in bins],
            [max(0.0, 100 * (row["high"] - row["accuracy"])) for row in bins],
        ]
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    axes.errorbar(
        sure,
        right,
        yerr=around,
        color=BLUE,
        marker="o",
        markersize=5,
        linewidth=1.4,
        elinewidth=1,
        capsize=2.5,
        label="model",
    )
    low = min(*sure, *(100 * row["low" if one_run else "accuracy"] for row in bins))
    axes.set_xlim(max(0, min(sure) - 8), 102)
    axes.set_ylim(max(0, low - 6), 104)
    axes.set_xlabel("confidence: mean probability of the predicted class (%)")
    axes.set_ylabel("accuracy (%)")
    light_grid(axes)
    axes.legend(loc="upper left")
    caption(
        figure,
        f"Expected calibration error {100 * number(said['ece']['mean']):.1f} points{_range(said['ece'], 100)}, "
        f"Brier score {number(said['brier']['mean']):.3f}{_range(said['brier'], 1)}. "
        f"{len(bins)} bins of test rows, {_rows(bins)} each"
        + (
            "; bars are 95 % Wilson intervals."
            if one_run
            else f". Predictions of {found.result['runs']} seeds, without intervals: seeds share rows."
        ),
    )
    settle(figure)
    return figure


def _rows(bins: Sequence[dict[str, Any]]) -> str:
    """Return how many rows a bin has: equal masses differ by a row, and by more where probabilities tie."""
    fewest, most = (function(int(row["rows"]) for row in bins) for function in (min, max))
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _range(figure: dict[str, Any], scale: float) -> str:
    low, high = number(figure["low"]), number(figure["high"])
    return f" ({scale * low:.3g} to {scale * high:.3g} over seeds)" if low == low else ""
