"""The settings that a finished comparison suggests: the remedy that is best on validation rows, as ``best.toml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefed.analysis.statistics import UNDECIDED
from edgefed.notes import BEYOND, told_here_only

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgefed.api.plan import Plan
    from edgefed.config import FederationConfig


def best_toml(work: Plan, result: Mapping[str, Any], settled: FederationConfig) -> str:
    """Return the settings of the remedy with the highest mean score on validation rows, ties by the order asked for.

    Test rows choose nothing, not even a suggestion: ``result["strategies"]`` is sorted by them. What they say of the
    remedy stands in the first line.

    Parameters
    ----------
    work : Plan
    result : mapping
        With ``strategies``, as :func:`edgefed.api.figures.figures` makes them.
    settled : FederationConfig
        Of any of the comparison's runs: its number of clients and its categories are as the data turned out.
    """
    found = {entry["name"]: entry for entry in result["strategies"]}
    best = max((found[arm] for arm in work.arms), key=lambda entry: entry["validation_balanced_accuracy"])
    config = work.config(best["name"], best["learning_rate"], work.seeds[0])
    config = config.replace(num_clients=settled.num_clients, categories=settled.categories)
    return f"# Highest on validation rows. On test rows: {best['name']} is {_said(best)}.\n{config.to_toml()}"


def _said(arm: Mapping[str, Any]) -> str:
    tier = str(arm["tier"])
    said = {"control": "the control", UNDECIDED: "not told from none by so few seeds"}.get(tier, tier)
    return f"{said}; {BEYOND}" if told_here_only(arm) else said
