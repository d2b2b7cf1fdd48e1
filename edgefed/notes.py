"""What a reader of a run's or a comparison's figures has to know beside them, a line each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.config import FederationConfig, SettingsError
from edgefed.edge.memory import least_memory, sizes_in_words, too_small
from edgefed.edge.profiles import fleet
from edgefed.effects import without_effect
from edgefed.errors import shown
from edgefed.names import DIFFERENTIALLY_PRIVATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.data.datasets import Dataset
    from edgefed.runs import Run


FEW = 5
"""Test rows of a class below which a note says how far one of them moves the mean over classes."""
NAMED = 3
"""Classes up to which such a note names each."""

MOST_COLUMNS = 5
"""Columns with empty cells that a note names."""

BEYOND = "for other rows of the kind the interval includes zero"
"""What is said where a remedy is told from none :func:`on these rows <told_here_only>`."""

FEWEST_ORDERED = 4
"""Features from which on rank correlations of their orders are given: two have two orders, which makes it 1 or -1."""


def notes_of_run(run: Run) -> list[str]:
    """Return what is known once a run is finished.

    That no update counted; classes with few test rows or none; devices that are too small.
    """
    recall = (run.summary.get("test") or {}).get("recall") or []
    missing = [
        str(name) for name, value in zip(run.manifest.get("classes", ()), recall, strict=False) if _unknown(value)
    ]
    kind = _tested(run)
    said = [f"{_named(missing, kind)}: what averages over classes leaves it out"] if missing else []
    return [*_nothing_counted(run), *said, *few_test_rows_of_run(run), *_filled(run.manifest), *_memory(run)]


def _nothing_counted(run: Run) -> list[str]:
    if run.summary.get("client_updates") != 0 or not run.rounds:
        return []
    rounds = len(run.rounds)
    where = "the only round" if rounds == 1 else f"any of {rounds} rounds"
    return [f"no client's update counted in {where}: the model has learned from no row"]


def few_test_rows_of_run(run: Run) -> list[str]:
    """Return the classes of a run whose recall rests on few test rows."""
    held = zip(run.manifest.get("classes", ()), _last_confusion(run), strict=False)
    return _few({str(name): [sum(row)] for name, row in held}, _tested(run))


def tested_by_devices(run: Run) -> int:
    """Return how many rows, held out by devices, a run's test measures are of; 0 where the server holds test rows."""
    rows = run.manifest.get("rows") or {}
    if run.config.dataset != "devices" or rows.get("test") or not rows.get("held_out"):
        return 0
    return sum(map(sum, _last_confusion(run)))


def _tested(run: Run) -> str:
    return "held-out row" if tested_by_devices(run) else "test row"


def _last_confusion(run: Run) -> list[list[int]]:
    return next((row["test"].get("confusion") for row in reversed(run.rounds) if "test" in row), None) or []


def notes_of_comparison(result: Mapping[str, Any]) -> list[str]:
    """Return classes that some seeds have no test row of, and what noise on the models promises."""
    first: dict[str, Any] = next(iter(result.get("strategies") or ()), {})
    said = []
    for row in first.get("recall") or ():
        values = row.get("values") or ()
        without = sum(map(_unknown, values))
        if without:
            seeds = "every seed" if without == len(values) else f"{without} of {len(values)} seeds"
            said.append(f"{_named([str(row['class'])])} under {seeds}: there, what averages over classes leaves it out")
    return [*said, *_filled(result), *_of_noise(result)]


def names_in(dataset: Dataset, natural: bool) -> dict[str, Sequence[str]]:
    """Return the names of classes, of each categorical column's values, and of clients where the data have them."""
    return {
        "clients": dataset.client_names if natural else (),
        "classes": dataset.class_names,
        **{f"values of '{shown(column)}'": values for column, values in dataset.categories.items()},
    }


