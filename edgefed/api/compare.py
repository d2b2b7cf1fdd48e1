"""The main job: imbalance remedies by seeds, paired, tuned alike, ranked with honest statistics."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.statistics import SAME, UNDECIDED, ranking, t_interval
from edgefed.api.assembly import in_process
from edgefed.api.progress import shown
from edgefed.api.references import references
from edgefed.api.run import resumable
from edgefed.config import FederationConfig, SettingsError, catalogue, unknown
from edgefed.data.datasets import load
from edgefed.data.shards import FederatedData, federate
from edgefed.engines import make_engine
from edgefed.federation.clients import device_of
from edgefed.federation.record import client_rows, environment, finished_run, opening_manifest
from edgefed.federation.rounds import query, run_rounds
from edgefed.runs import Run, RunWriter, is_folder_of, new_folder, plain, read_json, write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgefed.engines.grid import Engine
    from edgefed.federation.rounds import Federation

DEFAULT_ARMS = (
    "none",
    "post-hoc",
    "balanced-softmax",
    "class-weights-balanced-global",
    "class-weights-balanced-local",
    "class-weights-inverse-sqrt-global",
    "random-oversampling",
)
DEFAULT_RATES = (0.1, 0.3, 1.0, 3.0)
DEFAULT_SEEDS = 30
CONTROL = "none"
RANKED = "balanced_accuracy"
MEASURES = ("balanced_accuracy", "accuracy", "macro_f1", "worst_recall", "g_mean", "log_loss")
#: Loss on validation rows that falls by more than this over the last tenth of the rounds is still falling.
CONVERGED_WITHIN = 0.01


def comparison_defaults(given: dict[str, Any]) -> FederationConfig:
    """Return settings for a comparison: 100 rounds and, on the bundled datasets, a long tail of 10, unless given.

    Balanced data with label skew alone show no difference between remedies. A person's own CSV is left as it is.
    """
    defaults: dict[str, Any] = {"num-server-rounds": 100}
    if given.get("dataset", "iris") != "csv":
        defaults["long-tail"] = 10.0
    return FederationConfig.from_mapping(defaults | given)


#: Federations that are advanced in lockstep: enough clients for large batches, few enough that their weights and
#: rows stay in cache and that Ctrl-C loses little.
BLOCK = 140

Cell = tuple[str, float, int]
"""(remedy, learning rate, seed)"""


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


@dataclass(frozen=True)
class Plan:
    """What a comparison runs: every remedy at every rate under every seed.

    ``tuned`` False leaves every remedy at the settings' own rate.
    """

    base: FederationConfig
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    tuned: bool

    def cells(self) -> list[Cell]:
        """Return (remedy, rate, seed) of each federation."""
        return [(arm, rate, seed) for seed in self.seeds for arm in self.arms for rate in self.rates]

    def config(self, arm: str, rate: float, seed: int) -> FederationConfig:
        """Return one federation's settings."""
        return self.base.replace(imbalance=arm, learning_rate=rate, seed=seed)


