"""The run folder: the only thing that analysis, plots and reports read. No torch here."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.config import FederationConfig, read_settings
from edgefed.durable import (
    append,
    model_hash,
    read_arrays,
    read_sealed,
    settle,
    write_arrays,
    write_atomically,
    write_sealed,
)
from edgefed.errors import SettingsError, read_utf8
from edgefed.lock import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

log = logging.getLogger("edgefed")

__all__ = [
    "CLIENT_COLUMNS",
    "History",
    "Interrupted",
    "Run",
    "RunWriter",
    "check_kind",
    "clear_start",
    "csv_lines",
    "history_lines",
    "is_begun",
    "is_folder_of",
    "model_hash",
    "new_folder",
    "plain",
    "read_arrays",
    "read_json",
    "write_arrays",
    "write_atomically",
    "write_json",
]

_STRICT = json.JSONEncoder(allow_nan=False)

CLIENT_COLUMNS = ("round", "client", "rows", "steps", "train_loss", "verdict")


OPENED = "opened.jsonl"
"""While a run under secure aggregation is not finished: the clients of each round whose masks were taken off."""
EXPLANATION_HOME = "explanation"
"""The folder within a run's or comparison's in which its explanation is kept."""
EXPLANATION, COLLECTED, SELECTION = "explanation.json", "collected.npz", "selection.json"
EXPLANATION_PAGE = "explanation.html"
"""Its files: what it came to, what clients said, which features were selected."""
AUDIT_HOME, AUDIT = "audit", "audit.json"
"""The folder within a run's or comparison's in which its audit is kept, and its file."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run that has a folder: what was committed is there, and ``resume`` goes on with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"interrupted; --resume --out {folder} goes on")


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
        _check_is_run(folder)
        manifest = read_json(folder / "manifest.json")
        summary = manifest.get("summary")
        if summary is None:
            raise SettingsError(f"{folder}: the run is not finished; --resume goes on with it")
        if not isinstance(summary, dict) or "model_sha256" not in summary:
            raise SettingsError(f"{folder / 'manifest.json'}: no model_sha256 in its summary; the file was edited")
        path = folder / "config.toml"
        _text(path)
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


def _check_is_run(folder: Path) -> None:
    """Refuse what is something else than a run's folder, in a line that says what would do."""
    if folder.is_file():
        leads = folder.suffix.lower() in (".csv", ".toml")
        how = f"; edgefed run {folder} makes one" if leads else ""
        raise SettingsError(f"{folder}: a file, expected a run's folder{how}")
    if is_folder_of(folder, "run"):
        return
    if is_folder_of(folder, "comparison"):
        first = next(iter(sorted((folder / "federations").glob("*/*/*/manifest.json"))), None)
        one = f"; or give one of its runs, as {first.parent}" if first else ""
        best = folder / "best.toml"
        how = f": edgefed run {best} trains its best as a run" if best.is_file() else ""
        raise SettingsError(f"{folder}: a comparison of many runs, expected one run's folder{how}{one}")
    if is_folder_of(folder, "grid"):
        raise SettingsError(
            f"{folder}: a grid of comparisons, expected one run's folder: edgefed run "
            f"{folder / 'blocks'}/…/best.toml trains the best of a block as a run"
        )


class History:
    """A run's rounds as arrays: ``history["test.balanced_accuracy"]`` is a float ndarray [rounds].

    A value that a round does not have is nan.
    """

    def __init__(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        self._rounds = rounds

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self.names():
            raise KeyError(f"{name}: known are {', '.join(self.names())}")
        values = [_reach(row, name.split(".")) for row in self._rounds]
        shape = next((np.shape(value) for value in values if value is not None), ())
        blank = np.full(shape, np.nan)
        return np.array([blank if value is None else value for value in values], np.float64)

    def __len__(self) -> int:
        return len(self._rounds)

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


# ---------------------------------------------------------------------------------------------- files
def new_folder(
    wanted: str | Path | None, name: str, *, instead: str = "give another folder, or --resume to go on"
) -> Path:
    """Make the folder of a run: the one asked for, or ``runs/NAME``, numbered so that nothing is overwritten.

    ``instead`` is what would do where the folder asked for has something in it.

    Raises
    ------
    SettingsError
        When the folder asked for exists with something in it, or cannot be made.
    """
    try:
        if wanted is not None:
            folder = Path(wanted)
            if folder.exists() and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())):
                raise SettingsError(f"--out {folder}: exists already; {instead}")
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        number = 1
        while True:
            folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
            number += 1
    except SettingsError:
        raise
    except OSError as error:
        raise SettingsError(f"--out {wanted or folder}: cannot be made ({error.strerror})") from None
    except ValueError as error:  # a NUL in the path
        raise SettingsError(f"--out {wanted}: cannot be made ({error})") from None


