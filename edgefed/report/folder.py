"""A comparison folder as pictures and pages need it: its figures, and the runs at each remedy's chosen rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.config import SettingsError
from edgefed.notes import FEWEST_ORDERED
from edgefed.runs import AUDIT, AUDIT_HOME, EXPLANATION, EXPLANATION_HOME, SELECTION, Run, is_folder_of, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CONTROL = "none"
RANKED = "balanced_accuracy"
DOTS = 40
"""Clients up to which each has a dot."""


@dataclass(frozen=True, eq=False)
class ComparisonFolder:
    """A finished comparison, read from its files alone.

    Attributes
    ----------
    folder : Path
    result : dict
        What ``comparison.json`` holds.
    runs : dict of str to list of Run
        The federations of each remedy at its chosen learning rate, in the order of ``seeds``.
    """

    folder: Path
    result: dict[str, Any]
    runs: dict[str, list[Run]]

    @classmethod
    def read(cls, folder: Path) -> ComparisonFolder:
        """Read a comparison.

        Raises
        ------
        SettingsError
            One line, when the folder is not a finished comparison or one of its runs is missing.
        """
        if not is_folder_of(folder, "comparison"):
            raise SettingsError(f"{folder}: not a finished comparison (it has no comparison.json)")
        result = read_json(folder / "comparison.json")
        try:
            cells = {
                str(arm["name"]): [
                    folder / "federations" / arm["name"] / f"rate-{arm['learning_rate']:g}" / f"seed-{seed}"
                    for seed in result["seeds"]
                ]
                for arm in result["strategies"]
            }
            for arm in result["strategies"]:
                numbers(arm[RANKED]["values"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"{folder / 'comparison.json'}: not a comparison's figures ({type(error).__name__}: {error})"
            ) from None
        return cls(folder, result, {arm: [Run.read(home) for home in homes] for arm, homes in cells.items()})

    @property
    def arms(self) -> list[dict[str, Any]]:
        """The remedies' figures from the highest mean to the lowest, the control among them."""
        return list(self.result["strategies"])

    @property
    def remedies(self) -> list[dict[str, Any]]:
        """The same without the control."""
        return [arm for arm in self.arms if arm["name"] != CONTROL]

    @property
    def control(self) -> dict[str, Any] | None:
        """The control's figures."""
        return next((arm for arm in self.arms if arm["name"] == CONTROL), None)

    @property
    def references(self) -> dict[str, dict[str, Any]]:
        """The references that are measured as the remedies are: :func:`references_of`."""
        return references_of(self.result)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of every arm's values."""
        return [int(seed) for seed in self.result["seeds"]]

    @property
    def scope(self) -> str:
        """What the figures generalise over, as a sentence."""
        said = str(self.result.get("generalises_over", "")).strip()
        return f"{verb_of(self.result)} {said}." if said else f"{len(self.seeds)} seeds."

    @property
    def dataset(self) -> str:
        """Name of the dataset, or of a person's file."""
        return next(iter(self.runs.values()))[0].config.data_name


def verb_of(result: Mapping[str, Any]) -> str:
    """Return what figures do on their data: a finding holds, and where too few seeds leave none they are measured."""
    return "Measured" if "too few seeds" in str(result.get("finding")) else "Holds"


