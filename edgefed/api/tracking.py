"""Results to TensorBoard or MLflow beside the run's folder, where the setting ``tracking`` asks for it.

The folder stays what everything here reads; tracking is a copy of its figures for a person's own tools. Without an
MLflow server's address in ``MLFLOW_TRACKING_URI`` nothing leaves the folder.
"""

from __future__ import annotations

import os
import re
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgefed.api.sinks import MLFLOW_SERVER, MLflow, MLflowRun, TensorBoard, in_a_line
from edgefed.errors import SettingsError
from edgefed.notes import tier_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgefed.api.sinks import Figures, Sink
    from edgefed.config import FederationConfig, Scalar
    from edgefed.runs import Run

MLFLOW_RUN = "mlflow-run-id"
"""File in a run's folder: the MLflow run that a resumed run goes on with."""
CURVES = (
    "train_loss",
    "validation/balanced_accuracy",
    "validation/log_loss",
    "test/balanced_accuracy",
    "test/log_loss",
)
"""What is kept of each round in a comparison, which has hundreds of runs; a single run keeps every figure."""


def check_tracking(config: FederationConfig, kept: bool) -> None:
    """Refuse tracking that cannot be, before a folder is made.

    Parameters
    ----------
    config : FederationConfig
    kept : bool
        Whether there will be a folder.

    Raises
    ------
    SettingsError
        Naming the extra to install, or the folder that is missing.
    """
    wanted = config.tracking
    if wanted == "none":
        return
    if find_spec(wanted) is None:
        raise SettingsError(f"tracking={wanted}: its package is not installed; pip install 'edgefed[{wanted}]' has it")
    if not kept and not (wanted == "mlflow" and os.environ.get(MLFLOW_SERVER)):
        raise SettingsError(f"tracking={wanted} keeps its files in the run's folder: give out, or a name")


def figures_of(row: Mapping[str, Any], classes: Sequence[str] = ()) -> dict[str, float]:
    """Return the numbers of a round, or of a summary, by name: ``test/accuracy``, ``test/recall/0-setosa``.

    Confusion matrices and texts are left out; so is what is not known (None).
    """
    found: dict[str, float] = {}
    for key, value in row.items():
        if key == "failed":
            found[key] = float(len(value))
        elif isinstance(value, dict):
            found |= {f"{key}/{name}": number for name, number in figures_of(value, classes).items()}
        elif isinstance(value, list) and len(value) == len(classes):
            names = (f"{place}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}" for place, name in enumerate(classes))
            found |= {f"{key}/{name}": float(n) for name, n in zip(names, value, strict=True) if _is_number(n)}
        elif _is_number(value):
            found[key] = float(value)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Tracking:
    """A run's figures on their way to where ``tracking`` says; to nowhere without a sink.

    What goes wrong on the way stops the tracking, with a warning, and not the run.
    """

    def __init__(self, sink: Sink | None, classes: Sequence[str]) -> None:
        self._sink = sink
        self._classes = classes

    def round(self, row: Mapping[str, Any]) -> None:
        """Pass on a round's row of the history."""
        if self._sink is not None:
            self._pass_on(lambda sink: sink.measures([(row["round"], _of_round(row, self._classes))]))

    def end(self, summary: Mapping[str, Any]) -> None:
        """Pass on the final figures."""
        self._pass_on(lambda sink: sink.end(figures_of(summary, self._classes)))
        self._sink = None

    def stop(self, interrupted: bool) -> None:
        """Close without a result."""
        self._pass_on(lambda sink: sink.stop(interrupted))
        self._sink = None

    def _pass_on(self, what: Any) -> None:
        if self._sink is None:
            return
        try:
            what(self._sink)
        except Exception as error:  # whatever a server, a network or a disk does: the folder has it all
            self._sink = None
            warnings.warn(f"tracking stopped, the run goes on: {in_a_line(error)}", stacklevel=3)


@contextmanager
def tracked(
    config: FederationConfig, folder: Path | None, manifest: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]
) -> Iterator[Tracking]:
    """Track one run.

    Parameters
    ----------
    config : FederationConfig
    folder : Path or None
        The run's folder.
    manifest : mapping
        What the run's manifest says before its first round.
    earlier : sequence of mapping
        The rounds that a resumed run has already.
    """
    classes = manifest["classes"]
    rounds = [(row["round"], _of_round(row, classes)) for row in earlier]
    sink: Sink | None = None
    if config.tracking == "tensorboard":
        assert folder is not None
        sink = TensorBoard(folder / "tensorboard", config.to_mapping(), _texts(config, manifest))
        sink.measures(rounds)
    elif config.tracking == "mlflow":
        sink = _mlflow_run(config, folder, manifest, rounds)
    tracking = Tracking(sink, classes)
    try:
        yield tracking
    except BaseException as error:
        tracking.stop(isinstance(error, KeyboardInterrupt))
        raise


def _mlflow_run(
    config: FederationConfig, folder: Path | None, manifest: Mapping[str, Any], rounds: Sequence[tuple[int, Figures]]
) -> MLflowRun:
    place = MLflow(folder)
    kept = None if folder is None else folder / MLFLOW_RUN
    if kept is not None and kept.is_file():
        again = place.resumed(kept.read_text(encoding="utf-8").strip())
        if again is not None:
            done = again.last_round()
            again.measures([entry for entry in rounds if entry[0] > done])
            return again
    name = folder.name if folder is not None else config.dataset
    begun = place.run(name, config.to_mapping(), _tags("run", manifest))
    begun.measures(rounds)
    if kept is not None:
        kept.write_text(begun.id + "\n", encoding="utf-8")
    return begun