def is_begun(folder: Path) -> bool:
    """Return whether a run's folder can be gone on with; one that was killed before it had both files cannot."""
    return (folder / "config.toml").is_file() and (folder / "manifest.json").is_file()


def check_kind(folder: Path, wanted: str) -> None:
    """Refuse to go on with a folder of another kind than ``run`` or ``comparison``; a grid counts as a comparison.

    Raises
    ------
    SettingsError
        In a line that says what the folder is.
    """
    kinds = {"run": ("run", is_begun(folder)), "comparison": ("compare", (folder / "plan.json").is_file())}
    for kind, (command, found) in kinds.items():
        if found and kind != wanted:
            raise SettingsError(
                f"--resume --out {folder}: a {kind}'s folder, expected a {wanted}'s; edgefed {command} --resume goes "
                "on with it"
            )


def clear_start(folder: Path, config: FederationConfig) -> None:
    """Take away what a start under these settings left in a folder when it was killed, where there is nothing else.

    A ``config.toml`` that is not to the byte what the start wrote is a person's own: all is left alone.
    """
    left = [path for path in folder.iterdir() if path.name != LOCK] if folder.is_dir() else []
    begun = config.to_toml().encode()
    if all(
        path.is_file() and (_is_temporary(path) or (path.name == "config.toml" and path.read_bytes() == begun))
        for path in left
    ):
        for path in left:
            path.unlink()


def _is_temporary(path: Path) -> bool:
    """Return whether a file is what :func:`write_atomically` was writing when it was killed."""
    return re.fullmatch(r"\..+\.[0-9]+\.[0-9a-f]{8}", path.name) is not None


def explanation_folder(home: Path) -> Path:
    """Return the folder within a run's or comparison's that its explanation goes to, made if need be.

    Raises
    ------
    SettingsError
        When it cannot be made.
    """
    return made_folder(home, EXPLANATION_HOME)


def made_folder(home: Path, name: str) -> Path:
    """Return a folder within a run's or comparison's, made if need be.

    Raises
    ------
    SettingsError
        When it cannot be made.
    """
    folder = home / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON atomically; nan and infinity become null."""
    write_atomically(path, (json.dumps(plain(value), indent=2) + "\n").encode(), durable=durable)


def plain(value: Any) -> Any:
    """Return a value that strict JSON can hold: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    SettingsError
        One line, when there is none.
    """
    return _object(path, _text(path))


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: expected a JSON object")
    return value


def _rounds(path: Path) -> list[dict[str, Any]]:
    return [_object(path, line) for line in _text(path).splitlines()]


def _text(path: Path) -> str:
    if not path.exists():
        raise SettingsError(f"{path}: no such file; is {path.parent} a run folder?")
    return read_utf8(path, "text that edgefed wrote")


def _whole_lines(path: Path) -> list[str]:
    """Return a file's lines; a last one without its end was being written when the run was stopped."""
    return _text(path).split("\n")[:-1]


def history_lines(rounds: Iterable[Mapping[str, Any]]) -> str:
    """Return rounds as JSON lines."""
    return "".join(f"{_json_line(row)}\n" for row in rounds)


def _json_line(row: Mapping[str, Any]) -> str:
    try:
        return _STRICT.encode(row)  # most rows as they are: a look at each value takes three times as long
    except (TypeError, ValueError):
        return json.dumps(plain(row))


def is_folder_of(folder: Path, kind: str) -> bool:
    """Return whether a folder holds a ``run`` (finished or not), a finished ``comparison`` or a finished ``grid``."""
    return (folder / {"run": "manifest.json", "comparison": "comparison.json", "grid": "grid.json"}[kind]).is_file()


