"""Audit runs: how well a stranger who holds their models can tell who was in the training rows."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.analysis.membership import FALSE_POSITIVES
from edgefed.analysis.statistics import HELPS, HURTS, SAME, UNDECIDED, contrasts
from edgefed.api.audited_run import audited
from edgefed.api.over_seeds import over_seeds
from edgefed.api.progress import asking
from edgefed.config import SettingsError
from edgefed.engines import make_engine
from edgefed.report.folder import CONTROL, ComparisonFolder
from edgefed.runs import AUDIT, AUDIT_HOME, Run, is_folder_of, made_folder, plain, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIERS = {
    HELPS: "gives away more than none",
    HURTS: "gives away less than none",
    SAME: SAME,
    UNDECIDED: UNDECIDED,
}
"""What a difference in AUC is called: higher is worse here."""
MEASURES = ("auc", "rarest_auc", "pooled_auc", "tpr")
COMPARED = ("auc", "rarest_auc", "tpr")
"""Measures that are paired with none's: AUC over all classes and in that of the fewest members, what is found."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes
    ----------
    result : dict
        As ``audit.json`` holds it (docs/audit.md lists it).
    folder : Path or None
        Where it is kept, if it is.
    """

    result: dict[str, Any]
    folder: Path | None = None


def audit(
    what: Run | str | Path | Sequence[Run | str | Path],
    *,
    engine: str = "batched",
    progress: bool | None = None,
) -> Audit:
    """Attack a run's models, or those of every remedy in a comparison, by membership inference.

    A threshold on the loss: rows that a model is surer of are called members (Yeom et al. 2018). AUC compares rows of
    one class; the true-positive rate is taken at 1 % false positives (Carlini et al. 2022).

    Parameters
    ----------
    what : Run, path, or sequence of them
        A finished run or its folder; a finished comparison's folder, whose remedies are paired by seed; or runs that
        differ in their seeds. With several runs intervals are over seeds, else over rows.
    engine : str
        What makes the updates again.
    progress : bool, optional
        Show how many runs have been audited, on stderr. Neutral: in a terminal or a notebook.

    Raises
    ------
    SettingsError
        In one line: the folder is none, the model diverged, or the rows are not here.

    Examples
    --------
    >>> import edgefed
    >>> run = edgefed.run(edgefed.FederationConfig(num_server_rounds=20), progress=False)
    >>> found = edgefed.audit(run, progress=False).result["strategies"][0]["attacks"]["global"]["auc"]["mean"]
    >>> 0.3 < found < 0.7
    True
    """
    begun = time.perf_counter()
    home, name, arms = _arms(what)
    trainer = make_engine(engine)
    total = sum(map(len, arms.values()))
    found: dict[str, list[dict[str, Any]]] = {}
    with asking(progress, f"auditing {name}", total) as show:
        done = 0
        for arm, runs in arms.items():
            found[arm] = []
            for run in runs:
                found[arm].append(audited(run, trainer))
                show(done, 1, 1)
                done += 1
    first = next(iter(arms.values()))
    strata = [tuple(run.manifest["long_tail_order"]) for run in first]
    result: dict[str, Any] = {
        "audited": name,
        "seeds": [run.config.seed for run in first],
        "interval_over": "seeds" if len(first) > 1 else "rows",
        "strategies": [_entry(arm, arms[arm], parts, strata) for arm, parts in found.items()],
        "cautions": [],
    }
    said = (caution for parts in found.values() for part in parts for caution in part["cautions"])
    result["cautions"] = list(dict.fromkeys([*_unresolved(result["strategies"][0]["attacks"]["global"]), *said]))
    if CONTROL in found and len(found) > 1:
        _compare(result["strategies"], strata)
    result["seconds"] = round(time.perf_counter() - begun, 3)
    result = plain(result)
    if home is not None:
        write_json(made_folder(home, AUDIT_HOME) / AUDIT, result, durable=False)
    return Audit(result, home)


def _arms(
    what: Run | str | Path | Sequence[Run | str | Path],
) -> tuple[Path | None, str, dict[str, list[Run]]]:
    """Return the folder that the audit belongs to, its name, and the runs of each remedy."""
    if isinstance(what, str | Path) and is_folder_of(Path(what), "comparison"):
        compared = ComparisonFolder.read(Path(what))
        return Path(what), compared.dataset, compared.runs
    several = not isinstance(what, Run | str | Path)
    each: Any = what if several else [what]
    runs = [one if isinstance(one, Run) else Run.read(one) for one in each]
    if not runs:
        raise SettingsError("nothing to audit: give at least one run")
    config = runs[0].config
    name = config.data_name if several else f"{config.data_name}, seed {config.seed}"
    return (None if several else runs[0].folder), name, {config.imbalance: runs}


def _entry(
    arm: str, runs: Sequence[Run], parts: Sequence[Mapping[str, Any]], strata: Sequence[tuple[str, ...]]
) -> dict[str, Any]:
    """Return one remedy's figures over its runs."""
    return {
        "name": arm,
        "privacy": runs[0].config.privacy,
        "attacks": {kind: _over([part["attacks"][kind] for part in parts], strata) for kind in parts[0]["attacks"]},
        "influence": {key: max(part["influence"][key] for part in parts) for key in parts[0]["influence"]},
    }


def _over(attacks: Sequence[Mapping[str, Any]], strata: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Return an attack's figures over seeds; those of a single run as they are."""
    first = dict(attacks[0])
    for measure in MEASURES:
        values = [attack[measure]["mean"] for attack in attacks]
        first[measure] = over_seeds(values, strata) if len(attacks) > 1 else first[measure] | {"values": values}
    for name in ("chance", "false_positives", "resolution"):
        known = [attack[name] for attack in attacks if attack[name] == attack[name]]
        first[name] = sum(known) / len(known) if known else float("nan")
    return first


def _unresolved(attack: Mapping[str, Any]) -> list[str]:
    """Return that too few outsiders tell 1 % from none, where it is so."""
    if not attack["resolution"] > FALSE_POSITIVES:
        return []
    return [
        f"The rows that nobody trained on resolve no false-positive rate below {100 * attack['resolution']:.2g} %: "
        "what is found at 1 % is to be read against chance, not against 1 %."
    ]


def _compare(entries: Sequence[dict[str, Any]], strata: Sequence[tuple[str, ...]]) -> None:
    """Write each remedy's difference to none into its attacks, paired by seed."""
    for kind in entries[0]["attacks"]:
        for measure in COMPARED:
            values = {entry["name"]: entry["attacks"][kind][measure]["values"] for entry in entries}
            if any(value != value for sample in values.values() for value in sample):
                continue
            for arm, difference in contrasts(values, CONTROL, strata).items():
                entry = next(entry for entry in entries if entry["name"] == arm)
                entry["attacks"][kind][measure]["difference"] = asdict(difference) | {"tier": TIERS[difference.tier]}