def plan(
    base: FederationConfig,
    strategies: Sequence[str] | str = DEFAULT_ARMS,
    seeds: int = DEFAULT_SEEDS,
    tune: Sequence[float] | None = DEFAULT_RATES,
) -> Plan:
    """Check what is asked for and return it as a plan; the control is always part of it.

    Raises
    ------
    SettingsError
        For an unknown remedy, no seeds, or a rate out of range.
    """
    known = catalogue("imbalance")
    if strategies == "all":
        strategies = [name for name in known if name != "class-weights"]  # the short name of another
    if isinstance(strategies, str):
        strategies = [name.strip() for name in strategies.split(",") if name.strip()]
    for name in strategies:
        if name not in known:
            raise SettingsError(f"--strategies: {unknown('strategy', name, known)}")
    arms = tuple(dict.fromkeys([CONTROL, *strategies]))
    if seeds < 2:
        raise SettingsError(f"--seeds {seeds}: expected at least 2, since a single seed shows no spread")
    if tune is not None and not tune:
        raise SettingsError("--tune: expected learning rates, as learning-rate=0.1,0.3,1,3")
    rates = tuple(dict.fromkeys(float(rate) for rate in tune)) if tune else (base.learning_rate,)
    made = Plan(base, arms, tuple(range(base.seed, base.seed + seeds)), rates, tuned=tune is not None)
    if made.tuned and not base.validation_fraction:
        raise SettingsError("validation-fraction=0 leaves nothing to tune on: --no-tune, or a larger fraction")
    for arm in arms:
        for rate in rates:
            made.config(arm, rate, base.seed)
    return made


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

    Raises
    ------
    SettingsError
        For settings or data that cannot be used, in one line, before anything is trained.
    """
    base = config if config is not None else comparison_defaults({})
    trainer = make_engine(engine)
    work = plan(base, strategies, seeds, tune)
    folder = Path(out) if out is not None else None
    if resume and folder is None:
        raise SettingsError("--resume needs --out: the folder of the comparison to go on with")
    begun = time.perf_counter()
    device_of(base)
    data = _Data(base)
    for seed in work.seeds:
        data(seed)  # whatever is wrong with the data is said before a folder is made
    if resume and folder is not None and (folder / "plan.json").is_file():
        _check_same_plan(folder, work)
        if is_folder_of(folder, "comparison"):
            return Comparison(read_json(folder / "comparison.json"), _read_finished(folder, work), folder)
    elif folder is not None or name is not None:
        folder = new_folder(folder, name or "")
        write_json(folder / "plan.json", _asked(work))
    runs = _read_finished(folder, work) if resume and folder is not None else {}
    with resumable(folder):
        runs |= _run([cell for cell in work.cells() if cell not in runs], work, data, trainer, engine, folder, progress)
    reference = references(work.base, {seed: data(seed) for seed in work.seeds}, work.rates)
    result = _result(work, runs, reference, folder, time.perf_counter() - begun)
    if folder is not None:
        _write(folder, work, result, runs)
    return Comparison(plain(result), runs, folder)


@dataclass
class _Data:
    """Each seed's data, split and shared out once: the same for every remedy and rate."""

    base: FederationConfig
    _dataset: Any = None
    _known: dict[int, tuple[FederationConfig, FederatedData]] = field(default_factory=dict)

    def __call__(self, seed: int) -> FederatedData:
        return self.settled(seed)[1]

    def settled(self, seed: int) -> tuple[FederationConfig, FederatedData]:
        """Return the settings as they turned out under a seed, and the data."""
        if self._dataset is None:
            self._dataset = load(self.base)
        if seed not in self._known:
            self._known[seed] = federate(self.base.replace(seed=seed), self._dataset)
        return self._known[seed]


def _run(
    cells: Sequence[Cell],
    work: Plan,
    data: _Data,
    engine: Engine,
    engine_name: str,
    folder: Path | None,
    progress: bool | None,
) -> dict[Cell, Run]:
    """Run federations in lockstep, block by block; a finished block is written at once."""
    surroundings = environment()
    blocks = [cells[start : start + BLOCK] for start in range(0, len(cells), BLOCK)]
    runs: dict[Cell, Run] = {}
    with shown(progress, len(blocks) * work.base.num_server_rounds, f"{len(cells)} federations") as show:
        for block in blocks:
            runs |= _run_block(block, data, engine, engine_name, surroundings, folder, show)
    return runs