def look_alikes(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """Return names that differ in capitals or spaces alone, and so count as different, in a line for each kind."""
    lines = []
    for kind, names in kinds.items():
        alike: dict[str, list[str]] = {}
        for name in names:
            alike.setdefault("".join(name.casefold().split()), []).append(name)
        groups = [" and ".join(f"'{shown(name)}'" for name in group) for group in alike.values() if len(group) > 1]
        if groups:
            more = f", and {len(groups) - NAMED} more" if len(groups) > NAMED else ""
            said = "that differ in capitals or spaces alone count as different"
            lines.append(f"{kind} {said}: {', '.join(groups[:NAMED])}{more}")
    return lines


def _filled(found: Mapping[str, Any]) -> list[str]:
    """Return what ``missing=mean`` fills of a file, column by column, from a manifest or a comparison's result."""
    columns = found.get("empty_cells") or ()
    parts = []
    for place, row in enumerate(columns[:MOST_COLUMNS]):
        amount = f"{row['cells']}" if place else f"{row['cells']} of {row['rows']} cells"
        parts.append(f"{amount} of {shown(row['column'])}{_counted_as_empty(row['words'])}")
    more = f", and more in {len(columns) - MOST_COLUMNS} more columns" if len(columns) > MOST_COLUMNS else ""
    return [f"missing=mean fills {', '.join(parts)}{more}"] if parts else []


def _counted_as_empty(words: Sequence[str]) -> str:
    if not words:
        return ""
    listed = " and ".join(filter(None, [", ".join(f"'{word}'" for word in words[:-1]), f"'{words[-1]}'"]))
    one = len(words) == 1
    where = "it in categories where it is" if one else "them in categories where they are"
    return f" ({listed} {'counts' if one else 'count'} as empty: list {where} a value)"


def few_test_rows(result: Mapping[str, Any]) -> list[str]:
    """Return the classes of a comparison whose recall rests on few test rows under some seed."""
    return _few({str(row["class"]): row["values"] for row in result.get("test_rows") or ()})


def past_best(result: Mapping[str, Any]) -> list[str]:
    """Return the remedies of a comparison whose validation loss ended past its best under half of the seeds or more.

    Each with the median of its best rounds. Under a few seeds alone a few validation rows are enough for that.
    """
    seeds, rounds = len(result.get("seeds") or ()), (result.get("settings") or {}).get("num-server-rounds")
    arms = result.get("strategies") or ()
    found = {arm["name"]: arm.get("past_best") or {"seeds": 0} for arm in arms}
    late = {name: past for name, past in found.items() if past["seeds"] and 2 * past["seeds"] >= seeds}
    if len(late) == len(arms) > 2:
        times, best = ([past[key] for past in late.values()] for key in ("seeds", "round"))
        which = f"round {min(best):g} to {max(best):g} of {rounds}"
        return [f"all of them ({which}, {min(times)} to {max(times)} of {seeds} seeds)"]
    return [
        f"{name} (round {past['round']:g} of {rounds}, {past['seeds']} of {seeds} seeds)" for name, past in late.items()
    ]


def told_here_only(arm: Mapping[str, Any]) -> bool:
    """Return whether a remedy is told from none while the wider interval, for other rows of the kind, includes zero."""
    wider = arm.get("nadeau_bengio") or {}
    low, high = wider.get("low"), wider.get("high")
    told = str(arm.get("tier") or "").startswith(("better", "worse"))
    return told and low is not None and high is not None and low <= 0 <= high


def tier_in_words(arm: Mapping[str, Any]) -> str:
    """Return a remedy's tier, and where it holds on these rows alone that it does."""
    return f"{arm.get('tier') or ''}{' on these rows' if told_here_only(arm) else ''}"


def acting_on_a_part(result: Mapping[str, Any]) -> list[str]:
    """Return the remedies of a comparison that act on a part of the training rows, each with its share of them."""
    shares = {arm["name"]: arm.get("acts_on_rows") for arm in result.get("strategies") or ()}
    return [f"{name} ({_part(share)} %)" for name, share in shares.items() if share is not None and share < 1]


def _part(share: float) -> str:
    """Return a share below 1 in percent: never 100, and 0 for none alone."""
    return ">99" if share > 0.99 else "<1" if 0 < share < 0.01 else f"{100 * share:.0f}"


def _few(held: Mapping[str, Sequence[int]], kind: str = "test row") -> list[str]:
    """Return what one test row of the rarest classes moves: balanced accuracy by 1 / (classes * rows of the class).

    Parameters
    ----------
    held : mapping
        Test rows of each class by seed. A class without any is no part of the average.
    kind : str
        What such a row is called.
    """
    by_seed = list(zip(*held.values(), strict=True))
    tested = [sum(count > 0 for count in seed) for seed in by_seed]
    found = []
    for name, counts in held.items():
        some = [(count, classes) for count, classes in zip(counts, tested, strict=True) if 0 < count < FEW]
        if some:
            found.append((name, min(count for count, _ in some), max(100 / (count * own) for count, own in some)))
    moved = "moves balanced accuracy by"
    under = "" if len(by_seed) < 2 else " under some seeds"
    if len(found) > NAMED:
        most = max(points for *_, points in found)
        least = ", ".join(f"{name} {count}" for name, count, _ in sorted(found, key=lambda row: row[1])[:NAMED])
        return [
            f"recall of {len(found)} classes rests on fewer than {FEW} {kind}s each{under} ({least}, ...): one row "
            f"{moved} up to {most:.1f} points"
        ]
    return [
        f"recall of {name} rests on {count} {kind}{'s' if count > 1 else ''}{under}: each {moved} {points:.1f} points"
        for name, count, points in found
    ]


def notes_of_grid(result: Mapping[str, Any]) -> list[str]:
    """Return what noise on the models promises in each block of a grid, and what else differs between such blocks."""
    said = []
    for block in result.get("blocks") or ():
        where = ", ".join(f"{key}={value}" for key, value in block["settings"].items())
        said += [f"{where}: {line}" for line in _of_noise(block)]
    kinds = {block["settings"].get("privacy") for block in result.get("blocks") or ()}
    if said and not kinds <= set(DIFFERENTIALLY_PRIVATE):
        said.append(
            "blocks with noise average clients evenly, the others by rows: what differs between them is not of the "
            "noise alone"
        )
    return said


def _of_noise(result: Mapping[str, Any]) -> list[str]:
    """Return what a comparison under differential privacy promises, and what it does not."""
    accounts: list[dict[str, Any]] = [arm.get("privacy") or {} for arm in result.get("strategies") or ()]
    known = [account for account in accounts if account.get("epsilon") is not None]
    if not known:
        return []
    worst = max(known, key=lambda account: float(account["epsilon"]))
    return [
        f"privacy: epsilon {worst['epsilon']:.4g} at delta {worst['delta']:.3g} for a client, of each federation "
        "alone: rates and remedies tried on the same clients cost as much again each, and federations of one seed "
        "share their noise: compare on simulated clients, and deploy what was chosen",
        *([worst["says"]] if worst["says"] else []),
    ]


def idle_settings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of a comparison that have no effect on any of its remedies, and what is said of each."""
    try:
        config = FederationConfig.from_mapping(result.get("settings") or {})
        return without_effect(config, [str(arm["name"]) for arm in result.get("strategies") or ()])
    except SettingsError:  # a folder of another version, or with a plug-in that is not here
        return []


def _unknown(value: float | None) -> bool:
    """Return whether there is no such figure: nan, which is null in a folder."""
    return value is None or math.isnan(value)


def _named(classes: Sequence[str], kind: str = "test row") -> str:
    return f"no {kind} of {', '.join(classes)}"


def _memory(run: Run) -> list[str]:
    """Return the devices whose memory training cannot fit, whatever the framework; nothing where it may fit."""
    config, rows = run.config, (run.manifest.get("shards") or {}).get("class_counts")
    if config.dataset == "devices" or not rows or "features" not in run.manifest:
        return []
    needed = least_memory(config, len(run.manifest["features"]), len(run.manifest["classes"]), max(map(sum, rows)))
    try:
        devices = fleet(config.devices, len(rows), config.seed, config.device_spread, config.device_profiles)
    except SettingsError:  # the file of profiles is not here any more
        return []
    lines = []
    for name, clients, held in too_small(devices, needed):
        least, has = sizes_in_words([needed, held])
        who = f"{clients} of {len(rows)} clients {'is' if clients == 1 else 'are'} a {name}"
        lines.append(
            f"{who} with {has} of memory: model, gradient, optimiser and a batch alone take {least}, so the modelled "
            "time and energy there are those of a device that could not do it"
        )
    return lines