def references_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a comparison's references that are measured as its remedies are: another measure has no place there.

    Without a tail, rows before the tail thinned them are the same rows: that reference is left out.
    """
    known: dict[str, dict[str, Any]] = result.get("references") or {}
    found = {name: figure for name, figure in known.items() if figure.get("measure", RANKED) == RANKED}
    twin, pooled = found.get("pooled-before-tail"), found.get("pooled")
    if twin is not None and pooled is not None and twin.get("values") == pooled.get("values"):
        del found["pooled-before-tail"]
    return found


@dataclass(frozen=True, eq=False)
class ExplanationFolder:
    """An explanation, read from the folder of a run or a comparison.

    Attributes
    ----------
    folder : Path
    result : dict
        What ``explanation.json`` holds.
    selection : dict or None
        What ``selection.json`` holds, where features were selected.
    run : Run
        The run that is explained, or the first of several.
    """

    folder: Path
    result: dict[str, Any]
    selection: dict[str, Any] | None
    run: Run

    @classmethod
    def read(cls, folder: Path) -> ExplanationFolder:
        """Read an explanation.

        Raises
        ------
        SettingsError
            One line, when the folder has none.
        """
        home = folder / EXPLANATION_HOME
        if not (home / EXPLANATION).is_file():
            raise SettingsError(f"{folder}: not explained yet; edgefed explain {folder} does it")
        result = read_json(home / EXPLANATION)
        chosen = home / SELECTION
        try:
            first = folder / str(result["folders"][0])
            result["importance"][0]["feature"]
        except (KeyError, IndexError, TypeError) as error:
            raise SettingsError(
                f"{home / EXPLANATION}: not an explanation's figures ({type(error).__name__}: {error})"
            ) from None
        return cls(folder, result, read_json(chosen) if chosen.is_file() else None, Run.read(first))

    @property
    def features(self) -> list[str]:
        """Names of the features, the strongest first."""
        return [str(row["feature"]) for row in self.result["importance"]]

    @property
    def columns(self) -> list[dict[str, Any]]:
        """The file's columns, the strongest first, where some are categorical; else none."""
        return list(self.result.get("columns") or ())

    def correlations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return rank correlations of every two methods [methods, methods], and of each with itself again [methods].

        nan where it is not known, and of fewer features than have orders to speak of.
        """
        said = self.result["agreement"]
        between = np.array([numbers(row) for row in said["rank_correlation"]])
        again = numbers([self.result["stability"].get(name) for name in said["methods"]])
        if len(self.features) < FEWEST_ORDERED:
            return np.full_like(between, np.nan), np.full_like(again, np.nan)
        return between, again

    def dots(self, place: int) -> NDArray[np.float64]:
        """Return the increase in log-loss of a feature (its place) under each seed, or at each client of one seed."""
        if self.result["interval_over"] == "seeds":
            return numbers(self.result["importance"][place]["values"])
        return numbers([row[place] for row in self.result["by_client"]["loss"][:DOTS]])

    @property
    def dots_in_words(self) -> str:
        """What a dot stands for."""
        over, clients = str(self.result["interval_over"]), self.result["by_client"]["clients"]
        return over if over == "seeds" or clients <= DOTS else f"the {DOTS} clients with the most rows"


@dataclass(frozen=True, eq=False)
class AuditFolder:
    """An audit, read from the folder of a run or a comparison.

    Attributes
    ----------
    folder : Path
    result : dict
        What ``audit.json`` holds.
    """

    folder: Path
    result: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> AuditFolder:
        """Read an audit.

        Raises
        ------
        SettingsError
            One line, when the folder has none.
        """
        path = folder / AUDIT_HOME / AUDIT
        if not path.is_file():
            raise SettingsError(f"{folder}: not audited yet; edgefed audit {folder} does it")
        result = read_json(path)
        try:
            for entry in result["strategies"]:
                numbers(entry["attacks"]["global"]["auc"]["values"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{path}: not an audit's figures ({type(error).__name__}: {error})") from None
        return cls(folder, result)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The remedies' figures, in the order of the comparison; of a run the only one."""
        return list(self.result["strategies"])

    @property
    def kinds(self) -> list[str]:
        """Names of the attacks."""
        return list(self.entries[0]["attacks"])

    @property
    def over_seeds(self) -> bool:
        """Whether figures are over seeds."""
        return bool(self.result["interval_over"] == "seeds")


def client_names(run: Run) -> dict[int, str]:
    """Return the names of a run's clients by number: devices' names, or those in the data; empty where they have none.

    A device that never came has none.
    """
    devices = run.manifest.get("devices")
    if isinstance(devices, list):
        named = {int(device["partition-id"]): str(device["name"]) for device in devices}
    else:
        found = run.manifest.get("client_names")
        named = dict(enumerate(map(str, found))) if isinstance(found, list) else {}
    return {client: name for client, name in named.items() if name.strip()}


def share_interval(figure: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of the interval of a share, from 0 to 1: a t interval may pass them, the share cannot.

    What is cut off holds no possible value, so the interval covers what it covered; nan where there is none.
    """
    low, high = np.clip(np.array([number(figure.get("low")), number(figure.get("high"))]), 0, 1).tolist()
    return low, high


def passes_its_ends(figures: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the interval of any share goes below 0 or above 1."""
    return any(number(figure.get("low")) < 0 or number(figure.get("high")) > 1 for figure in figures)


CUT = "Intervals of shares are cut at 0 and 100 %, which a t interval may pass."
"""Said where one is."""


def numbers(values: Any) -> NDArray[np.float64]:
    """Return JSON numbers as an array; null, which stands for what is not finite, becomes nan."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def number(value: Any) -> float:
    """Return a JSON number; null becomes nan."""
    return float("nan") if value is None else float(value)
