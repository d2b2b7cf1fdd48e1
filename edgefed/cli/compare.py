"""``edgefed compare``: remedies by seeds, and over a grid of settings."""

from __future__ import annotations

import itertools
import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefed.cli.options import (
    Client,
    EngineName,
    Format,
    Label,
    Out,
    OutputFormat,
    Resume,
    Settings,
    Source,
    rows_of,
    settings_of,
)
from edgefed.config import SettingsError, read_settings
from edgefed.effects import without_effect
from edgefed.terminal import note, print_json, show_comparison, show_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.api.grid import GridComparison
    from edgefed.api.plan import Plan
    from edgefed.config import FederationConfig


def compare(
    source: Source = None,
    settings: Settings = None,
    label: Label = "",
    client: Client = "",
    strategies: Annotated[
        str, typer.Option(help="Remedies, comma-separated, or all (default: the seven of the default comparison).")
    ] = "",
    seeds: Annotated[int | None, typer.Option(help="How many seeds.", show_default=False)] = None,
    tune: Annotated[
        str, typer.Option(metavar="learning-rate=0.1,0.3", help="Rates that each remedy is tuned over.")
    ] = "",
    no_tune: Annotated[bool, typer.Option("--no-tune", help="Keep the settings' learning rate.")] = False,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2", help="Compare under each value of a setting; repeatable: under every combination."
        ),
    ] = None,
    engine: EngineName = "batched",
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that share the work (default: one a core).", show_default=False),
    ] = None,
    out: Out = None,
    resume: Resume = False,
    output: OutputFormat = Format.text,
) -> None:
    """Compare imbalance remedies over seeds, paired: which helps, by how much, and is it real.

    With nothing said: iris with a long tail of 10 that rotates with the seed, 10 clients, Dirichlet 0.3, 100 rounds,
    rates 0.1, 0.3, 1 and 3, 30 seeds. Your own CSV is compared as it is, without a tail; -s long-tail=10 thins it.
    Where does the answer hold? --grid alpha=0.1,0.3,1 --grid long-tail=1,3,10 makes nine such comparisons.
    """
    from edgefed import api
    from edgefed.api.grid_plan import checked_grid, planned
    from edgefed.api.plan import DEFAULT_ARMS, DEFAULT_SEEDS, comparison_defaults, kept_plan, plan
    from edgefed.data.shards import federate

    given = settings_of(source, settings, label, client)
    for key, instead in (("learning-rate", "" if no_tune else "--tune or --no-tune"), ("imbalance", "--strategies")):
        if instead and key in read_settings(None, settings or ()):
            raise SettingsError(f"-s {key} says nothing in a comparison: {instead} does")
    work, wanted = None, _grid(grid or (), settings or (), out if resume else None)
    if resume and out is not None and source is None:
        work = kept_plan(out)  # the folder says what it was
    kept = work.base.to_mapping() if work else {}
    first = given | {key: values[0] for key, values in wanted.items()}
    config = comparison_defaults(kept | first)
    arms = strategies or (work.arms if work else DEFAULT_ARMS)
    count = seeds if seeds is not None else len(work.seeds) if work else DEFAULT_SEEDS
    rates = _rates(tune, no_tune) if work is None or tune or no_tune else work.rates if work.tuned else None
    asked = plan(config, arms, count, rates)
    if wanted:
        planned(config, checked_grid(wanted, tuned=rates is not None), arms, count, rates)
    begins = not resume and "torch" not in sys.modules  # it is still to be loaded, which takes seconds
    if begins:
        _check_first(engine, out)
    dataset = rows_of(config, given)
    if begins:
        federate(config, dataset)  # whatever is wrong with the rows
        note(what_is_trained(asked, wanted))
    _say_too_few(asked, resume)
    if wanted:
        over = api.compare_grid(
            config,
            wanted,
            strategies=arms,
            seeds=count,
            tune=rates,
            engine=engine,
            out=out,
            name="compare-grid",
            resume=resume,
            progress=True,
            processes=processes,
            dataset=dataset,
        )
        _show_grid(over, output)
        for idle in _idle_everywhere(config, wanted, plan(config, arms, count, None).arms):
            note(f"note: {' '.join(idle)}")
        return
    result = api.compare(
        config,
        strategies=arms,
        seeds=count,
        tune=rates,
        engine=engine,
        out=out,
        name=f"compare-{Path(config.data_name).stem or config.dataset}",
        resume=resume,
        progress=True,
        processes=processes,
        dataset=dataset,
    )
    from edgefed.notes import idle_settings, notes_of_comparison
    from edgefed.report import plot_comparison, write_report

    folder = result.folder
    assert folder is not None
    if output is Format.json:
        print_json(result.result)
    else:
        show_comparison(result.result)
    for line in [*notes_of_comparison(result.result), *map(" ".join, idle_settings(result.result))]:
        note(f"note: {line}")
    sys.stdout.flush()  # the result is out before a picture can fail
    pictures = plot_comparison(folder)
    note(f"pictures: {pictures[0].parent}" if pictures else "")
    note(f"page: {write_report(folder)}")
    best = folder / "best.toml"  # not there without validation rows to choose by
    note(f"settings of the best on validation rows, for edgefed run: {best}" if best.is_file() else "")


