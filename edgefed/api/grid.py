"""How robust an answer is: the same comparison under every combination of some settings, a block each."""

from __future__ import annotations

import csv
import gc
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.api.comparison import compare, kept_of, rounds_to_come
from edgefed.api.grid_figures import grid_figures
from edgefed.api.grid_finding import BlockResult
from edgefed.api.grid_plan import (
    Block,
    Grid,
    asked_for,
    checked_grid,
    in_kept_order,
    in_text,
    of_block,
    planned,
)
from edgefed.api.plan import (
    DEFAULT_ARMS,
    DEFAULT_RATES,
    DEFAULT_SEEDS,
    check_same_plan,
    comparison_defaults,
    without_say,
)
from edgefed.api.progress import say, shown
from edgefed.api.single import check_same_data, resumable
from edgefed.categories import parsed_categories
from edgefed.config import FederationConfig, SettingsError, checked_config
from edgefed.data.datasets import fingerprint, load, same_rows
from edgefed.data.shards import federate, with_categories_listed
from edgefed.engines import make_engine
from edgefed.federation.clipping import check_accountant
from edgefed.federation.components import device_of
from edgefed.federation.participation import check_edge
from edgefed.lock import only_writer
from edgefed.runs import check_kind, is_folder_of, kept_in, new_folder, plain, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.data.datasets import Dataset
    from edgefed.schema import Scalar

#: Of gains.csv, after the block's settings, the remedy and its gain.
GAIN_COLUMNS = ("low", "high", "p", "p_holm", "p_holm_grid", "tier", "tier_grid", "learning_rate", "none")


@dataclass(eq=False)
class GridComparison:
    """A finished grid.

    Attributes
    ----------
    result : dict
        What ``edgefed compare --grid … --format json`` prints, and ``grid.json`` holds.
    comparisons : dict of str to dict
        Block name -> the result of its comparison, as in its ``comparison.json``.
    folder : Path or None
    """

    result: dict[str, Any]
    comparisons: dict[str, dict[str, Any]]
    folder: Path | None

    def __repr__(self) -> str:
        said = f"{self.result['generalises_over']}: {self.result['finding']}"
        return f"<GridComparison {said}; {kept_in(self.folder)}>"


def compare_grid(
    config: FederationConfig | None = None,
    grid: Mapping[str, Sequence[Scalar]] | None = None,
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
    dataset: Dataset | None = None,
) -> GridComparison:
    """Compare imbalance remedies under every combination of some settings, to see where each wins.

    Each combination is a block: a full comparison, with the same remedies, seeds and tuning, in its own folder.

    Parameters
    ----------
    config : FederationConfig, optional
        Settings that all blocks share but for the grid's. Neutral: the default comparison.
    grid : mapping of kebab-case key to values
        As ``{"alpha": [0.1, 0.3, 1], "long-tail": [1, 10]}``: six blocks. At least two values a key.
    strategies, seeds, tune, engine
        Of every block, as in :func:`edgefed.compare`.
    out : path, optional
        Folder of the grid, made new.
    name : str, optional
        Without ``out``: make a new folder of this name under ``runs``. With neither it stays in memory.
    resume : bool
        Go on in ``out``: what is there is read, the rest runs. A key may have got further values; all else must be
        as it was.
    progress : bool, optional
        Show each round of the whole grid on stderr. Neutral: in a terminal or a notebook.
    processes : int, optional
        As in :func:`edgefed.compare`.
    dataset : Dataset, optional
        The rows that ``config`` names, where they are loaded already. Neutral: load them.

    Returns
    -------
    GridComparison

    Raises
    ------
    SettingsError
        For a grid, settings or data that cannot be used in any of the blocks, in one line, before anything is
        trained or written.
    """
    base = checked_config(config if config is not None else comparison_defaults({}))
    wanted = checked_grid(grid or {}, tuned=tune is not None)
    if "data-path" not in wanted and not all(parsed_categories(base.categories).values()):
        dataset = load(base) if dataset is None else dataset
        base = with_categories_listed(base, dataset)
    home = Path(out) if out is not None else None
    if resume and home is None:
        raise SettingsError("--resume needs --out: the folder of the grid to go on with")
    if resume and home is not None:
        check_kind(home, "comparison")
    continuing = resume and home is not None and (home / "plan.json").is_file()
    if continuing and home is not None:
        wanted = in_kept_order(home, wanted)
    blocks = planned(base, wanted, strategies, seeds, tune)
    asked = asked_for(blocks[0].work, wanted)
    if continuing and home is not None:
        check_same_plan(home, asked)
    rows = _rows_of(blocks, home, base, dataset)
    make_engine(engine, device=base.device)  # one that is not there is said before a folder is made
    if continuing and home is not None and _has_all(home, asked):
        return GridComparison(read_json(home / "grid.json"), _finished(blocks, home), home)
    if not continuing and (home is not None or name is not None):
        home = new_folder(home, name or "")

    for line in without_say(blocks[0].work):
        say(progress, f"note: {line}")

    def kept(home: Path) -> str:
        return kept_of([(home / "blocks" / block.name, block.work) for block in blocks])

    with only_writer(home), resumable(home, kept):
        if home is not None:
            if not continuing:
                new_folder(home, "")  # still empty, now that nobody else may write into it
                if resume:
                    say(progress, f"note: nothing to resume in {home}: begins at the first block")
            (home / "grid.json").unlink(missing_ok=True)  # of a smaller grid: unfinished from here on
            write_json(home / "plan.json", asked)
        found = _run(blocks, rows, strategies, seeds, tune, engine, home, progress, processes)
        made = [
            BlockResult(block.name, block.settings, f"blocks/{block.name}" if home else None, found[block.name])
            for block in blocks
        ]
        title = home.name if home is not None else "grid"
        result = plain(grid_figures(title, wanted, made, blocks[0].work.arms))
        if home is not None:
            _write(home, wanted, result)
    return GridComparison(result, found, home)


