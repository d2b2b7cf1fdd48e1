"""A finished run as it is read from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgefed.config import FederationConfig, read_settings
from edgefed.durable import model_hash, read_arrays
from edgefed.errors import SettingsError
from edgefed.runs.files import parsed, read_json, text_of
from edgefed.runs.folder import kept_in, other_setting
from edgefed.runs.kinds import check_folder

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(eq=False)
class Run:
    """A finished federation: its settings, what happened in each round, and the model.

    Attributes
    ----------
    config : FederationConfig
    manifest : dict
        Versions, seeds, class and feature names, scaler, logit shift, shards, final figures, model hash.
    rounds : sequence of dict
        A row a round, as in ``history.jsonl``.
    weights : dict of str to ndarray
        ``state_dict`` names, order and shapes.
    folder : Path or None
        Where it is kept, if it is.
    """

    config: FederationConfig
    manifest: dict[str, Any]
    rounds: Sequence[dict[str, Any]]
    weights: dict[str, NDArray[np.floating]]
    folder: Path | None = None

    def __repr__(self) -> str:
        summary = self.manifest.get("summary", {})
        measure = summary.get("test", {}).get("balanced_accuracy")
        found = "" if measure is None else f", test balanced accuracy {measure:.3f}"
        clients = summary.get("clients", self.config.num_clients)
        what = f"{self.config.data_name}, {self.config.imbalance}, seed {self.config.seed}"
        return f"<Run of {what}: {len(self.rounds)} rounds, {clients} clients{found}; {kept_in(self.folder)}>"

    @property
    def history(self) -> History:
        """The rounds as arrays."""
        return History(self.rounds)

    @property
    def summary(self) -> dict[str, Any]:
        """What ``edgefed run --format json`` prints."""
        return dict(self.manifest["summary"])

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Read a finished run's folder.

        Raises
        ------
        SettingsError
            One line, when the folder is not a finished run or its model does not match its hash.
        """
        folder = Path(folder)
        check_folder(folder, "run")
        manifest = read_json(folder / "manifest.json")
        summary = manifest.get("summary")
        if summary is None:
            raise SettingsError(f"{folder}: the run is not finished; --resume goes on with it")
        if not isinstance(summary, dict) or "model_sha256" not in summary:
            raise SettingsError(f"{folder / 'manifest.json'}: no model_sha256 in its summary; the file was edited")
        path = folder / "config.toml"
        text_of(path)
        try:
            config = FederationConfig.from_mapping(read_settings(path))
        except SettingsError as error:
            line = str(error).removeprefix(f"{path}: ")
            raise SettingsError(f"{path}: {line}; the file was edited") from None
        rounds = _rounds(folder / "history.jsonl")
        if len(rounds) != summary.get("rounds", len(rounds)):
            raise SettingsError(
                f"{folder / 'history.jsonl'}: {len(rounds)} rounds, manifest.json has {summary['rounds']}; "
                "the file was edited"
            )
        weights = read_arrays(folder / "model.npz")
        if model_hash(weights) != summary["model_sha256"]:
            raise SettingsError(f"{folder / 'model.npz'}: does not match the hash in manifest.json")
        return cls(config, manifest, rounds, weights, folder)


class History(Mapping[str, NDArray[np.float64]]):
    """A run's rounds as arrays: ``history["test.balanced_accuracy"]`` is a float ndarray [rounds].

    A mapping of the names of all numbers in the rounds; a value that a round does not have is nan.
    """

    def __init__(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        self._rounds = rounds

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self:
            raise KeyError(f"{name}: known are {', '.join(self)}")
        values = [_reach(row, name.split(".")) for row in self._rounds]
        shape = next((np.shape(value) for value in values if value is not None), ())
        blank = np.full(shape, np.nan)
        return np.array([blank if value is None else value for value in values], np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __repr__(self) -> str:
        return f"<History of {len(self._rounds)} rounds: {', '.join(self)}>"

    def names(self) -> list[str]:
        """Return the names of all numbers in the history."""
        found: dict[str, None] = {}
        for row in self._rounds:
            for key, value in row.items():
                inner = value if isinstance(value, dict) else {"": value}
                for name, number in inner.items():
                    # Written as JSON, a nan is null.
                    if isinstance(number, int | float | list | None) and not isinstance(number, bool):
                        found[f"{key}.{name}".rstrip(".")] = None
        return list(found)


def _reach(row: Any, path: list[str]) -> Any:
    for part in path:
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _rounds(path: Path) -> list[dict[str, Any]]:
    return [parsed(path, line) for line in text_of(path).splitlines()]


def check_same_settings(folder: Path, config: FederationConfig) -> None:
    """Refuse to go on with a folder whose settings are others, naming the key.

    Raises
    ------
    SettingsError
        With the first key that differs.
    """
    # A setting that is younger than the folder stands at its default there.
    kept = FederationConfig.from_mapping(read_settings(folder / "config.toml")).to_mapping()
    for key, value in config.to_mapping().items():
        if kept[key] != value:
            raise other_setting(key, value, folder / "config.toml", kept[key])
