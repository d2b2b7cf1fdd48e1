"""Pictures of the study from its tables alone, and remedies ranked over datasets.

    python experiments/imbalance/pictures.py [FOLDER]

draws FOLDER/DATASET/ranking from each results.csv that is there, and with all four datasets writes over-datasets.json
and critical-difference. FOLDER is the results beside this file, or where run.py --keep put them. References (pooled
training, each client alone) are no federations: results.csv does not have them, and these pictures do not either.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from edgefed import FederationConfig
from edgefed.analysis.blocks import across_blocks
from edgefed.analysis.corrected_interval import nadeau_bengio
from edgefed.analysis.statistics import ranking
from edgefed.api.plan import CONTROL, Plan
from edgefed.api.setting import generalises_over
from edgefed.config import read_settings
from edgefed.data.datasets import load
from edgefed.data.split import split, tail_order
from edgefed.report.critical_difference import plot_critical_difference
from edgefed.report.folder import RANKED, ComparisonFolder
from edgefed.report.ranking import ranking_figure
from edgefed.report.style import save
from edgefed.runs import Run

HERE = Path(__file__).parent
#: What differs from base.toml: the sheet of settings of each dataset.
DATASETS: dict[str, dict[str, Any]] = {
    "iris": {},
    "wine": {"dataset": "wine"},
    "breast-cancer": {"dataset": "breast-cancer"},
    "digits": {"dataset": "digits", "long-tail": 20.0, "num-clients": 20},
}
#: What the folder of a comparison without a long tail is called beside its dataset's name.
LEVEL = "-level"


def settings(name: str) -> FederationConfig:
    """Return what all federations of a dataset share, without a long tail where its name says so."""
    dataset = name.removesuffix(LEVEL)
    tail = {} if name == dataset else {"long-tail": 1.0}
    return FederationConfig.from_mapping(read_settings(HERE / "base.toml") | DATASETS[dataset] | tail)


def scores(table: Path) -> dict[str, dict[int, float]]:
    """Return each remedy's test balanced accuracy at its chosen rate by seed, as results.csv has them."""
    found: dict[str, dict[int, float]] = {}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["chosen"] == "1":
                found.setdefault(row["strategy"], {})[int(row["seed"])] = float(row[RANKED])
    return found


def kept_p(table: Path) -> dict[str, float]:
    """Return each remedy's adjusted p value as strategies.csv has it, where it is: six digits tell some ties apart."""
    if not table.is_file():
        return {}
    with table.open(newline="") as file:
        return {row["strategy"]: float(row["p_holm"]) for row in csv.DictReader(file) if row["p_holm"]}


def ranked(name: str, table: Path) -> ComparisonFolder:
    """Return a comparison as its ranking is drawn: what results.csv says, and the statistics made of it again."""
    by_seed = scores(table)
    config, seeds = settings(name), tuple(by_seed[CONTROL])
    data = load(config)
    values = {arm: list(own.values()) for arm, own in by_seed.items()}
    orders = [tail_order(data, config.replace(seed=seed)) for seed in seeds]
    held = [split(data, config.replace(seed=seed)) for seed in seeds]
    share = sum(len(rows.test) / (len(rows.test) + len(rows.pool)) for rows in held) / len(held)
    strategies, known = [], kept_p(table.with_name("strategies.csv"))
    for row in ranking(values, CONTROL, orders):
        gaps = [score - none for score, none in zip(row["values"], values[CONTROL], strict=True)]
        p_holm = row["difference"]["p_holm"] if row["difference"] else None
        wider = nadeau_bengio(gaps, share) if row["difference"] else None
        strategies.append(
            {
                "name": row["name"],
                RANKED: {key: row[key] for key in ("mean", "low", "high", "values")},
                "difference": row["difference"] and row["difference"] | {"p_holm": known.get(row["name"], p_holm)},
                "tier": row["tier"],
                "nadeau_bengio": {"low": wider.low, "high": wider.high} if wider else None,
            }
        )
    result = {
        "strategies": strategies,
        "seeds": list(seeds),
        "generalises_over": generalises_over(Plan(config, tuple(values), seeds, (config.learning_rate,), tuned=True)),
    }
    return ComparisonFolder(table.parent, result, {CONTROL: [Run(config, {}, [], {})]})


def over_datasets(home: Path) -> None:
    """Rank remedies over datasets by their mean scores, print what is found and draw it."""
    found = across_blocks(
        {
            dataset: {arm: list(own.values()) for arm, own in scores(home / dataset / "results.csv").items()}
            for dataset in DATASETS
        }
    )
    (home / "over-datasets.json").write_text(json.dumps(found, indent=1) + "\n")
    plot_critical_difference(found, home / "critical-difference")
    print(f"over datasets: {found['finding']}")
    for arm, rank in found["ranks"].items():
        print(f"  {arm:36s} mean rank {rank:.1f}")


def draw(home: Path) -> None:
    """Draw what a folder's tables hold."""
    names = [name for dataset in DATASETS for name in (dataset, dataset + LEVEL)]
    tables = {name: path for name in names if (path := home / name / "results.csv").is_file()}
    for name, table in tables.items():
        save(ranking_figure(ranked(name, table)), table.parent / "ranking")
    if tables.keys() >= DATASETS.keys():
        over_datasets(home)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results")
