"""Train one federation."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.api.assembly import in_process
from edgefed.api.progress import say, shown
from edgefed.api.tracking import check_tracking, tracked
from edgefed.config import FederationConfig, SettingsError, checked_config
from edgefed.data.datasets import fingerprint
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.checkpoint import RunLog
from edgefed.federation.explanation import collect, keep
from edgefed.federation.query import query
from edgefed.federation.record import environment, finished_run, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.learning.training import Execution
from edgefed.lock import LOCK, only_writer
from edgefed.runs import (
    Interrupted,
    Run,
    RunWriter,
    check_kind,
    check_same_settings,
    clear_start,
    is_begun,
    is_finished,
    new_folder,
    read_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgefed.data.datasets import Dataset
    from edgefed.federation.federation import Exchange, Federation

    OnRound = Callable[[Federation], None]


MANY = 100_000
"""Clients from which on writing a finished run takes seconds, which is said."""


def run(
    config: FederationConfig | None = None,
    *,
    engine: str = "batched",
    out: str | Path | None = None,
    name: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
    on_round: OnRound | None = None,
    dataset: Dataset | None = None,
) -> Run:
    """Train one federation on simulated clients.

    Parameters
    ----------
    config : FederationConfig, optional
        Neutral: the defaults (iris, ten clients, Dirichlet 0.3).
    engine : str
        ``batched``, or ``sequential``: Flower's ClientApp, message by message.
    out : path, optional
        The run's folder, made new.
    name : str, optional
        Without ``out``: make a new folder of this name under ``runs``. With neither the run stays in memory.
    resume : bool
        Go on with the run in ``out`` from its last checkpoint; a finished one is returned as it is.
    progress : bool, optional
        Show each round on stderr. Neutral: in a terminal or a notebook.
    on_round : callable, optional
        Called after each round with the federation.
    dataset : Dataset, optional
        The rows that the settings name, where they are loaded already. Neutral: load them.

    Returns
    -------
    Run

    Raises
    ------
    SettingsError
        For settings or data that cannot be used, in one line.

    Examples
    --------
    >>> import edgefed
    >>> run = edgefed.run(edgefed.FederationConfig(partition="iid", num_server_rounds=2))
    >>> len(run.history["test.balanced_accuracy"])
    2
    """
    config, data = federate(checked_config(config if config is not None else FederationConfig()), dataset)
    folder = Path(out) if out is not None else None
    continuing = resume and folder is not None and is_begun(folder)
    if resume and folder is None:
        raise SettingsError("--resume needs --out: the folder of the run to go on with")
    if resume and folder is not None:
        check_kind(folder, "run")
    if continuing and folder is not None:
        check_same_settings(folder, config)
        check_same_data(folder / "manifest.json", fingerprint(data.dataset))
        if is_finished(folder) and not (folder / LOCK).exists():
            return Run.read(folder)
    # An engine, a device or a package may not be there: said before a folder is made.
    check_tracking(config, kept=folder is not None or name is not None)
    execution = _kept_execution(folder) if continuing and folder is not None else Execution.here()
    trainer = make_engine(engine, execution, device=config.device)
    federation = in_process(config, data, trainer)
    if not resume and (folder is not None or name is not None):
        folder = new_folder(folder, name or "")
    opening = opening_manifest(config, data, engine, environment(" ".join(sys.argv[1:])), execution)
    with only_writer(folder):
        # Looked at once more: another process may have been at it until now.
        if folder is not None and not continuing:
            if resume:
                clear_start(folder, config)
            new_folder(folder, "")
            if resume:
                say(progress, f"note: nothing to resume in {folder}: begins at round 1")
        elif folder is not None and is_finished(folder):
            return Run.read(folder)
        return _trained(federation, trainer.exchange, opening, folder, continuing, progress, on_round)


def _trained(
    federation: Federation,
    exchange: Exchange,
    opening: dict[str, Any],
    folder: Path | None,
    continuing: bool,
    progress: bool | None,
    on_round: OnRound | None,
) -> Run:
    """Train a federation to its end, from the last checkpoint of its folder where there is one to go on with."""
    config = federation.config
    query([federation], exchange, [range(config.num_clients)])
    log = RunLog(federation, RunWriter(folder)) if folder is not None else None
    if log is not None:
        if continuing:
            log.restore()
            say(progress, f"note: {folder} goes on after round {federation.round} of {config.num_server_rounds}")
        else:
            log.writer.begin(config, opening)
    begun = time.perf_counter()
    left = config.num_server_rounds - federation.round
    with (
        shown(progress, left, config.data_name) as show,
        resumable(folder),
        tracked(config, folder, opening, federation.history) as track,
    ):

        def after_round(federation: Federation) -> None:
            if log is not None:
                log.write()
            track.round(federation.history[-1])
            show(federation.history)
            if on_round is not None:
                on_round(federation)

        federation.on_round = after_round
        with log or nullcontext():
            run_rounds([federation], exchange)
        if folder is not None and config.num_clients >= MANY:
            say(progress, f"writing what was done on {config.num_clients:,} clients to {folder}")
        seconds = time.perf_counter() - begun + (log.earlier_seconds if log is not None else 0.0)
        title = folder.name if folder is not None else config.data_name
        if log is not None and config.explain == "yes":  # before the run counts as finished: nothing would ask again
            keep(log.writer.folder, collect(federation, exchange))
        done = finished_run(federation, opening, title, seconds, folder)
        if log is not None:
            log.writer.end(done.weights, done.manifest)
        track.end(done.summary)
    return done


def _kept_execution(folder: Path) -> Execution:
    """Return what the folder's run shares its training out by, so that it goes on to the same bits."""
    kept = read_json(folder / "manifest.json").get("execution")
    try:
        if isinstance(kept, dict) and all(type(value) is int and value > 0 for value in kept.values()):
            return Execution(**kept)
    except TypeError:  # other names
        pass
    raise SettingsError(f"{folder / 'manifest.json'}: no 'execution' that could be gone on with")


@contextmanager
def resumable(folder: Path | None, kept: Callable[[Path], str] = lambda folder: "") -> Iterator[None]:
    """Turn Ctrl-C into :class:`~edgefed.runs.Interrupted`, which says how to go on, where there is a folder.

    ``kept`` returns how much of many is there.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if folder is None:
            raise
        raise Interrupted(folder, kept(folder)) from stop


def check_same_data(kept: Path, found: str) -> None:
    """Refuse to go on with rows that are not those that the folder began with.

    Raises
    ------
    SettingsError
    """
    if read_json(kept).get("data_sha256", found) != found:
        raise SettingsError(f"--resume: the data are not those that {kept.parent} began with")
