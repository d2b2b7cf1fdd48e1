"""A finished comparison in figures: means, intervals, differences, costs, and what each remedy could act on."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.corrected_interval import nadeau_bengio
from edgefed.analysis.exploration import exploration
from edgefed.analysis.statistics import SAME, UNDECIDED, contrasts, need_of_seeds, ranking
from edgefed.api.by_rate import by_rate, picked, tuned_per_seed, tuning, validation_score
from edgefed.api.cost import budgets, cost, scores_within, target_of
from edgefed.api.course import Course
from edgefed.api.over_seeds import over_seeds, strata_of
from edgefed.api.plan import CONTROL, RANKED
from edgefed.api.setting import generalises_over, intervals, measures_at, setting
from edgefed.imbalance import REMEDIES
from edgefed.notes import BEYOND, tier_in_words, told_here_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgefed.api.plan import Cell, Plan
    from edgefed.api.references import References
    from edgefed.data.datasets import Dataset
    from edgefed.runs import Run

MEASURES = (RANKED, "accuracy", "macro_f1", "worst_recall", "g_mean", "log_loss", "brier")
#: What ``local-only-own-mix`` measures: to be read beside ``clients``, on the same basis, and not in the ranking.
OWN_MIX = "own_mix_accuracy"
#: Loss on validation rows that falls by more than this over the last tenth of the rounds is still falling.
CONVERGED_WITHIN = 0.01
#: Loss on validation rows that ends by this above its lowest is past its best.
PAST_BEST_FROM = 0.05


def figures(
    work: Plan,
    runs: Mapping[Cell, Run],
    reference: References,
    dataset: Dataset,
    folder: Path | None,
    seconds: float,
) -> dict[str, Any]:
    """Return what a comparison prints and keeps: see the command line's contract."""
    courses = {cell: Course.of(run) for cell, run in runs.items()}
    picks = {arm: picked(work, courses, arm) for arm in work.arms}
    chosen = {arm: [courses[arm, picks[arm], seed] for seed in work.seeds] for arm in work.arms}
    first = chosen[CONTROL][0].manifest
    strata = strata_of(chosen[CONTROL])
    target = target_of([course.last(RANKED) for course in chosen[CONTROL]])
    afforded = budgets(chosen)
    # Not ranked by, but looked at: what an average over the last rounds would have said.
    averaged = {arm: [course.last_tenth for course in chosen[arm]] for arm in work.arms}
    steadier = contrasts(averaged, CONTROL, strata)
    own_rates = tuned_per_seed(work, courses)
    strategies = []
    scores = {arm: [course.last(RANKED) for course in chosen[arm]] for arm in work.arms}
    for row in ranking(scores, CONTROL, strata):
        arm = row["name"]
        entry = {"name": arm, "tier": row["tier"], "difference": row["difference"]}
        entry |= _remedy(work, arm)
        entry |= {measure: over_seeds([course.last(measure) for course in chosen[arm]], strata) for measure in MEASURES}
        entry |= {
            "recall": _recall(chosen[arm], first["classes"]),
            "clients": _clients(chosen[arm]),
            "learning_rate": picks[arm],
            "validation_balanced_accuracy": validation_score(work, courses, arm, picks[arm])
            if work.base.validation_fraction
            else 0.0,
            "rates": by_rate(work, courses, arm),
            "tuned_per_seed": own_rates[arm],
            "cost": cost(chosen[arm], target),
            "at_equal": {
                name: {"budget": budget} | over_seeds(scores_within(chosen[arm], name, budget), strata)
                for name, budget in afforded.items()
            },
            "bytes": {way: _mean([course.summary["bytes"][way] for course in chosen[arm]]) for way in ("up", "down")},
            "steps": _mean([course.steps for course in chosen[arm]]),
            "by_order": _by_order(chosen[arm], chosen[CONTROL] if arm != CONTROL else None),
            "pooled": over_seeds(reference.pooled[arm], strata),
            "applied": _applied(chosen[arm][0].manifest, dataset),
            "acts_on_rows": _share_acted_on(chosen[arm]),
            "privacy": chosen[arm][0].summary.get("privacy"),
            "needs_global_counts": bool(chosen[arm][0].manifest["class_counts_asked"]),
            "nadeau_bengio": _corrected(work, chosen, arm),
            "not_converged": not_converged(chosen[arm]),
            "past_best": _past_best(chosen[arm]),
            "last_tenth": {
                "mean": float(np.mean(averaged[arm])),
                "difference": asdict(steadier[arm]) if arm in steadier else None,
                "tier": steadier[arm].tier if arm in steadier else "control",
            },
        }
        strategies.append(entry)
    for name in afforded:
        order = sorted(strategies, key=lambda entry: -_or_last(entry["at_equal"][name]["mean"]))
        for rank, entry in enumerate(order, 1):
            entry["at_equal"][name]["rank"] = rank
    return {
        "comparison": folder.name if folder is not None else work.base.data_name,
        "federations": len(runs),
        "client_updates": sum(course.summary["client_updates"] for course in courses.values()),
        "seconds": seconds,
        "seeds": list(work.seeds),
        "ranked_by": f"test {RANKED}, last round",
        "finding": finding(strategies),
        "generalises_over": generalises_over(work),
        "intervals": intervals(strata),
        "setting": setting(work.base, first),
        "settings": _settings(work, next(iter(runs.values()))),
        "versions": first["environment"]["versions"],
        "classes": first["classes"],
        **({"empty_cells": first["empty_cells"]} if "empty_cells" in first else {}),
        "test_rows": _test_rows([runs[CONTROL, picks[CONTROL], seed] for seed in work.seeds], first["classes"]),
        "measures_at": measures_at(work.base, dataset),
        "target": target,
        "empty_clients": {"mean": _mean(reference.empty_clients)},
        "strategies": strategies,
        "references": {
            name: over_seeds(values, strata) | {"measure": _measure(name)} for name, values in reference.named.items()
        },
        "tuned": tuning(work, courses, picks),
        "exploration": exploration(scores, strata),
    }