def _check_first(engine: str, out: Path | None) -> None:
    """Refuse what a person most likely gets wrong before anything is said: a mistake is one line."""
    from edgefed.config import unknown
    from edgefed.engines import ENGINES
    from edgefed.runs import check_new

    if engine not in ENGINES:
        raise SettingsError(unknown("engine", engine, ENGINES))
    if out is not None:
        with suppress(OSError):  # of where it is: the one that makes it tells
            check_new(out)


def what_is_trained(work: Plan, grid: Mapping[str, Sequence[Any]]) -> str:
    """Return in a line what will be trained."""
    from edgefed.api.plan import BLOCK

    federations, comparisons = len(work.cells()), math.prod(map(len, grid.values()))
    blocks = comparisons * -(-federations // BLOCK)
    by = [f"{len(work.arms)} remedies"]
    by += [f"{len(work.rates)} learning rates"] if work.tuned and len(work.rates) > 1 else []
    by += [f"{len(work.seeds)} seeds", *([f"{comparisons} combinations of {' and '.join(grid)}"] if grid else [])]
    natural = work.base.partition == "natural"
    clients = "its own clients" if natural else f"{work.base.num_clients} clients"
    return (
        f"{work.base.data_name}: {' x '.join(by)} = {federations * comparisons} federations ({clients}, "
        f"{work.base.num_server_rounds} rounds each) in {blocks} block{'' if blocks == 1 else 's'}, then pooled and "
        "local training to compare with"
    )


def _say_too_few(work: Plan, resume: bool) -> None:
    """Say before anything is trained that so few seeds cannot tell a remedy from none."""
    from edgefed.analysis.statistics import need_of_seeds, seeds_needed

    contrasts = len(work.arms) - 1
    if not resume and contrasts and len(work.seeds) < (needed := seeds_needed(contrasts)):
        note(f"{need_of_seeds(contrasts)} seeds to tell anything from none: --seeds {needed} or more")


def _show_grid(found: GridComparison, output: Format) -> None:
    from edgefed.notes import notes_of_grid
    from edgefed.report import write_report
    from edgefed.report.heatmap import plot_grid

    assert found.folder is not None
    if output is Format.json:
        print_json(found.result)
    else:
        show_grid(found.result)
    for line in notes_of_grid(found.result):
        note(f"note: {line}")
    sys.stdout.flush()  # the result is out before a picture can fail
    pictures = plot_grid(found.folder)
    note(f"picture: {pictures[0]}" if pictures else "")
    note(f"page: {write_report(found.folder)}")
    note(f"each block is a comparison: edgefed plot {found.folder / 'blocks'}/… draws one")


def _idle_everywhere(
    config: FederationConfig, wanted: Mapping[str, Sequence[Any]], arms: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the settings that have no effect in any block of a grid, and what is said of each."""
    blocks = [dict(zip(wanted, values, strict=True)) for values in itertools.product(*wanted.values())]
    found = [without_effect(config.from_mapping(config.to_mapping() | block), arms) for block in blocks]
    return [idle for idle in found[0] if all(idle in other for other in found)]


def _grid(texts: Sequence[str], overrides: Sequence[str], begun: Path | None) -> dict[str, Any]:
    """Return what ``--grid`` asks for, and the keys that a grid begun in a folder has beside; nothing for neither."""
    if not texts and (begun is None or not (begun / "plan.json").is_file()):
        return {}
    from edgefed.api.grid_plan import kept_grid, parse_grid

    wanted = (kept_grid(begun) if begun is not None else {}) | parse_grid(texts)
    for key in read_settings(None, overrides):
        if key in wanted:
            raise SettingsError(f"-s {key} contradicts --grid {key}: give one of them")
    return wanted


def _rates(tune: str, no_tune: bool) -> tuple[float, ...] | None:
    from edgefed.api.plan import DEFAULT_RATES

    if no_tune and tune:
        raise SettingsError("--no-tune contradicts --tune: give one of them")
    if no_tune:
        return None
    if not tune:
        return DEFAULT_RATES
    key, equals, values = tune.partition("=")
    if not equals and _numbers(key):
        raise SettingsError(f"--tune {tune}: which setting? expected --tune learning-rate={tune}")
    if not equals or key.strip() != "learning-rate":
        raise SettingsError(f"--tune {tune}: expected learning-rate=0.1,0.3,1,3")
    try:
        return tuple(float(value) for value in values.split(",") if value.strip())
    except ValueError:
        raise SettingsError(f"--tune {tune}: expected numbers, as learning-rate=0.1,0.3,1,3") from None


def _numbers(text: str) -> bool:
    """Return whether text is numbers with commas between them."""
    try:
        return bool([float(part) for part in text.split(",")])
    except ValueError:
        return False
