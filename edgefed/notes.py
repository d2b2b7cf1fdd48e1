"""What a reader of a run's or a comparison's figures has to know beside them, a line each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.config import FederationConfig, SettingsError
from edgefed.edge.memory import least_memory, sizes_in_words, too_small
from edgefed.edge.profiles import fleet
from edgefed.effects import without_effect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.runs import Run


def notes_of_run(run: Run) -> list[str]:
    """Return what is known once a run is finished: classes without a test row, devices that are too small."""
    recall = (run.summary.get("test") or {}).get("recall") or []
    missing = [
        str(name) for name, value in zip(run.manifest.get("classes", ()), recall, strict=False) if _unknown(value)
    ]
    said = [f"{_named(missing)}: what averages over classes leaves it out"] if missing else []
    return said + _memory(run)


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
    return said + _of_noise(result)


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


def _named(classes: Sequence[str]) -> str:
    return f"no test row of {', '.join(classes)}"


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
