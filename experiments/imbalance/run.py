"""Every remedy on each bundled dataset: which one for imbalance helps, and is it real.

    python experiments/imbalance/run.py [iris wine breast-cancer digits] [--level] [--seeds 30] [--out FOLDER]
                                        [--keep RESULTS]

``--level`` leaves the classes as level as the data have them: label skew alone, no long tail.

Each dataset becomes a comparison folder FOLDER/DATASET with its pictures and page; nothing is overwritten, and a
comparison that was interrupted goes on where it was when the command is repeated. With all four there, remedies are
ranked over datasets (Friedman, critical difference). ``--keep`` copies what is worth keeping beside the README.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from edgefed import FederationConfig, SettingsError, compare
from edgefed.analysis.blocks import across_blocks
from edgefed.config import read_settings
from edgefed.report import plot_comparison, write_report
from edgefed.report.critical_difference import plot_critical_difference

HERE = Path(__file__).parent
#: One more than the default comparison's: some remedies pick its lowest.
RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
#: What differs from base.toml: the sheet of settings of each dataset.
DATASETS = {
    "iris": {},
    "wine": {"dataset": "wine"},
    "breast-cancer": {"dataset": "breast-cancer"},
    "digits": {"dataset": "digits", "long-tail": 20.0, "num-clients": 20},
}

#: What the folder of a comparison without a long tail is called beside its dataset's name.
LEVEL = "-level"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=[], choices=[*DATASETS, []], metavar="DATASET")
    parser.add_argument("--level", action="store_true", help="no long tail: label skew alone")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("runs/imbalance"))
    parser.add_argument("--keep", type=Path, help="copy figures and pictures of finished comparisons here")
    asked = parser.parse_args()
    base = read_settings(HERE / "base.toml")
    for dataset in asked.datasets or DATASETS:
        name = dataset + LEVEL if asked.level else dataset
        try:
            config = FederationConfig.from_mapping(
                base | DATASETS[dataset] | ({"long-tail": 1.0} if asked.level else {})
            )
            done = compare(
                config,
                strategies="all",
                seeds=asked.seeds,
                tune=RATES,
                out=asked.out / name,
                resume=True,
                progress=True,
            )
        except SettingsError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        plot_comparison(asked.out / name)
        write_report(asked.out / name)
        print(f"\n{name}: {done.result['finding']}  ({done.result['seconds']:.0f} s)")
        for entry in done.result["strategies"]:
            measure, difference = entry["balanced_accuracy"], entry["difference"]
            line = f"  {entry['name']:36s} {measure['mean']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"
            if difference is not None:
                line += (
                    f"  {100 * difference['mean']:+.1f} points ({100 * difference['low']:+.1f} to "
                    f"{100 * difference['high']:+.1f}), p = {difference['p_holm']:.3f}"
                )
            print(f"{line}  rate {entry['learning_rate']:g}  {entry['tier']}")
        for reference, measure in done.result["references"].items():
            print(f"  reference {reference:26s} {measure['mean']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})")
        if asked.keep is not None:
            keep(asked.out / name, asked.keep / name)
    finished = {name: json.loads(path.read_text()) for name in DATASETS if (path := _result(asked.out, name)).is_file()}
    if len(finished) == len(DATASETS) and not asked.level:
        over_datasets(finished, asked.keep or asked.out)
    return 0


def _result(out: Path, name: str) -> Path:
    return out / name / "comparison.json"


def keep(comparison: Path, home: Path) -> None:
    """Copy a comparison's tables and first pictures; of its federations those at each remedy's chosen rate."""
    home.mkdir(parents=True, exist_ok=True)
    for name in ("ranking.png", "ranking.svg", "learning-curves.png"):
        shutil.copy(comparison / "plots" / name, home / name)
    shutil.copy(comparison / "strategies.csv", home / "strategies.csv")
    head, *rows = (comparison / "results.csv").read_text().splitlines()
    chosen = head.split(",").index("chosen")
    (home / "results.csv").write_text("\n".join([head, *(row for row in rows if row.split(",")[chosen] == "1")]) + "\n")


def over_datasets(finished: dict[str, dict[str, Any]], home: Path) -> None:
    """Rank remedies over datasets, print what is found and draw it."""
    values = {
        dataset: {entry["name"]: entry["balanced_accuracy"]["values"] for entry in result["strategies"]}
        for dataset, result in finished.items()
    }
    found = across_blocks(values)
    home.mkdir(parents=True, exist_ok=True)
    (home / "over-datasets.json").write_text(json.dumps(found, indent=1) + "\n")
    plot_critical_difference(found, home / "critical-difference")
    print(f"\nover datasets: {found['finding']}")
    for arm, rank in found["ranks"].items():
        print(f"  {arm:36s} mean rank {rank:.1f}")


if __name__ == "__main__":
    sys.exit(main())