@dataclass
class RunWriter:
    """Writes a run's folder while it runs: settings first, a row a round, the model last.

    Parameters
    ----------
    folder : Path
        From :func:`new_folder`, or an interrupted run's.
    durable : bool
        False leaves out the fsync of each file: a comparison of hundreds of runs commits whole runs.
    """

    folder: Path
    durable: bool = True

    def begin(self, config: FederationConfig, manifest: Mapping[str, Any]) -> None:
        """Write what is known before the first round."""
        write_atomically(self.folder / "config.toml", config.to_toml().encode(), durable=self.durable)
        write_json(self.folder / "manifest.json", manifest, durable=self.durable)

    def rows(self, rounds: Sequence[Mapping[str, Any]], clients: Sequence[Sequence[Any]]) -> None:
        """Append rounds and their clients' rows (tuples in the order of ``CLIENT_COLUMNS``)."""
        self.tell(rounds)
        self.keep(csv_lines(clients))

    def tell(self, rounds: Sequence[Mapping[str, Any]]) -> None:
        """Append rounds for whoever looks on; :meth:`keep` puts them on the disk."""
        append(self.folder / "history.jsonl", history_lines(rounds), durable=False)

    def keep(self, clients: str) -> None:
        """Append clients' rows as CSV text, on the disk with the rounds told so far: a checkpoint makes them count."""
        table = self.folder / "clients.csv"
        new = not table.exists()
        header = csv_lines([CLIENT_COLUMNS]) if new else ""
        append(table, header + clients, durable=self.durable)
        append(self.folder / "history.jsonl", "", durable=self.durable)
        if new and self.durable:
            settle(self.folder)

    def truncate(self, rounds: int) -> list[dict[str, Any]]:
        """Keep the first rounds only (what came after the last checkpoint is redone) and return them."""
        for left in [*self.folder.iterdir(), *(self.folder / "checkpoint").glob("*")]:
            if _is_temporary(left):
                left.unlink()
        path = self.folder / "history.jsonl"
        kept = [_object(path, line) for line in _whole_lines(path)[:rounds]] if rounds else []
        write_atomically(path, history_lines(kept).encode())
        table = self.folder / "clients.csv"
        if table.exists():
            lines = [line for line in _whole_lines(table)[1:] if _round_of(table, line) <= rounds]
            write_atomically(table, "".join(f"{line}\n" for line in [",".join(CLIENT_COLUMNS), *lines]).encode())
        return kept

    def checkpoint(self, round_number: int, arrays: Mapping[str, NDArray[Any]], *, own: bool = False) -> None:
        """Write what a federation carries from a round to the next, durably and sealed; the last two are kept.

        ``own``: for its owner's eyes alone.
        """
        home = self.folder / "checkpoint"
        if not home.exists():
            home.mkdir()
            settle(self.folder)
        write_sealed(home / f"round-{round_number:06d}.npz", arrays, own=own)
        for old in sorted(home.glob("round-*.npz"))[:-2]:
            old.unlink()

    def note_opened(self, round_number: int, clients: Sequence[int]) -> None:
        """Write, durably, that a masked round's sum over these clients is about to be looked at."""
        path = self.folder / OPENED
        new = not path.exists()
        append(path, history_lines([{"round": round_number, "clients": list(clients)}]))
        if new:
            settle(self.folder)

    def opened(self, since: int) -> dict[int, list[int]]:
        """Return the clients of each masked round after one that was, or was about to be, looked at.

        Raises
        ------
        SettingsError
            When the file was edited.
        """
        path = self.folder / OPENED
        if not path.exists():
            return {}
        found = {}
        for row in (_object(path, line) for line in _whole_lines(path)):
            number, clients = row.get("round"), row.get("clients")
            if type(number) is not int or not isinstance(clients, list):
                raise SettingsError(f"{path}: no round and its clients; the file was edited")
            found[number] = clients
        write_atomically(path, history_lines({"round": n, "clients": c} for n, c in found.items()).encode())
        return {number: clients for number, clients in found.items() if number > since}

    def last_checkpoint(self) -> tuple[int, dict[str, NDArray[Any]]] | None:
        """Return the newest checkpoint that is what was written: its round and arrays; None where there is none at all.

        One that is torn or was edited is put aside, and said to be; the one before is used.

        Raises
        ------
        SettingsError
            Where there are checkpoints and none can be used.
        """
        refused = []
        for path in sorted((self.folder / "checkpoint").glob("round-*.npz"), reverse=True):
            try:
                found = int(path.stem.removeprefix("round-")), read_sealed(path)
            except (SettingsError, ValueError) as error:
                refused.append((path, error))
                continue
            for torn, why in refused:
                torn.replace(torn.with_suffix(".refused"))
                log.warning("%s; %s is used", why, path.name)
            return found
        if refused:
            raise SettingsError(
                f"{refused[0][1]}, and no other checkpoint can be used; without the folder {refused[0][0].parent} "
                "the run starts again at round 1"
            )
        return None

    def end(self, weights: Mapping[str, NDArray[Any]], manifest: Mapping[str, Any]) -> None:
        """Write the model and the final manifest: only now is the run finished."""
        write_arrays(self.folder / "model.npz", weights, durable=self.durable)
        write_json(self.folder / "manifest.json", manifest, durable=self.durable)
        (self.folder / OPENED).unlink(missing_ok=True)


def _round_of(table: Path, line: str) -> int:
    number = line.partition(",")[0]
    if not (number.isascii() and number.isdigit()):
        raise SettingsError(f"{table}: '{number[:20]}' is no round; the file was edited")
    return int(number)


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, a line each: empty for nan, no line breaks within a cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return " ".join(str(value).splitlines())
