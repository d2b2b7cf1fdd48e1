"""Audit runs: how well a stranger who holds their models can tell who was in the training rows."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.paired_attacks import COMPARED, against
from edgefed.analysis.statistics import HELPS, HURTS, SAME, UNDECIDED, contrasts
from edgefed.api.audit_figures import figures, left_out, over, unresolved
from edgefed.api.audited_run import audited
from edgefed.api.progress import asking
from edgefed.config import SettingsError
from edgefed.engines import make_engine
from edgefed.report.folder import CONTROL, ComparisonFolder
from edgefed.runs import AUDIT, AUDIT_HOME, Run, check_folder, is_folder_of, kept_in, made_folder, plain, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.api.audited_run import Audited

TIERS = {
    HELPS: "gives away more than none",
    HURTS: "gives away less than none",
    SAME: SAME,
    UNDECIDED: UNDECIDED,
}
"""What a difference in AUC is called: higher is worse here."""


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

    def __repr__(self) -> str:
        found = []
        for entry in self.result["strategies"]:
            means = {kind: attack["auc"]["mean"] for kind, attack in entry["attacks"].items()}
            aucs = (f"{kind} {'-' if mean is None else f'{mean:.3f}'}" for kind, mean in means.items())
            found.append(f"{entry['name']} ({', '.join(aucs)})")
        return f"<Audit of {self.result['audited']}: AUC of {', '.join(found)}; {kept_in(self.folder)}>"


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
    home, name, arms, tuned = _arms(what)
    first = next(iter(arms.values()))
    trainer = make_engine(engine, device=first[0].config.device)
    order = sorted(arms, key=lambda arm: arm != CONTROL)  # what others are paired with comes first
    found: dict[str, list[_Part]] = {arm: [] for arm in arms}
    rarest: list[str] = []
    with asking(progress, f"auditing {name}", len(arms) * len(first)) as show:
        for place in range(len(first)):
            control = None
            for number, arm in enumerate(order):
                seen = audited(arms[arm][place], trainer, tuned=tuned)
                control = seen if arm == CONTROL else control
                found[arm].append(_Part.of(seen, None if arm == CONTROL else control))
                show(place * len(order) + number, 1, 1)
            rarest.append(seen.classes[seen.rarest])
    strata = [tuple(run.manifest["long_tail_order"]) for run in first]
    entries = [_entry(arm, arms[arm], parts, strata) for arm, parts in found.items()]
    said = (caution for parts in found.values() for part in parts for caution in part.cautions)
    result: dict[str, Any] = {
        "audited": name,
        "seeds": [run.config.seed for run in first],
        "interval_over": "seeds" if len(first) > 1 else "rows",
        "rarest": rarest,
        "strategies": entries,
        "cautions": [
            *unresolved(entries),
            *left_out({arm: [part.attacks for part in parts] for arm, parts in found.items()}),
            *dict.fromkeys(said),
        ],
    }
    _compare(entries, found, strata)
    result["seconds"] = round(time.perf_counter() - begun, 3)
    result = plain(result)
    if home is not None:
        write_json(made_folder(home, AUDIT_HOME) / AUDIT, result, durable=False)
    return Audit(result, home)


@dataclass(frozen=True)
class _Part:
    """One run's figures: by attack, and by attack how much more it finds than on none under the same seed."""

    attacks: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, float]]
    influence: dict[str, float]
    cautions: list[str]

    @classmethod
    def of(cls, seen: Audited, control: Audited | None) -> _Part:
        paired = control.attacks if control is not None else {}
        return cls(
            {kind: figures(attack, seen.classes, seen.rarest) for kind, attack in seen.attacks.items()},
            {kind: against(seen.attacks[kind], attack, seen.rarest) for kind, attack in paired.items()},
            seen.influence,
            seen.cautions,
        )


def _arms(
    what: Run | str | Path | Sequence[Run | str | Path],
) -> tuple[Path | None, str, dict[str, list[Run]], bool]:
    """Return the audit's folder and name, the runs of each remedy, and whether validation rows chose them."""
    if isinstance(what, str | Path) and is_folder_of(Path(what), "comparison"):
        compared = ComparisonFolder.read(Path(what))
        return Path(what), compared.dataset, compared.runs, bool(compared.result.get("tuned"))
    if isinstance(what, str | Path):
        check_folder(Path(what), "run", "comparison")
    several = not isinstance(what, Run | str | Path)
    each: Any = what if several else [what]
    runs = [one if isinstance(one, Run) else Run.read(one) for one in each]
    if not runs:
        raise SettingsError("nothing to audit: give at least one run")
    config = runs[0].config
    name = config.data_name if several else f"{config.data_name}, seed {config.seed}"
    return (None if several else runs[0].folder), name, {config.imbalance: runs}, False


def _entry(arm: str, runs: Sequence[Run], parts: Sequence[_Part], strata: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Return one remedy's figures over its runs."""
    return {
        "name": arm,
        "privacy": runs[0].config.privacy,
        "attacks": {kind: over([part.attacks[kind] for part in parts], strata) for kind in parts[0].attacks},
        "influence": {key: max(part.influence[key] for part in parts) for key in parts[0].influence},
    }


def _compare(
    entries: Sequence[dict[str, Any]], found: Mapping[str, Sequence[_Part]], strata: Sequence[tuple[str, ...]]
) -> None:
    """Write each remedy's difference to none into its attacks, paired by seed; none where a seed's is undefined."""
    for kind in entries[0]["attacks"]:
        for measure in COMPARED:
            values = {
                arm: [part.differences[kind][measure] for part in parts]
                for arm, parts in found.items()
                if all(kind in part.differences for part in parts)
            }
            values = {arm: sample for arm, sample in values.items() if np.isfinite(sample).all()}
            paired = {CONTROL: np.zeros(len(strata)).tolist()} | values
            for arm, difference in contrasts(paired, CONTROL, strata).items():
                entry = next(entry for entry in entries if entry["name"] == arm)
                entry["attacks"][kind][measure]["difference"] = asdict(difference) | {
                    "tier": TIERS[difference.tier],
                    "members": found[arm][0].differences[kind]["members"],
                    "values": values[arm],
                }
