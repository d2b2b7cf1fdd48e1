"""Commits of a run: a round counts once its rows and what it carries to the next are on the disk.

Writing goes on behind the rounds, for a twentieth of the time at most: one write is in flight, and what comes meanwhile
waits as one. A kill costs the rounds since the last commit, which are trained again to the same bits.

Under differential privacy nothing waits: clients that are asked again may be others, and a round that is released twice
under the same noise has none in the difference. So each round is on the disk before its model is sent to anybody.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.config import FederationConfig, SettingsError
from edgefed.errors import FederationError
from edgefed.federation.record import listed_clients
from edgefed.runs import csv_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from edgefed.federation.federation import ClientRows, Federation
    from edgefed.runs import RunWriter

PACE = 19.0
"""Times as long as a commit took that the next one waits: writing takes a twentieth of the time, on any disk."""

LONGEST_WAIT = 60.0
"""Seconds that a commit waits at most."""

SETTINGS = "settings"
"""A checkpoint's name for the hash of the settings that it belongs to."""


@dataclass(frozen=True)
class Commit:
    """Rounds' clients, and what the last of them carries on; None where a run ends with it."""

    last: int
    clients: Sequence[ClientRows]
    state: Mapping[str, NDArray[Any]] | None

    def then(self, later: Commit) -> Commit:
        """Return both as one: the clients of all their rounds, the later state."""
        return Commit(later.last, [*self.clients, *later.clients], later.state)


class WriteBehind:
    """Writes commits in a thread of its own, one at a time; what comes meanwhile waits as one.

    Parameters
    ----------
    write : callable
        Writes a commit.
    pace : float
        Times as long as a commit took that the next one waits; closing waits for nothing.
    """

    def __init__(self, write: Callable[[Commit], None], pace: float) -> None:
        self._write = write
        self._pace = pace
        self._changed = threading.Condition()
        self._waiting: Commit | None = None
        self._closing = False
        self._failure: BaseException | None = None
        # A daemon: a process that ends without close() is no other than one that is killed.
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, commit: Commit) -> None:
        """Have a commit written.

        Raises
        ------
        OSError
            When an earlier one could not be.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._waiting = commit if self._waiting is None else self._waiting.then(commit)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until everything is written.

        Raises
        ------
        OSError
            When it could not be.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                commit, self._waiting = self._waiting, None
            if commit is None:
                return
            begun = time.monotonic()
            try:
                self._write(commit)
            except BaseException as failure:
                with self._changed:
                    self._failure = failure
                return
            wait = min(self._pace * (time.monotonic() - begun), LONGEST_WAIT)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, wait)


class ClientText:
    """Clients' rows as CSV text; what is the same from round to round is put into text once."""

    def __init__(self) -> None:
        self._known: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None
        self._text = ""

    def __call__(self, entry: ClientRows) -> str:
        """Return a round's rows."""
        if entry.verdicts.count("ok") < len(entry.verdicts) or np.isnan(entry.loss).any():
            return csv_lines(listed_clients([entry]))
        found = (entry.ids, entry.rows, entry.steps)
        if self._known is None or not all(map(np.array_equal, self._known, found)):
            lists = zip(*(column.tolist() for column in found), strict=True)
            self._known = found
            self._text = "".join(f"{_ROUND},{client},{rows},{steps},%.6g,ok\n" for client, rows, steps in lists)
        return self._text.replace(_ROUND, str(entry.round)) % tuple(entry.loss.tolist())


_ROUND = "\0"


