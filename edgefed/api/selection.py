"""Which features a federation needs: forward selection by training federations, each seed on its own rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.explanation import class_moments
from edgefed.analysis.filters import anova_f
from edgefed.analysis.statistics import t_interval
from edgefed.api.assembly import in_process
from edgefed.api.progress import shown
from edgefed.config import FederationConfig, SettingsError
from edgefed.data.datasets import load
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.explanation import ask_class_moments
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.runs import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.api.progress import Show
    from edgefed.data.shards import FederatedData
    from edgefed.engines.grid import Engine

MOST = 10
"""Features up to which selection goes on where nothing else is said."""


@dataclass(frozen=True)
class _Seed:
    """One seed's settings and rows, and the features chosen so far, in order."""

    config: FederationConfig
    data: FederatedData
    chosen: list[int]


def select_features(
    config: FederationConfig,
    *,
    seeds: int = 5,
    most: int = 0,
    engine: str = "batched",
    progress: bool | None = None,
) -> dict[str, Any]:
    """Choose features one by one, each time the one with which a federation does best on validation rows.

    Every seed (``seed`` ... ``seed + seeds - 1``) chooses for itself, by its own split: test rows have no say in what
    is chosen and score each choice once. All federations of a step train in lockstep. Beside it stands the filter: as
    many features in the order of ANOVA's F on the same seed's training rows.

    Parameters
    ----------
    config : FederationConfig
    seeds : int
    most : int
        Features to choose at most. Neutral: all, up to :data:`MOST`.
    engine : str
    progress : bool, optional
        Show each round on stderr. Neutral: in a terminal or a notebook.

    Returns
    -------
    dict
        ``features``; ``seeds``; ``chosen`` and ``filter``, each seed's order of features; ``steps``, one a number of
        features: ``count``, and under ``forward`` and ``filter`` the test balanced accuracy (``mean``, ``low``,
        ``high``, ``values`` one a seed); ``all``, the same with every feature; ``times``, how many seeds chose each
        feature among the first so many; ``federations``.

    Raises
    ------
    SettingsError
        One line: no validation rows to choose by, or settings that cannot be used.
    """
    if seeds < 1:
        raise SettingsError(f"--select {seeds}: expected at least one seed")
    config = config.replace(evaluate_every=config.num_server_rounds, checkpoint_every=0, run_folder="", tracking="none")
    dataset = load(config)
    under = [_Seed(*federate(config.replace(seed=config.seed + place), dataset), []) for place in range(seeds)]
    if not config.validation_fraction:
        raise SettingsError("validation-fraction=0: features are chosen on validation rows; 0.2 would do")
    features = len(dataset.feature_names)
    steps = min(most or MOST, features)
    trainer = make_engine(engine, device=config.device)
    filters = [_by_anova(seed, trainer) for seed in under]
    every = [(seed, list(range(features))) for seed in under]
    rounds = (sum(features - step + 1 for step in range(steps)) + 1) * seeds * config.num_server_rounds
    with shown(progress, rounds, f"selecting features: {config.data_name}") as show:
        done = _trained(every, trainer, show)
        rows = []
        for step in range(steps):
            tried = [
                (seed, [*seed.chosen, feature])
                for seed in under
                for feature in range(features)
                if feature not in seed.chosen
            ]
            by_filter = [(seed, order[: step + 1]) for seed, order in zip(under, filters, strict=True)]
            found = _trained([*tried, *by_filter], trainer, show)
            forward = []
            for seed in under:
                own = [(result, cols) for (who, cols), result in zip(tried, found, strict=False) if who is seed]
                result, cols = max(own, key=lambda one: (one[0]["validation"], -one[0]["loss"]))
                seed.chosen.append(cols[-1])
                forward.append(result["test"])
            filtered = [result["test"] for result in found[len(tried) :]]
            rows.append({"count": step + 1, "forward": _over(forward), "filter": _over(filtered)})
    names = dataset.feature_names
    orders = [seed.chosen for seed in under]
    return dict(
        plain(
            {
                "dataset": config.data_name,
                "features": list(names),
                "seeds": [seed.config.seed for seed in under],
                "chosen": [[names[place] for place in order] for order in orders],
                "filter": [[names[place] for place in order[:steps]] for order in filters],
                "steps": rows,
                "all": _over([result["test"] for result in done]),
                "times": {
                    name: [sum(place in order[: step + 1] for order in orders) for step in range(steps)]
                    for place, name in enumerate(names)
                },
                "federations": rounds // config.num_server_rounds,
            }
        )
    )


def _over(values: Sequence[float]) -> dict[str, Any]:
    return vars(t_interval(values)) | {"values": list(values)}


def _by_anova(seed: _Seed, trainer: Engine) -> list[int]:
    """Return all features from the highest F to the lowest, on the clients' training rows."""
    federation = in_process(seed.config, seed.data, trainer)
    query([federation], trainer.exchange, [range(seed.config.num_clients)])
    moments = ask_class_moments(federation, trainer.exchange)
    f, _ = anova_f(class_moments({f"class-{name}": moments[name] for name in ("count", "mean", "m2")}))
    return [int(place) for place in np.argsort(-np.nan_to_num(f, nan=-1.0), kind="stable")]


def _trained(cases: Sequence[tuple[_Seed, list[int]]], trainer: Engine, show: Show) -> list[dict[str, float]]:
    """Train a federation for each set of features, all in lockstep; return what came of each."""
    federations = []
    for seed, columns in cases:
        federation = in_process(seed.config, _with_columns(seed.data, columns), trainer)
        federation.on_round = lambda done: show(done.history)
        federations.append(federation)
    query(federations, trainer.exchange, [range(federation.config.num_clients) for federation in federations])
    run_rounds(federations, trainer.exchange)
    found = []
    for federation in federations:
        last = federation.history[-1]
        found.append(
            {
                "validation": last["validation"]["balanced_accuracy"],
                "loss": last["validation"]["log_loss"],
                "test": last["test"]["balanced_accuracy"],
            }
        )
    return found


def _with_columns(data: FederatedData, columns: Sequence[int]) -> FederatedData:
    """Return the same rows, split and shards with some features only."""
    kept = np.ascontiguousarray(data.dataset.features[:, columns])
    names = tuple(data.dataset.feature_names[place] for place in columns)
    return replace(
        data,
        dataset=replace(data.dataset, features=kept, feature_names=names),
        shards=replace(data.shards, features=kept),
    )
