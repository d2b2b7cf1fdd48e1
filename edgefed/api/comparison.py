"""The main job: imbalance remedies by seeds, paired, tuned alike, ranked with honest statistics."""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.api.elapsed import Elapsed
from edgefed.api.figures import figures
from edgefed.api.lockstep import SeededData, Surroundings, blocks_of, packed, processes_for, run_cells
from edgefed.api.plan import (
    DEFAULT_ARMS,
    DEFAULT_RATES,
    DEFAULT_SEEDS,
    Cell,
    Plan,
    cell_name,
    check_same_plan,
    comparison_defaults,
    plan,
    without_say,
)
from edgefed.api.progress import say, shown
from edgefed.api.references import parts_of, references
from edgefed.api.single import check_same_data, resumable
from edgefed.api.suggestion import best_toml
from edgefed.api.tables import results_table, strategies_table
from edgefed.api.tracking import check_tracking, track_comparison
from edgefed.config import FederationConfig, SettingsError
from edgefed.data.datasets import load
from edgefed.data.shards import with_categories_listed
from edgefed.engines import make_engine
from edgefed.federation.clipping import check_accountant
from edgefed.federation.components import device_of
from edgefed.federation.participation import check_edge
from edgefed.lock import LOCK, only_writer
from edgefed.runs import (
    Run,
    check_kind,
    is_finished,
    is_folder_of,
    kept_in,
    new_folder,
    plain,
    read_json,
    write_atomically,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgefed.api.progress import Show
    from edgefed.data.datasets import Dataset


@dataclass(eq=False)
class Comparison:
    """A finished comparison.

    Attributes
    ----------
    result : dict
        What ``edgefed compare --format json`` prints, and ``comparison.json`` holds.
    runs : dict
        (remedy, learning rate, seed) -> :class:`~edgefed.runs.Run`, for every federation.
    folder : Path or None
    """

    result: dict[str, Any]
    runs: dict[Cell, Run]
    folder: Path | None

    def __repr__(self) -> str:
        arms = [f"{entry['name']} {entry['balanced_accuracy']['mean']:.3f}" for entry in self.result["strategies"]]
        return (
            f"<Comparison {self.result['generalises_over']}: {self.result['finding']}; test balanced accuracy "
            f"{', '.join(arms)}; {kept_in(self.folder)}>"
        )


def compare(
    config: FederationConfig | None = None,
    *,
    strategies: Sequence[str] | str = DEFAULT_ARMS,
    seeds: int = DEFAULT_SEEDS,
    tune: Sequence[float] | None = DEFAULT_RATES,
    engine: str = "batched",
    out: str | Path | None = None,
    name: str | None = None,
    resume: bool = False,
    progress: bool | None = None,
    processes: int | None = None,
    on_rounds: Show | None = None,
    dataset: Dataset | None = None,
) -> Comparison:
    """Compare imbalance remedies over seeds, every federation in lockstep.

    Parameters
    ----------
    config : FederationConfig, optional
        Settings that all share. Neutral: the default comparison (iris, tail 10, Dirichlet 0.3, 100 rounds).
    strategies : sequence of str, comma-separated str, or "all"
        Values of ``imbalance``; ``none``, the control, is added.
    seeds : int
        ``config.seed`` and the next ones: each varies split, partition, initial weights, cohorts and batches for all
        remedies alike.
    tune : sequence of float or None
        Learning rates that each remedy, the control included, chooses from on validation rows: the highest mean
        balanced accuracy over seeds in the last round. None keeps the settings' rate.
    out : path, optional
        Folder of the comparison, made new.
    name : str, optional
        Without ``out``: make a new folder of this name under ``runs``. With neither it stays in memory.
    resume : bool
        Go on in ``out``: federations that are there are read, the missing ones run.
    progress : bool, optional
        Show each round on stderr. Neutral: in a terminal or a notebook.
    processes : int, optional
        How many processes share the blocks of federations; results are the same. Neutral: one a core, as far as there
        are blocks.
    on_rounds : callable, optional
        Called as blocks of federations advance in lockstep: with rounds of one of a block's federations, the newest
        last, and by how many it advanced; of references, without rounds.
    dataset : Dataset, optional
        The rows that the settings name, where they are loaded already. Neutral: load them.

    Raises
    ------
    SettingsError
        For settings or data that cannot be used, in one line, before anything is trained.
    """
    work = plan(config if config is not None else comparison_defaults({}), strategies, seeds, tune)
    folder = Path(out) if out is not None else None
    if resume and folder is None:
        raise SettingsError("--resume needs --out: the folder of the comparison to go on with")
    if resume and folder is not None:
        check_kind(folder, "comparison")
    elapsed = Elapsed()
    device_of(work.base)
    check_edge(work.base)
    check_accountant(work.base)
    dataset = load(work.base) if dataset is None else dataset
    base = with_categories_listed(work.base, dataset)
    work, data = replace(work, base=base), SeededData(base, dataset)
    for seed in work.seeds:
        data(seed)  # whatever is wrong with the data is said before a folder is made
    continuing = resume and folder is not None and (folder / "plan.json").is_file()
    if continuing and folder is not None:
        check_same_plan(folder, _asked(work))
        check_same_data(folder / "plan.json", data.fingerprint)
        if is_folder_of(folder, "comparison") and not (folder / LOCK).exists():
            return _read(folder, work)
    if processes is not None and processes < 1:
        raise SettingsError(f"processes={processes}: expected a whole number, at least 1")
    trainer = make_engine(engine, device=base.device)  # one that is not there is said before a folder is made
    check_tracking(base, kept=folder is not None or name is not None)
    if not continuing and (folder is not None or name is not None):
        folder = new_folder(folder, name or "")
    for line in without_say(work):
        say(progress, f"note: {line}")
    with only_writer(folder), resumable(folder, lambda home: kept_of([(home, work)])), _kept(elapsed):
        if folder is not None and not continuing:
            new_folder(folder, "")  # still empty, now that nobody else may write into it
            write_json(folder / "plan.json", _asked(work) | {"data_sha256": data.fingerprint})
            if resume:
                say(progress, f"note: nothing to resume in {folder}: begins at the first federation")
        elif folder is not None and is_folder_of(folder, "comparison"):
            return _read(folder, work)
        runs = _read_finished(folder, work) if resume and folder is not None else {}
        elapsed.go_on_in(folder)
        missing = [cell for cell in work.cells() if cell not in runs]
        if continuing:
            say(progress, f"note: {folder} goes on with {len(runs)} of {len(work.cells())} federations done")
        around = Surroundings.of(base, engine, folder)
        with _shown(progress, on_rounds, missing, work) as show:
            count = processes_for(base, engine, len(blocks_of(missing)), processes)
            runs |= run_cells(missing, around, data, trainer, count, show, elapsed.keep)
            shared = {seed: data(seed) for seed in work.seeds}
            reference = references(work.base, shared, work.rates, work.arms, processes=count, show=show)
        result = figures(work, runs, reference, shared[work.seeds[0]].dataset, folder, elapsed.seconds)
        if folder is not None:
            _write(folder, work, result, runs)
        track_comparison(base, folder, plain(result), runs)
    return Comparison(plain(result), runs, folder)


@contextmanager
def _shown(progress: bool | None, on_rounds: Show | None, missing: Sequence[Cell], work: Plan) -> Iterator[Show]:
    """Yield what is called as rounds go by, where they are shown and whoever wants to know."""
    blocks, parts = len(blocks_of(missing)), len(parts_of(work.seeds))
    what = (
        f"{len(missing)} federations in {blocks} {'block' if blocks == 1 else 'blocks'}, references in {parts} "
        f"{'part' if parts == 1 else 'parts'}"
    )
    with shown(progress, _rounds(missing, work), what, tenths=False, unit="step") as bar:

        def show(rounds: Sequence[Mapping[str, Any]], advanced: int = 1) -> None:
            bar(rounds, advanced)
            if on_rounds is not None:
                on_rounds(rounds, advanced)

        yield show


def rounds_to_come(work: Plan, folder: Path | None = None) -> int:
    """Return by how many rounds :func:`compare` will advance in all, going on with what is in ``folder``."""
    finished = {} if folder is None else _read_finished(folder, work)
    return _rounds([cell for cell in work.cells() if cell not in finished], work)


def _rounds(missing: Sequence[Cell], work: Plan) -> int:
    return (len(blocks_of(missing)) + len(parts_of(work.seeds))) * work.base.num_server_rounds


def kept_of(comparisons: Iterable[tuple[Path, Plan]]) -> str:
    """Return in words how many federations of comparisons, each in its folder, need not be run again."""
    finished = [
        is_finished(folder / "federations" / cell_name(cell)) for folder, work in comparisons for cell in work.cells()
    ]
    return f"{sum(finished)} of {len(finished)} federations done and kept"


@contextmanager
def _kept(elapsed: Elapsed) -> Iterator[None]:
    """Keep how long it took whatever happens within."""
    try:
        yield
    finally:
        elapsed.keep()


def _asked(work: Plan) -> dict[str, Any]:
    return {
        "settings": work.base.to_mapping(),
        "strategies": list(work.arms),
        "seeds": list(work.seeds),
        "rates": list(work.rates),
        "tuned": work.tuned,
    }


def _read(folder: Path, work: Plan) -> Comparison:
    return Comparison(read_json(folder / "comparison.json"), _read_finished(folder, work), folder)


def _read_finished(folder: Path, work: Plan) -> dict[Cell, Run]:
    found = {}
    for cell in work.cells():
        home = folder / "federations" / cell_name(cell)
        with contextlib.suppress(SettingsError):  # torn or unfinished: run again
            if is_folder_of(home, "run"):
                found[cell] = packed(Run.read(home))
    return found


def _write(folder: Path, work: Plan, result: dict[str, Any], runs: dict[Cell, Run]) -> None:
    write_atomically(folder / "results.csv", results_table(work, runs, result).encode())
    write_atomically(folder / "strategies.csv", strategies_table(result).encode())
    if work.base.validation_fraction:
        settled = next(iter(runs.values())).config
        write_atomically(folder / "best.toml", best_toml(work, result, settled).encode())
    # The last file written: a comparison without it is not finished.
    write_json(folder / "comparison.json", result)
