"""Every remedy on each bundled dataset: which one for imbalance helps, and is it real.

    python experiments/imbalance/run.py [iris wine breast-cancer digits] [--level] [--seeds 30] [--out FOLDER]
                                        [--keep RESULTS]

``--level`` leaves the classes as level as the data have them: label skew alone, no long tail.

Each dataset becomes a comparison folder FOLDER/DATASET with its pictures and page; nothing is overwritten, and a
comparison that was interrupted goes on where it was when the command is repeated. ``--keep`` copies the tables that are
worth keeping beside the README; pictures.py draws them there and, with all four datasets, ranks remedies over datasets
(Friedman, critical difference).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from pictures import DATASETS, LEVEL, draw, settings

from edgefed import SettingsError, compare
from edgefed.report import plot_comparison, write_report

#: One more than the default comparison's: some remedies pick its lowest.
RATES = (0.03, 0.1, 0.3, 1.0, 3.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=[], choices=[*DATASETS, []], metavar="DATASET")
    parser.add_argument("--level", action="store_true", help="no long tail: label skew alone")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("runs/imbalance"))
    parser.add_argument("--keep", type=Path, help="copy tables of finished comparisons here, and draw them")
    asked = parser.parse_args()
    for dataset in asked.datasets or DATASETS:
        name = dataset + LEVEL if asked.level else dataset
        try:
            done = compare(
                settings(name),
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
    if asked.keep is not None:
        draw(asked.keep)
    return 0


def keep(comparison: Path, home: Path) -> None:
    """Copy a comparison's tables and learning curves; of its federations those at each remedy's chosen rate."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(comparison / "plots" / "learning-curves.png", home / "learning-curves.png")
    shutil.copy(comparison / "strategies.csv", home / "strategies.csv")
    head, *rows = (comparison / "results.csv").read_text().splitlines()
    chosen = head.split(",").index("chosen")
    (home / "results.csv").write_text("\n".join([head, *(row for row in rows if row.split(",")[chosen] == "1")]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
