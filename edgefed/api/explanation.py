"""Explain runs: ask their clients, put together what they say, and keep it in the folder for pictures and a page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.explanation import column_importance, importance
from edgefed.api.assembly import data_of, in_process
from edgefed.api.explained_rows import server_rows
from edgefed.api.explanation_figures import figures
from edgefed.api.progress import asking
from edgefed.categories import parsed_categories
from edgefed.config import SettingsError
from edgefed.engines import make_engine
from edgefed.federation.explanation import collect, keep
from edgefed.federation.query import query
from edgefed.learning.training import torch_threads
from edgefed.report.folder import ComparisonFolder
from edgefed.runs import (
    COLLECTED,
    EXPLANATION,
    EXPLANATION_HOME,
    Run,
    check_folder,
    explanation_folder,
    is_folder_of,
    kept_in,
    plain,
    read_arrays,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgefed.data.shards import FederatedData
    from edgefed.engines.grid import Engine
    from edgefed.federation.explanation import Arrays


STRONGEST = 5
"""Features that an explanation's short form names."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What is known of a model, or of one remedy's models over the seeds of a comparison.

    Attributes
    ----------
    result : dict
        As ``explanation.json`` holds it; ``importance`` lists features, the strongest first, and ``columns``, where
        some are categorical, the file's columns.
    collected : list of dict
        What the clients said, a run each: arrays with a client a row (docs/explanations.md lists them).
    folder : Path or None
        Where it is kept, if it is.
    """

    result: dict[str, Any]
    collected: list[dict[str, Any]]
    folder: Path | None = None

    def __repr__(self) -> str:
        rows = self.result["importance"]
        strongest = [f"{row['feature']} {row['mean']:+.3f}" for row in rows[:STRONGEST]]
        more = f" and {len(rows) - STRONGEST} more" if len(rows) > STRONGEST else ""
        what = f"{self.result['explained']}: log-loss when permuted {', '.join(strongest)}{more}"
        return f"<Explanation of {what}; {kept_in(self.folder)}>"


def explain(
    what: Run | str | Path | Sequence[Run | str | Path],
    *,
    strategy: str = "",
    engine: str = "batched",
    progress: bool | None = None,
) -> Explanation:
    """Explain a run's model, or those of one remedy in a comparison, from what its clients say of it.

    Simulated clients are made again from the run's settings; nobody's rows are pooled. A run whose devices were asked
    when it ended (``explain=yes``) is explained from what they said then.

    Parameters
    ----------
    what : Run, path, or sequence of them
        A finished run or its folder; a finished comparison's folder; or runs that differ in their seeds. With several
        runs intervals are over seeds, else over clients. What a folder holds of an explanation is written anew.
    strategy : str
        Of a comparison: the remedy whose models are explained. Neutral: the one with the highest mean.
    engine : str
        What answers for simulated clients.
    progress : bool, optional
        Show how many clients have been asked, on stderr. Neutral: in a terminal or a notebook.

    Raises
    ------
    SettingsError
        In one line: the folder is none, the model diverged, the rows are not those it was trained on, or it was
        trained under differential privacy.

    Examples
    --------
    >>> import edgefed
    >>> run = edgefed.run(edgefed.FederationConfig(num_server_rounds=20), progress=False)
    >>> strongest = edgefed.explain(run, progress=False).result["importance"][0]
    >>> strongest["feature"]
    'petal length (cm)'
    """
    begun = time.perf_counter()
    home, name, runs = _runs(what, strategy)
    for run in runs:
        if run.config.differentially_private:
            raise SettingsError(
                f"{run.folder or 'the run'}: privacy={run.config.privacy}: clients would be asked for exact figures of "
                "their rows, which its account does not cover: explain a run of privacy=none on data that bear it"
            )
    trainer = make_engine(engine)
    collected: list[Arrays] = []
    datas: list[FederatedData | None] = []
    with asking(progress, f"explaining {name}", len(runs), answered=all(map(_answered, runs))) as show:
        for place, run in enumerate(runs):
            data, answers = _answers(run, trainer, partial(show, place))
            datas.append(data)
            collected.append(answers)
            if run.folder is not None:
                keep(run.folder, answers)
    ranked = importance(collected, runs[0].manifest["features"])
    with torch_threads(1):  # matrices are too small to share out
        shown = server_rows(runs, datas, [row["feature"] for row in ranked])
    result = {
        "explained": name,
        "masked": any(run.config.privacy == "secagg" for run in runs),
        **figures(runs, collected, ranked),
        **_columns(runs, collected),
        **shown,
        "seconds": round(time.perf_counter() - begun, 3),
    }
    if home is not None:
        folder = explanation_folder(home)
        result["folders"] = [_beside(run, home) for run in runs]
        write_json(folder / EXPLANATION, result, durable=False)
    return Explanation(plain(result), collected, home)


def _runs(what: Run | str | Path | Sequence[Run | str | Path], strategy: str) -> tuple[Path | None, str, list[Run]]:
    """Return the folder that the explanation belongs to, its name, and the runs."""
    if isinstance(what, str | Path) and is_folder_of(Path(what), "comparison"):
        found = ComparisonFolder.read(Path(what))
        chosen = strategy or str(found.arms[0]["name"])
        if chosen not in found.runs:
            raise SettingsError(f"--strategy {chosen}: {what} compares {', '.join(found.runs)}")
        return Path(what), f"{found.dataset}, {chosen}", found.runs[chosen]
    if strategy:
        raise SettingsError(f"--strategy {strategy}: says nothing of a single run, only of a comparison")
    if isinstance(what, str | Path):
        check_folder(Path(what), "run", "comparison")
    several = not isinstance(what, Run | str | Path)
    each: Any = what if several else [what]
    runs = [one if isinstance(one, Run) else Run.read(one) for one in each]
    if not runs:
        raise SettingsError("nothing to explain: give at least one run")
    named = runs[0].manifest["features"], runs[0].manifest["classes"]
    for run in runs[1:]:
        if (run.manifest["features"], run.manifest["classes"]) != named:
            raise SettingsError(f"{_called(runs, run)}: other features or classes than {_called(runs, runs[0])}")
    config = runs[0].config
    name = f"{config.data_name}, {config.imbalance}"
    return (None if several else runs[0].folder), name if several else f"{name}, seed {config.seed}", runs


def _called(runs: Sequence[Run], run: Run) -> str:
    """Return where a run is kept, or which it is among those in memory."""
    return str(run.folder or f"run {runs.index(run) + 1} of {len(runs)} ({run.config.data_name})")


def _columns(runs: Sequence[Run], collected: Sequence[Arrays]) -> dict[str, Any]:
    """Return the importance of columns, ``columns``, where there are categorical ones that clients were asked of."""
    categories = parsed_categories(runs[0].config.categories)
    if not categories or not all("column-loss-increase" in said for said in collected):
        return {}
    return {"columns": column_importance(collected, runs[0].manifest["features"], categories)}


def _beside(run: Run, home: Path) -> str:
    return run.folder.relative_to(home).as_posix() if run.folder is not None else ""


def _answers(run: Run, trainer: Engine, asked: Callable[[int, int], None]) -> tuple[FederatedData | None, Arrays]:
    """Return the run's data where they are here, and what its clients say."""
    weights = np.concatenate([array.ravel() for array in run.weights.values()])
    if not np.isfinite(weights).all():
        raise SettingsError(f"{run.folder or 'the run'}: its model diverged (weights that are not finite)")
    try:
        config, data = data_of(
            run, "devices are asked while they are connected: explain=yes, in the settings of the run"
        )
    except SettingsError:
        if (said := _said(run)) is not None:
            return None, said
        if run.config.dataset == "devices":
            raise SettingsError(
                f"{run.folder or 'the run'}: its rows lie on devices, which nobody asked when the run ended; "
                "explain=yes, in the settings of the run, does"
            ) from None
        raise
    if _answered(run) and (said := _said(run)) is not None:
        return data, said
    federation = in_process(config, data, trainer)
    federation.set_weights(federation.model.flat(run.weights))
    query([federation], trainer.exchange, [range(config.num_clients)])
    return data, collect(federation, trainer.exchange, asked)


def _answered(run: Run) -> bool:
    """Return whether a run's clients were asked when it ended, so that nobody is asked again."""
    return run.summary["engine"] == "flower" and _said(run) is not None


def _said(run: Run) -> Arrays | None:
    """Return what a run's clients said when it ended; None where nobody asked them of this model."""
    path = run.folder / EXPLANATION_HOME / COLLECTED if run.folder is not None else None
    if path is None or not path.is_file():
        return None
    said = read_arrays(path)
    return said if said["model-sha256"].tobytes().hex() == run.summary["model_sha256"] else None