def _has_all(home: Path, asked: Mapping[str, Any]) -> bool:
    """Return whether a folder holds a finished grid of all the values that are asked for."""
    return is_folder_of(home, "grid") and read_json(home / "plan.json")["grid"] == asked["grid"]


def _rows_of(
    blocks: Sequence[Block], home: Path | None, base: FederationConfig, dataset: Dataset | None
) -> dict[str, Dataset]:
    """Return the rows of each block, those that several share loaded once.

    They are shared out under every seed, as the block's comparison will: what cannot be is said now.
    """
    loaded = [] if dataset is None else [(base, dataset)]
    found: dict[str, Dataset] = {}
    for block in blocks:
        try:
            device_of(block.work.base)
            check_edge(block.work.base)
            check_accountant(block.work.base)
            config = block.work.base
            dataset = next((rows for known, rows in loaded if same_rows(known, config)), None)
            if dataset is None:
                dataset = load(config)
                loaded.append((config, dataset))
            for seed in block.work.seeds:
                federate(block.work.base.replace(seed=seed), dataset)
        except SettingsError as error:
            raise of_block(block.settings, error) from None
        folder = block.folder(home)
        if folder is not None and (folder / "plan.json").is_file():
            check_same_data(folder / "plan.json", fingerprint(dataset))
        found[block.name] = dataset
    return found


def _finished(blocks: Sequence[Block], home: Path | None) -> dict[str, dict[str, Any]]:
    found = {}
    for block in blocks:
        folder = block.folder(home)
        if folder is not None and is_folder_of(folder, "comparison"):
            found[block.name] = read_json(folder / "comparison.json")
    return found


def _run(
    blocks: Sequence[Block],
    rows: Mapping[str, Dataset],
    strategies: Sequence[str] | str,
    seeds: int,
    tune: Sequence[float] | None,
    engine: str,
    home: Path | None,
    progress: bool | None,
    processes: int | None,
) -> dict[str, dict[str, Any]]:
    """Run the blocks that are missing, one after the other; return every block's result."""
    found = _finished(blocks, home)
    missing = [block for block in blocks if block.name not in found]
    rounds = sum(rounds_to_come(block.work, block.folder(home)) for block in missing)
    federations = sum(len(block.work.cells()) for block in missing)
    what = f"grid of {len(blocks)}: {len(missing)} comparisons, {federations} federations"
    with shown(progress, rounds, f"{what} and their references", tenths=False, unit="step") as show:
        for block in missing:
            done = compare(
                block.work.base,
                strategies=strategies,
                seeds=seeds,
                tune=tune,
                engine=engine,
                out=block.folder(home),
                resume=home is not None,
                progress=False,
                processes=processes,
                on_rounds=show,
                dataset=rows[block.name],
            )
            found[block.name] = done.result
            del done  # its runs: the next block needs the memory
            gc.collect()
    return found


def _write(home: Path, grid: Grid, result: dict[str, Any]) -> None:
    settings = {block["block"]: block["settings"] for block in result["blocks"]}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*grid, "strategy", "gain", *GAIN_COLUMNS])
    for row in result["gains"]:
        own = [in_text(settings[row["block"]][key]) for key in grid]
        figures = (row[column] for column in ("mean", *GAIN_COLUMNS))
        writer.writerow(
            [*own, row["strategy"], *(f"{item:.6g}" if isinstance(item, float) else item for item in figures)]
        )
    write_atomically(home / "gains.csv", table.getvalue().encode())
    # The last file written: a grid without it is not finished.
    write_json(home / "grid.json", result)
