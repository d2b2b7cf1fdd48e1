"""The figures of attacks: of one run, over seeds, and what they cannot tell."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgefed.analysis.membership import FALSE_POSITIVES, given_threshold
from edgefed.analysis.statistics import Interval
from edgefed.api.over_seeds import over_seeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.analysis.membership import Attack

MEASURES = ("auc", "rarest_auc", "pooled_auc", "tpr")
NAN = float("nan")


def figures(attack: Attack, classes: Sequence[str], rarest: int) -> dict[str, Any]:
    """Return an attack's figures; ``rarest_auc`` is of that class, nan where it is not compared."""
    rate, false = attack.true_positives()
    low, high = given_threshold(rate, attack.members)
    rows = attack.by_class()
    rare = next((row["interval"] for row in rows if row["label"] == rarest), Interval(NAN, NAN, NAN))
    return {
        "auc": asdict(attack.auc()),
        "rarest_auc": asdict(rare),
        "pooled_auc": {"mean": attack.pooled_auc()},
        "tpr": {"mean": rate, "low": low, "high": high},
        "false_positives": false,
        "chance": attack.chance(),
        "members": attack.members,
        "outsiders": attack.outsiders,
        "left_out": attack.asked - attack.members,
        "resolution": attack.resolution if attack.members else NAN,
        "classes": [
            {
                "class": classes[row["label"]],
                "members": row["members"],
                "outsiders": row["outsiders"],
                "auc": row["auc"],
                "low": row["interval"].low,
                "high": row["interval"].high,
            }
            for row in rows
        ],
        "roc": attack.curve(),
    }


def over(attacks: Sequence[Mapping[str, Any]], strata: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Return an attack's figures over seeds; those of a single run as they are."""
    first = dict(attacks[0])
    for measure in MEASURES:
        values = [attack[measure]["mean"] for attack in attacks]
        first[measure] = over_seeds(values, strata) if len(attacks) > 1 else first[measure] | {"values": values}
    for name in ("chance", "false_positives", "resolution"):
        known = [attack[name] for attack in attacks if attack[name] == attack[name]]
        first[name] = sum(known) / len(known) if known else NAN
    return first


def unresolved(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return that too few rows tell 1 % from none, where it is so of any remedy's attack: the coarsest is named."""
    every = [(attack["resolution"], kind, entry["name"]) for entry in entries for kind, attack in _attacks(entry)]
    coarse = max((found for found in every if found[0] > FALSE_POSITIVES), default=None)
    if coarse is None:
        return []
    share, kind, name = coarse
    where = f"{kind}, {name}" if len(entries) > 1 else kind
    return [
        f"The rows that members are compared with resolve no false-positive rate below {100 * share:.2g} % ({where}): "
        "what is found at 1 % is to be read against chance, not against 1 %."
    ]


def left_out(found: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]]) -> list[str]:
    """Return, for each attack, the most members that a run's figures leave out; ``found`` are each remedy's runs."""
    most: dict[str, tuple[int, int, str]] = {}
    for arm, parts in found.items():
        for kind, attack in ((kind, attack) for part in parts for kind, attack in part.items()):
            left = attack["left_out"], attack["left_out"] + attack["members"], arm
            most[kind] = max(most.get(kind, left), left)
    return [
        f"{kind}: {'up to ' if len(found) > 1 or len(found[arm]) > 1 else ''}{left} of {asked} members"
        f"{f' ({arm})' if len(found) > 1 else ''} are left out, of classes that leave fewer than two rows to compare "
        "with" + (" (one client alone holds them)" if kind == "whose" else "") + "."
        for kind, (left, asked, arm) in most.items()
        if left
    ]


def _attacks(entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(entry["attacks"].items())