def track_comparison(
    config: FederationConfig, folder: Path | None, result: Mapping[str, Any], runs: Mapping[tuple[str, float, int], Run]
) -> None:
    """Track a finished comparison: its figures, and each remedy's runs at the rate that was chosen for it.

    TensorBoard: ``tensorboard/`` has the comparison's text, ``tensorboard/REMEDY`` the remedy's figures and
    ``tensorboard/REMEDY/seed-N`` a run's curves. MLflow: a run for the comparison, under it one for each remedy, and
    under those their runs. Curves are :data:`CURVES`; all else is in the comparison's folder.

    Parameters
    ----------
    config : FederationConfig
        What the comparison's runs share.
    folder : Path or None
        The comparison's.
    result : mapping
        What ``comparison.json`` holds.
    runs : mapping of (remedy, learning rate, seed) to Run
    """
    if config.tracking == "none":
        return
    home = None if folder is None else folder / "tensorboard"
    place = MLflow(folder) if config.tracking == "mlflow" else None
    first = next(iter(runs.values())).manifest
    name, shared = str(result["comparison"]), config.to_mapping()
    facts = {"finding": str(result["finding"]), "setting": str(result["setting"])}

    def sink(
        path: Sequence[str], settings: Mapping[str, Scalar], manifest: Mapping[str, Any], above: Sink | None
    ) -> Sink:
        if place is not None:
            kind = ("comparison", "remedy", "run")[len(path)]
            tags = _tags(kind, manifest) | (facts if not path else {})
            parent = above.id if isinstance(above, MLflowRun) else None
            return place.run("/".join([name, *path]), settings, tags, parent)
        assert home is not None
        return TensorBoard(home.joinpath(*path), settings, {} if path else {"comparison": _table(result)})

    try:
        top = sink((), shared, first, None)
        for entry in result["strategies"]:
            arm, rate = entry["name"], entry["learning_rate"]
            chosen: dict[str, Scalar] = {"imbalance": arm, "learning-rate": rate}
            middle = sink((arm,), shared | chosen | {"tier": str(entry["tier"])}, first, top)
            for seed in result["seeds"]:
                run = runs[arm, rate, seed]
                one = sink((arm, f"seed-{seed}"), run.config.to_mapping(), run.manifest, middle)
                one.measures([(row["round"], _curves(row)) for row in run.rounds])
                one.end(figures_of(run.summary, run.manifest["classes"]))
            middle.end(_over_seeds(entry))
        top.end(figures_of({key: result[key] for key in ("federations", "client_updates", "seconds")}))
    except Exception as error:  # whatever a server, a network or a disk does: the folder has it all
        warnings.warn(f"tracking stopped, the comparison's folder is whole: {in_a_line(error)}", stacklevel=2)


def _of_round(row: Mapping[str, Any], classes: Sequence[str]) -> dict[str, float]:
    return {name: value for name, value in figures_of(row, classes).items() if name != "round"}


def _curves(row: Mapping[str, Any]) -> dict[str, float]:
    figures = figures_of(row)
    return {name: figures[name] for name in CURVES if name in figures}


def _over_seeds(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return a remedy's figures over seeds: of each measure the mean and its interval, and the difference."""
    measures = {
        key: {part: value[part] for part in ("mean", "low", "high")}
        for key, value in entry.items()
        if isinstance(value, dict) and {"mean", "low", "high", "values"} <= value.keys()
    }
    difference = entry.get("difference") or {}
    return figures_of(measures | {"difference": difference})


def _tags(kind: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    surroundings = manifest["environment"]
    known = {
        "kind": kind,
        "version": surroundings.get("versions", {}).get("edgefed"),
        "git": surroundings.get("git"),
        "engine": manifest.get("engine"),
        "data_sha256": manifest.get("data_sha256"),
    }
    return {f"edgefed.{key}": str(value) for key, value in known.items() if value}


def _texts(config: FederationConfig, manifest: Mapping[str, Any]) -> dict[str, str]:
    facts = [f"- {key}: {value}" for key, value in _tags("run", manifest).items()]
    return {"settings": f"```toml\n{config.to_toml()}```", "run": "\n".join(facts)}


def _table(result: Mapping[str, Any]) -> str:
    lines = [str(result["finding"]), "", str(result["setting"]), ""]
    lines += ["| remedy | tier | learning rate | balanced accuracy | difference |", "|---|---|---|---|---|"]
    for entry in result["strategies"]:
        score, gap = entry["balanced_accuracy"], entry.get("difference")
        cells = [entry["name"], tier_in_words(entry), f"{entry['learning_rate']:g}", _interval(score)]
        lines.append(f"| {' | '.join([*cells, _interval(gap) if gap else ''])} |")
    return "\n".join(lines)


def _interval(figure: Mapping[str, Any]) -> str:
    mean, low, high = ("?" if figure[part] is None else f"{figure[part]:.4f}" for part in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
