"""A run's folder while it is written: what was committed is there, whatever happens, and can be gone on with."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefed.durable import append, read_sealed, settle, write_arrays, write_atomically, write_sealed
from edgefed.errors import SettingsError
from edgefed.runs.files import csv_lines, history_lines, parsed, whole_lines, write_json
from edgefed.runs.folder import is_temporary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

log = logging.getLogger("edgefed")

NAME_COLUMN = "name"
"""Of a finished run whose data name the clients; on devices the manifest has their names, some come late."""
CLIENT_COLUMNS = ("round", "client", "rows", "steps", "train_loss", "verdict")
OPENED = "opened.jsonl"
"""While a run under secure aggregation is not finished: the clients of each round whose masks were taken off."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run that has a folder: what was committed is there, and ``resume`` goes on with it.

    ``kept`` says how much that is, where it is a part of many.
    """

    def __init__(self, folder: Path, kept: str = "") -> None:
        super().__init__(f"interrupted{f' with {kept}' if kept else ''}; --resume --out {folder} goes on")


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
            if is_temporary(left):
                left.unlink()
        path = self.folder / "history.jsonl"
        kept = [parsed(path, line) for line in whole_lines(path)[:rounds]] if rounds else []
        write_atomically(path, history_lines(kept).encode())
        table = self.folder / "clients.csv"
        if table.exists():
            lines = [line for line in whole_lines(table)[1:] if _round_of(table, line) <= rounds]
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
        for row in (parsed(path, line) for line in whole_lines(path)):
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
        if (named := manifest.get("client_names")) and (self.folder / "clients.csv").exists():
            self._name_clients(named)

    def _name_clients(self, named: Sequence[str]) -> None:
        """Put each client's name at the end of its rows: last of all, as rows are appended without it."""
        table = self.folder / "clients.csv"
        cells = csv_lines((name,) for name in named).splitlines()
        head = ",".join((*CLIENT_COLUMNS, NAME_COLUMN))
        lines = (f"{line},{cells[int(line.split(',', 2)[1])]}" for line in whole_lines(table)[1:])
        write_atomically(table, "".join(f"{line}\n" for line in (head, *lines)).encode(), durable=self.durable)


def _round_of(table: Path, line: str) -> int:
    number = line.partition(",")[0]
    if not (number.isascii() and number.isdigit()):
        raise SettingsError(f"{table}: '{number[:20]}' is no round; the file was edited")
    return int(number)