def _settings(work: Plan, run: Run) -> dict[str, Any]:
    """Return what all federations share, as it turned out: the number of clients may follow from the data."""
    own = ("imbalance", "imbalance-options", "learning-rate", "seed")
    asked = work.base.to_mapping()
    return run.config.to_mapping() | {key: asked[key] for key in own}


def _measure(reference: str) -> str:
    """Return what a reference's values are: recalls on a client's own mix are no balanced accuracy."""
    return OWN_MIX if reference == "local-only-own-mix" else RANKED


def not_converged(courses: Sequence[Course]) -> int:
    """Return under how many seeds more rounds would lower the validation loss.

    It is still falling, and not from far above its best: a loss that swings there is not what more rounds would help.
    """
    return sum(
        course.still_falling(CONVERGED_WITHIN) and course.past_best(PAST_BEST_FROM) is None for course in courses
    )


def _past_best(courses: Sequence[Course]) -> dict[str, Any]:
    """Return under how many seeds the validation loss ended past its best, and the median of their best rounds."""
    rounds = [best for course in courses if (best := course.past_best(PAST_BEST_FROM)) is not None]
    return {"seeds": len(rounds), "round": float(np.median(rounds)) if rounds else None}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _or_last(mean: float) -> float:
    """Return what a mean is ranked by: one that is undefined comes last."""
    return -math.inf if math.isnan(mean) else mean


def _remedy(work: Plan, arm: str) -> dict[str, Any]:
    """Return what a remedy is, what it needs from clients, and what it is about."""
    remedy = REMEDIES[arm](work.base.replace(imbalance=arm))
    return {
        "family": remedy.family,
        "needs": remedy.needs,
        "about": (inspect.getdoc(type(remedy)) or "").split("\n", 1)[0],
    }