def _run_block(
    cells: Sequence[Cell],
    data: _Data,
    engine: Engine,
    engine_name: str,
    surroundings: dict[str, Any],
    folder: Path | None,
    show: Callable[[Federation], None],
) -> dict[Cell, Run]:
    federations, openings = [], []
    for arm, rate, seed in cells:
        settled, shared = data.settled(seed)
        config = settled.replace(imbalance=arm, learning_rate=rate)
        federations.append(in_process(config, shared, engine))
        openings.append(opening_manifest(config, shared, engine_name, surroundings))
    federations[0].on_round = show
    begun = time.perf_counter()
    query(federations, engine.exchange, [range(federation.config.num_clients) for federation in federations])
    run_rounds(federations, engine.exchange)
    seconds = (time.perf_counter() - begun) / len(federations)
    runs = {}
    for cell, federation, opening in zip(cells, federations, openings, strict=True):
        home = None if folder is None else folder / "federations" / _name(cell)
        run = finished_run(federation, opening, _name(cell), seconds, home)
        if home is not None:
            home.mkdir(parents=True, exist_ok=True)
            writer = RunWriter(home, durable=False)
            writer.begin(federation.config, opening)
            writer.truncate(0)
            writer.rows(federation.history, client_rows(federation))
            writer.end(run.weights, run.manifest)
        runs[cell] = run
    return runs


def _name(cell: Cell) -> str:
    arm, rate, seed = cell
    return f"{arm}/rate-{rate:g}/seed-{seed}"


# ---------------------------------------------------------------------------------------------- figures
def _values(runs: Sequence[Run], measure: str, rows: str = "test") -> list[float]:
    return [_number(run.rounds[-1][rows][measure]) for run in runs]


def _number(value: float | None) -> float:
    """Return a figure; null stands in a folder for what JSON cannot hold: the log-loss of a model that diverged."""
    return math.inf if value is None else float(value)


def _result(
    work: Plan,
    runs: dict[Cell, Run],
    reference: dict[str, Any],
    folder: Path | None,
    seconds: float,
) -> dict[str, Any]:
    picks = {arm: _pick(work, runs, arm) for arm in work.arms}
    chosen = {arm: [runs[arm, picks[arm], seed] for seed in work.seeds] for arm in work.arms}
    strategies = []
    for row in ranking({arm: _values(chosen[arm], RANKED) for arm in work.arms}, CONTROL):
        arm = row["name"]
        entry: dict[str, Any] = {"name": arm, "tier": row["tier"], "difference": row["difference"]}
        for measure in MEASURES:
            values = _values(chosen[arm], measure)
            interval = t_interval(values)
            entry[measure] = {"mean": interval.mean, "low": interval.low, "high": interval.high, "values": values}
        entry |= {
            "learning_rate": picks[arm],
            "acts_on_rows": _share_acted_on(chosen[arm]),
            "needs_global_counts": bool(chosen[arm][0].manifest["class_counts_asked"]),
            "not_converged": sum(_still_falling(run) for run in chosen[arm]),
        }
        strategies.append(entry)
    return {
        "comparison": folder.name if folder is not None else work.base.dataset,
        "federations": len(runs),
        "client_updates": sum(run.summary["client_updates"] for run in runs.values()),
        "seconds": seconds,
        "seeds": list(work.seeds),
        "ranked_by": f"test {RANKED}, last round",
        "finding": _finding(strategies),
        "generalises_over": (
            f"on {_data_name(work.base)}, over random splits, partitions and initialisations ({len(work.seeds)} seeds)"
        ),
        "strategies": strategies,
        "references": {name: _reference(values) for name, values in reference.items()},
        "tuned": _tuned(work, runs, picks),
    }


def _data_name(config: FederationConfig) -> str:
    return Path(config.data_path).name if config.dataset == "csv" else config.dataset


def _pick(work: Plan, runs: dict[Cell, Run], arm: str) -> float:
    """Return the rate with the highest mean validation score; ties go to the lower validation loss."""
    if len(work.rates) == 1:
        return work.rates[0]

    def merit(rate: float) -> tuple[float, float]:
        sample = [runs[arm, rate, seed] for seed in work.seeds]
        loss = np.mean(_values(sample, "log_loss", "validation"))
        return float(np.mean(_values(sample, RANKED, "validation"))), -float(loss)

    return max(work.rates, key=merit)


def _tuned(work: Plan, runs: dict[Cell, Run], picks: dict[str, float]) -> dict[str, Any]:
    if not work.tuned:
        return {}
    edges = {min(work.rates), max(work.rates)} if len(work.rates) > 1 else set()
    tuned: dict[str, Any] = {}
    for arm in work.arms:
        scores = {
            f"{rate:g}": float(np.mean(_values([runs[arm, rate, seed] for seed in work.seeds], RANKED, "validation")))
            for rate in work.rates
        }
        tuned[arm] = {
            "learning-rate": picks[arm],
            "validation_balanced_accuracy": scores,
            "on_the_edge": picks[arm] in edges,
        }
    return tuned