class RunLog:
    """Keeps a run's folder in step with its federation; closed, whatever was finished is on the disk."""

    def __init__(self, federation: Federation, writer: RunWriter) -> None:
        self.federation = federation
        self.writer = writer
        self.earlier_seconds = 0.0
        self._handed = 0
        self._finished: tuple[int, Mapping[str, NDArray[Any]]] | None = None
        self._behind: WriteBehind | None = None
        self._text = ClientText()
        self._opened: dict[int, list[int]] = {}
        if federation.config.privacy == "secagg":
            federation.opening = self._may_open

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _may_open(self, number: int, clients: Collection[int]) -> bool:
        """Return whether a masked round may be summed over these clients, and put it on the disk that it is.

        One that was summed before the run was stopped may be summed again over the very same: the sum is the same.
        """
        among = sorted(clients)
        if number not in self._opened:
            self._said(lambda: self.writer.note_opened(number, among))
            self._opened[number] = among
        return self._opened[number] == among

    def write(self) -> None:
        """Take a finished round; it is committed where a checkpoint is due.

        Raises
        ------
        FederationError
            One line, when an earlier commit could not be written.
        """
        federation, every = self.federation, self.federation.config.checkpoint_every
        if federation.config.differentially_private:
            self._put(federation.round, federation.state())
        elif federation.done:
            self._finished = None
            self._put(federation.round, None)
        elif every:
            # Kept even where none is due: an interrupted run commits it.
            self._finished = (federation.round, federation.state())
            if federation.round % every == 0:
                self._put(*self._finished)

    def close(self) -> None:
        """Commit what was finished and wait until it is on the disk.

        Raises
        ------
        FederationError
            One line, when it could not be written.
        """
        if self._finished is not None and self._finished[0] > self._handed:
            self._put(*self._finished)
        behind, self._behind = self._behind, None
        if behind is not None:
            self._said(behind.close)

    def _put(self, last: int, state: Mapping[str, NDArray[Any]] | None) -> None:
        federation = self.federation
        clients = [entry for entry in federation.clients if self._handed < entry.round <= last]
        rounds, commit = federation.history[self._handed : last], Commit(last, clients, state)
        # What was written earlier need not stay in memory, round after round.
        federation.clients = [entry for entry in federation.clients if entry.round > self._handed]
        self._handed = last
        self._said(lambda: self.writer.tell(rounds))
        if federation.config.differentially_private:
            self._said(lambda: self._commit(commit))
            return
        behind = self._behind = self._behind or WriteBehind(self._commit, PACE)
        self._said(lambda: behind.put(commit))

    def _commit(self, commit: Commit) -> None:
        """Write rows first, then the state that makes them count."""
        self.writer.keep("".join(map(self._text, commit.clients)))
        if commit.state is not None:
            config = self.federation.config
            state = {**commit.state, SETTINGS: settings_hash(config)}
            self.writer.checkpoint(commit.last, state, own=config.differentially_private)

    def _said(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            raise FederationError(
                f"{self.writer.folder}: cannot be written to ({error.strerror or error}); what was committed stands, "
                f"--resume --out {self.writer.folder} goes on with it"
            ) from error

    def restore(self) -> None:
        """Set the federation back to the last checkpoint; what came after it is redone.

        Raises
        ------
        SettingsError
            One line, when the folder's files cannot be gone on with.
        """
        federation, folder = self.federation, self.writer.folder
        found = self.writer.last_checkpoint()
        rounds, state = found if found is not None else (0, {})
        if rounds:
            if not np.array_equal(state.pop(SETTINGS, np.empty(0)), settings_hash(federation.config)):
                raise SettingsError(f"{folder / 'checkpoint'}: round {rounds} was written under other settings")
            try:
                federation.restore(state)
            except (KeyError, ValueError) as error:
                raise SettingsError(f"{folder / 'checkpoint'}: not this federation's ({error})") from None
        federation.history = self.writer.truncate(rounds)
        self._opened = self.writer.opened(rounds)
        if len(federation.history) < rounds or federation.round != rounds:
            raise SettingsError(
                f"{folder / 'history.jsonl'}: {len(federation.history)} rounds, the checkpoint has {rounds}"
            )
        self._handed = rounds
        for number, row in enumerate(federation.history, 1):
            told = [row.get(name) for name in ("clients", "bytes_up", "bytes_down", "seconds")]
            for name, parts in (("payload", ("up", "down")), ("modelled", ("seconds", "joules"))):
                entry = row.get(name)
                told += [entry.get(part) if isinstance(entry, dict) else None for part in parts]
            if not all(type(value) in (int, float) for value in told):
                raise SettingsError(
                    f"{folder / 'history.jsonl'}: row {number}: no round's figures; the file was edited"
                )
        federation.client_updates = sum(row["clients"] for row in federation.history)
        federation.bytes_up = sum(row["bytes_up"] for row in federation.history)
        federation.bytes_down = sum(row["bytes_down"] for row in federation.history)
        self.earlier_seconds = sum(row["seconds"] for row in federation.history)


def settings_hash(config: FederationConfig) -> NDArray[np.uint8]:
    """Return SHA-256 of the settings that are not at their defaults [32]: a younger setting changes nothing."""
    defaults = FederationConfig().to_mapping()
    changed = {key: value for key, value in config.to_mapping().items() if value != defaults[key]}
    return np.frombuffer(hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).digest(), np.uint8)