def _recall(courses: Sequence[Course], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the test recall of each class; nan under a seed that has no test row of it."""
    by_seed = [course.summary["test"]["recall"] for course in courses]
    strata = strata_of(courses)
    return [
        {"class": name}
        | over_seeds([math.nan if recall[place] is None else recall[place] for recall in by_seed], strata)
        for place, name in enumerate(classes)
    ]


def _test_rows(runs: Sequence[Run], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the test rows of each class by seed: row sums of the last confusion."""
    tested = [(run.rounds[-1].get("test") or {}).get("confusion") or [[]] * len(classes) for run in runs]
    by_class = zip(*tested, strict=True)
    return [{"class": name, "values": [sum(row) for row in rows]} for name, rows in zip(classes, by_class, strict=True)]


def _clients(courses: Sequence[Course]) -> dict[str, Any]:
    """Return how the last model serves the clients of a seed."""
    served = [course.summary["clients_test"] or {} for course in courses]
    found: dict[str, Any] = {}
    for name in ("mean", "worst", "bottom10", "std"):
        values = [seed.get(name) for seed in served]
        found[name] = over_seeds([math.nan if value is None else value for value in values], strata_of(courses))
    return found | {"basis": next((seed["basis"] for seed in served if seed), "nobody knows")}


def _by_order(courses: Sequence[Course], control: Sequence[Course] | None) -> list[dict[str, Any]]:
    """Return the score by order of rarity: which class is rare decides more than anything else."""
    seeds_of: dict[tuple[str, ...], list[int]] = {}
    for place, course in enumerate(courses):
        if order := tuple(course.manifest["long_tail_order"]):
            seeds_of.setdefault(order, []).append(place)
    found = []
    for order, places in seeds_of.items():
        mean = _mean([courses[place].last(RANKED) for place in places])
        difference = None if control is None else mean - _mean([control[place].last(RANKED) for place in places])
        found.append({"order": list(order), "seeds": len(places), "mean": mean, "difference": difference})
    return found


def _applied(manifest: Mapping[str, Any], dataset: Dataset) -> dict[str, Any] | None:
    """Return what the remedy did on each client under the first seed, and why not more; None where nobody can say."""
    found = manifest.get("applied")
    if found is None:
        return None
    rows = [sum(counts) for counts in manifest["shards"]["class_counts"]]
    names: Sequence[str | int] = dataset.client_names or range(len(rows))
    columns = zip(names, rows, found["drawn"], found["made"], found["why"], strict=True)
    return {
        "asked": found["asked"],
        "clients": [
            {"client": name, "rows": held, "drawn": drawn, "made": made, "why": why}
            for name, held, drawn, made, why in columns
        ],
    }


def _share_acted_on(courses: Sequence[Course]) -> float:
    """Return the share of training rows that lie on clients where the remedy could act."""
    acted = total = 0
    for course in courses:
        shards = course.manifest["shards"]
        rows = [sum(counts) for counts in shards["class_counts"]]
        acted += sum(n for n, reason in zip(rows, shards["idle"], strict=True) if not reason)
        total += sum(rows)
    return acted / total


def _corrected(work: Plan, chosen: Mapping[str, Sequence[Course]], arm: str) -> dict[str, float] | None:
    """Return the wider interval of the difference, for a claim beyond these rows; None where splits do not vary."""
    if arm == CONTROL or work.base.split_seed >= 0:
        return None
    rows = [course.manifest["rows"] for course in chosen[arm]]
    share = _mean([seed["test"] / (seed["test"] + seed["train"]) for seed in rows])
    pairs = zip(chosen[arm], chosen[CONTROL], strict=True)
    found = nadeau_bengio([course.last(RANKED) - control.last(RANKED) for course, control in pairs], share)
    return {"low": found.low, "high": found.high}


def finding(strategies: Sequence[dict[str, Any]]) -> str:
    """Return the answer in one sentence that a careful statistician would sign."""
    tiers: dict[str, list[str]] = {}
    for entry in strategies:
        tiers.setdefault(tier_in_words(entry), []).append(entry["name"])
    tiers.pop("control", None)
    if not tiers:
        return "nothing to compare: name remedies beside none"
    if UNDECIDED in tiers:
        return f"too few seeds to tell any remedy from none: {need_of_seeds(len(strategies) - 1)}"
    if list(tiers) == [SAME]:
        return "no remedy can be told from none with so many seeds"
    open_ones = [tier_in_words(entry) for entry in strategies if told_here_only(entry)]
    heads = {tier: f"{tier} ({BEYOND})" for tier in open_ones[:1]}  # once is enough
    return "; ".join(f"{heads.get(tier, tier)}: {', '.join(names)}" for tier, names in tiers.items())
