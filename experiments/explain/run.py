"""Which features federated models use: those that the literature names, and does a remedy change it.

    python experiments/explain/run.py [--seeds N] [--out DIR]

Writes results.json and pictures into results beside this file, or into DIR; a results.json that is there already is
refused. README.md says what is asked and what was seen.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pictures import draw

import edgefed
from edgefed import FederationConfig, SettingsError
from edgefed.analysis.explanation import METHODS, by_class, importance, rank_correlation, rankings, stability
from edgefed.analysis.statistics import contrasts, t_interval
from edgefed.api.assembly import in_process
from edgefed.config import read_settings
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.explanation import collect
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.learning.training import torch_threads
from edgefed.runs import plain, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HERE = Path(__file__).parent
NAMED = {
    "iris": ["petal length (cm)", "petal width (cm)"],
    "wine": ["proline", "flavanoids", "color_intensity"],
    "breast-cancer": ["worst area", "worst smoothness", "mean texture"],
}
"""What the literature names (README.md says where)."""
ARMS = ("none", "random-oversampling", "balanced-softmax", "post-hoc")
TAIL = 10.0
SELECTED_UNDER, MOST = 5, 6


def main() -> None:
    """Train, ask, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="DIR")
    asked = parser.parse_args()
    target = asked.out / "results.json"
    if target.exists():
        raise SettingsError(f"--out {asked.out}: results.json exists already; give another folder")
    base = FederationConfig.from_mapping(read_settings(HERE / "base.toml"))
    begun = time.perf_counter()
    found: dict[str, Any] = {"seeds": asked.seeds, "datasets": {}}
    for dataset, named in NAMED.items():
        config = base.replace(dataset=dataset)
        with torch_threads(1):
            found["datasets"][dataset] = {
                "named": named,
                **explained(config, asked.seeds, named),
                "iid": explained(config.replace(partition="iid"), asked.seeds, named),
                "remedies": attention(config.replace(long_tail=TAIL), asked.seeds),
                "selection": edgefed.select_features(
                    config.replace(client_test_fraction=0.0), seeds=SELECTED_UNDER, most=MOST, progress=True
                ),
            }
        print(f"{dataset}: {time.perf_counter() - begun:.0f} s", flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    found = rounded(plain(found))
    write_json(target, found)
    draw(found, asked.out)
    report(found["datasets"])


def rounded(value: Any) -> Any:
    """Return JSON with five significant digits: what is kept is for reading."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def told(configs: Sequence[FederationConfig]) -> tuple[list[dict[str, NDArray[Any]]], list[float]]:
    """Train federations in lockstep; return what each one's clients say of its model, and its test scores."""
    engine = make_engine("batched")
    federations = [in_process(*federate(config), engine) for config in configs]
    query(federations, engine.exchange, [range(federation.config.num_clients) for federation in federations])
    run_rounds(federations, engine.exchange)
    scores = [federation.history[-1]["test"]["balanced_accuracy"] for federation in federations]
    return [collect(federation, engine.exchange) for federation in federations], scores


def explained(config: FederationConfig, seeds: int, named: Sequence[str]) -> dict[str, Any]:
    """Return how each method ranks the features without a tail and without a remedy."""
    names = federate(config)[1].dataset.feature_names
    collected, scores = told([config.replace(seed=seed) for seed in range(seeds)])
    orders = [
        {method: np.argsort(-values, kind="stable") for method, values in rankings(run).items()} for run in collected
    ]
    top = {
        method: [len({names[place] for place in order[method][: len(named)]} & set(named)) for order in orders]
        for method in METHODS
    }
    return {
        "features": list(names),
        "balanced_accuracy": vars(t_interval(scores)),
        "importance": importance(collected, names),
        "ranks": {
            method: {
                name: [int(np.flatnonzero(order[method] == place)[0]) + 1 for order in orders]
                for place, name in enumerate(names)
            }
            for method in METHODS
        },
        "named_on_top": {method: float(np.mean(hits)) / len(named) for method, hits in top.items()},
        "stability": stability(collected),
    }


def attention(config: FederationConfig, seeds: int) -> dict[str, Any]:
    """Return what share of the importance each feature has under each remedy, classes counting alike, with a tail."""
    names = federate(config)[1].dataset.feature_names
    cases = [(arm, seed) for arm in ARMS for seed in range(seeds)]
    collected, scores = told([config.replace(imbalance=arm, seed=seed) for arm, seed in cases])
    shares: dict[str, list[NDArray[np.float64]]] = {arm: [] for arm in ARMS}
    for (arm, _), run in zip(cases, collected, strict=True):
        values = np.nanmean(by_class(run, "shap"), axis=0)
        shares[arm].append(values / values.sum())
    rows = []
    for place, name in enumerate(names):
        values = {arm: [float(share[place]) for share in own] for arm, own in shares.items()}
        against = contrasts(values)
        rows.append(
            {
                "feature": name,
                "shares": {arm: vars(t_interval(sample)) for arm, sample in values.items()},
                "differences": {arm: vars(difference) for arm, difference in against.items()},
            }
        )
    rows.sort(key=lambda row: -row["shares"]["none"]["mean"])
    return {
        "features": rows,
        "rank_correlation": {
            arm: vars(t_interval([rank_correlation(a, b) for a, b in zip(shares[arm], shares["none"], strict=True)]))
            for arm in ARMS
            if arm != "none"
        },
        "balanced_accuracy": {
            arm: vars(t_interval([score for (own, _), score in zip(cases, scores, strict=True) if own == arm]))
            for arm in ARMS
        },
    }


def report(datasets: dict[str, Any]) -> None:
    """Print what the README quotes."""
    for dataset, found in datasets.items():
        for partition, one in (("dirichlet", found), ("iid", found["iid"])):
            strongest = ", ".join(f"{row['feature']} {row['mean']:.3f}" for row in one["importance"][:5])
            print(f"\n{dataset}, {partition}: balanced accuracy {one['balanced_accuracy']['mean']:.3f}; {strongest}")
            print("  named on top: " + ", ".join(f"{m} {share:.0%}" for m, share in one["named_on_top"].items()))
            print("  stability: " + ", ".join(f"{m} {v:.2f}" for m, v in one["stability"].items() if v is not None))
        for arm, correlation in found["remedies"]["rank_correlation"].items():
            moved = [
                f"{row['feature']} {100 * row['differences'][arm]['mean']:+.1f}"
                for row in found["remedies"]["features"]
                if row["differences"][arm]["p_holm"] < 0.05
            ]
            print(f"  {arm}: rank correlation with none {correlation['mean']:.2f}; moved: {moved or 'none'}")
        steps = found["selection"]["steps"]
        print(
            "  features: "
            + ", ".join(f"{s['count']}: {s['forward']['mean']:.3f}/{s['filter']['mean']:.3f}" for s in steps)
        )


if __name__ == "__main__":
    main()