def _share_acted_on(runs: Sequence[Run]) -> float:
    """Return the share of training rows that lie on clients where the remedy could act."""
    acted = total = 0
    for run in runs:
        shards = run.manifest["shards"]
        rows = [sum(counts) for counts in shards["class_counts"]]
        acted += sum(n for n, reason in zip(rows, shards["idle"], strict=True) if not reason)
        total += sum(rows)
    return acted / total


def _still_falling(run: Run) -> bool:
    """Return whether the validation loss fell by more than 1 % over the last tenth of the rounds."""
    losses = [_number(row["validation"]["log_loss"]) for row in run.rounds if "validation" in row]
    tenth = max(1, len(losses) // 10)
    return len(losses) > tenth and losses[-1] < (1 - CONVERGED_WITHIN) * losses[-1 - tenth]


def _reference(values: list[float]) -> dict[str, Any]:
    interval = t_interval(values)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "values": values}


def _finding(strategies: Sequence[dict[str, Any]]) -> str:
    """Return the answer in one sentence that a careful statistician would sign."""
    tiers: dict[str, list[str]] = {}
    for entry in strategies:
        tiers.setdefault(entry["tier"], []).append(entry["name"])
    tiers.pop("control", None)
    if not tiers:
        return "nothing to compare: name remedies beside none"
    if UNDECIDED in tiers:
        return "too few seeds to tell any remedy from none"
    if list(tiers) == [SAME]:
        return "no remedy can be told from none with so many seeds"
    return "; ".join(f"{tier}: {', '.join(names)}" for tier, names in tiers.items())


# ---------------------------------------------------------------------------------------------- files
def _check_same_plan(folder: Path, work: Plan) -> None:
    kept, asked = read_json(folder / "plan.json"), _asked(work)
    for key, value in asked["settings"].items():
        if kept["settings"].get(key) != value:
            raise SettingsError(
                f"--resume: {key}={value} differs from {folder}, which has {key}={kept['settings'].get(key)}"
            )
    for key in ("strategies", "seeds", "rates", "tuned"):
        if kept[key] != asked[key]:
            raise SettingsError(f"--resume: {key} {asked[key]} differ from {folder}, which has {kept[key]}")


def _asked(work: Plan) -> dict[str, Any]:
    return {
        "settings": work.base.to_mapping(),
        "strategies": list(work.arms),
        "seeds": list(work.seeds),
        "rates": list(work.rates),
        "tuned": work.tuned,
    }


def _read_finished(folder: Path, work: Plan) -> dict[Cell, Run]:
    found = {}
    for cell in work.cells():
        home = folder / "federations" / _name(cell)
        if is_folder_of(home, "run") and "summary" in read_json(home / "manifest.json"):
            found[cell] = Run.read(home)
    return found


def _write(folder: Path, work: Plan, result: dict[str, Any], runs: dict[Cell, Run]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["strategy", "learning_rate", "seed", "chosen", *MEASURES])
    picks = {entry["name"]: entry["learning_rate"] for entry in result["strategies"]}
    for (arm, rate, seed), run in runs.items():
        figures = [_number(run.rounds[-1]["test"][measure]) for measure in MEASURES]
        writer.writerow([arm, f"{rate:g}", seed, int(rate == picks[arm]), *(f"{value:.6f}" for value in figures)])
    write_atomically(folder / "results.csv", table.getvalue().encode())
    best = result["strategies"][0]
    config = work.config(best["name"], best["learning_rate"], work.seeds[0])
    write_atomically(folder / "best.toml", config.to_toml().encode())
    # The last file written: a comparison without it is not finished.
    write_atomically(folder / "comparison.json", (json.dumps(plain(result), indent=2) + "\n").encode())
