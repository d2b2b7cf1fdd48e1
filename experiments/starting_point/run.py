"""The tutorial's network: its figures again, then pooled, local and federated, and which activation, loss, optimiser.

    python experiments/starting_point/run.py [--inits 20] [--seeds 30] [--out FOLDER]

Figures (CSV) and pictures (PNG, SVG) are written to `results` beside this file, or to `results-2` and on where that
exists; a FOLDER that holds anything is refused. README.md says what is asked and what was seen.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pictures import draw_choices, draw_rates, draw_starting_point, figures
from trainings import (
    MEASURES,
    Problem,
    best_rate,
    federated,
    initialised,
    mean_over_clients,
    own_split,
    tutorial_data,
    without_federation,
)

from edgefed import FederationConfig, SettingsError
from edgefed.analysis.statistics import contrasts, t_interval
from edgefed.config import read_settings
from edgefed.runs import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Rows = list[dict[str, Any]]

HERE = Path(__file__).parent
MANY = 1000
"""Initialisations that say how far twenty can be trusted."""
PUBLISHED = {"accuracy": (0.920, 0.073, 0.633, 0.967), "log_loss": (0.273, 0.093, None, None)}
"""Mean, SD, lowest and highest of 20 initialisations in plain PyTorch."""
ADAM_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ACTIVATIONS = ("sigmoid", "tanh", "relu")
LOSSES = ("cross-entropy", "mse", "hinge")
OPTIMISERS = {
    "batch gradient descent": {"optimizer": "sgd", "batch_size": 0},
    "sgd": {"optimizer": "sgd", "batch_size": 10},
    "adam": {"optimizer": "adam", "batch_size": 10},
}
TUTORIAL = ("relu", "cross-entropy", "adam")


# ---- 1. the tutorial's figures
def baseline(base: FederationConfig, inits: int) -> Rows:
    """Train the tutorial's network from many initialisations on its own split."""
    problem = Problem(base, tutorial_data(base))
    cohort = initialised(problem.pooled(), base, range(max(inits, MANY)))
    test = without_federation(base, [problem], [cohort], [base.learning_rate])["test"]
    columns = {name: test[name][0, 0] for name in MEASURES}
    return [{"init": seed, **{name: column[seed] for name, column in columns.items()}} for seed in range(len(cohort))]


# ---- 2. pooled, local, federated
def side_by_side(base: FederationConfig, seeds: int) -> Rows:
    """Train the same rows pooled, by each client alone and federated: the tutorial's split, and a split a seed."""
    configs = [base.replace(seed=seed) for seed in range(seeds)]
    rows: Rows = []
    for split, made, rates in (
        ("tutorial", tutorial_data, (base.learning_rate,)),
        ("by seed", own_split, ADAM_RATES),
    ):
        problems = [Problem(config, made(config)) for config in configs]
        trainings = {
            "pooled": without_federation(base, problems, [problem.pooled() for problem in problems], rates),
            "federated": federated(problems, rates),
            "local only": without_federation(base, problems, [problem.local() for problem in problems], rates),
        }
        for training, by_client in trainings.items():
            scores = mean_over_clients(by_client)
            chosen = best_rate(scores) if "validation" in scores else 0
            for (place, rate), seed in itertools.product(enumerate(rates), range(seeds)):
                row = {"split": split, "training": training, "rate": rate, "chosen": int(place == chosen), "seed": seed}
                if "validation" in scores:
                    row["validation_balanced_accuracy"] = scores["validation"]["balanced_accuracy"][seed, place]
                rows.append(row | {name: scores["test"][name][seed, place] for name in MEASURES})
    return rows


# ---- 3. which activation, loss, optimiser, rate
def sweep(base: FederationConfig, seeds: int) -> tuple[Rows, dict[tuple[str, str, str], NDArray[np.float64]]]:
    """Train every combination at every rate on pooled rows.

    Returns
    -------
    rows : a row a combination and rate
    values : test balanced accuracy [seeds] of each combination, at the rate that its validation rows chose
    """
    problems = [Problem(config, own_split(config)) for config in (base.replace(seed=seed) for seed in range(seeds))]
    cohorts = [problem.pooled() for problem in problems]
    rows: Rows = []
    values = {}
    for optimiser, loss, activation in itertools.product(OPTIMISERS, LOSSES, ACTIVATIONS):
        config = base.replace(activation=activation, loss=loss, **OPTIMISERS[optimiser])
        scores = mean_over_clients(without_federation(config, problems, cohorts, RATES))
        chosen = best_rate(scores)
        test = scores["test"]["balanced_accuracy"]
        values[activation, loss, optimiser] = test[:, chosen]
        for place, rate in enumerate(RATES):
            interval = t_interval(test[:, place])
            rows.append(
                {
                    "activation": activation,
                    "loss": loss,
                    "optimiser": optimiser,
                    "rate": rate,
                    "chosen": int(place == chosen),
                    "validation_balanced_accuracy": scores["validation"]["balanced_accuracy"][:, place].mean(),
                    "test_balanced_accuracy": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "sd": test[:, place].std(ddof=1),
                    "test_log_loss": scores["test"]["log_loss"][:, place].mean(),
                }
            )
    return rows, values


def choices(swept: Rows, values: dict[tuple[str, str, str], NDArray[np.float64]]) -> Rows:
    """Return each combination at its own rate, with its paired difference to the tutorial's combination."""
    names = {combination: " / ".join(combination) for combination in values}
    found = contrasts({names[combination]: sample for combination, sample in values.items()}, names[TUTORIAL])
    rates = {(row["activation"], row["loss"], row["optimiser"]): row["rate"] for row in swept if row["chosen"]}
    return [
        dict(zip(("activation", "loss", "optimiser"), combination, strict=True))
        | {"rate": rates[combination]}
        | _summary(sample, found.get(names[combination]))
        for combination, sample in values.items()
    ]


def which(values: dict[tuple[str, str, str], NDArray[np.float64]]) -> Rows:
    """Return each activation, loss and optimiser, averaged over the nine combinations of the other two."""
    rows: Rows = []
    for place, question in enumerate(("activation", "loss", "optimiser")):
        levels: dict[str, list[NDArray[np.float64]]] = {}
        for combination, sample in values.items():
            levels.setdefault(combination[place], []).append(sample)
        means = {level: np.mean(samples, axis=0) for level, samples in levels.items()}
        found = contrasts(means, TUTORIAL[place])
        rows += [
            {"question": question, "choice": level} | _summary(sample, found.get(level))
            for level, sample in means.items()
        ]
    return rows


def _summary(sample: NDArray[np.float64], difference: Any) -> dict[str, Any]:
    interval = t_interval(sample)
    row = {"mean": interval.mean, "low": interval.low, "high": interval.high, "sd": sample.std(ddof=1)}
    names = {"mean": "difference", "low": "difference_low", "high": "difference_high", "p_holm": "p_holm"}
    return row | {column: getattr(difference, name, np.nan) for name, column in names.items()}


# ---- files
def write_table(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]), lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def own_folder(wanted: Path | None) -> Path:
    """Make the folder of the results, numbered where the default exists."""
    if wanted is not None:
        return new_folder(wanted, "")
    for number in itertools.count(1):
        folder = HERE / ("results" if number == 1 else f"results-{number}")
        if not folder.exists():
            return new_folder(folder, "")
    raise AssertionError("there is always another number")


# ---- what is printed
def lines_of(rows: Rows, inits: int, sides: Rows, chosen: Rows, answers: Rows) -> Iterable[str]:
    """Yield the figures that README.md tells."""
    yield "1. the tutorial's network on its own split: mean +- SD (lowest to highest)"
    for name, (mean, sd, low, high) in PUBLISHED.items():
        yield f"   {name:9s} published {mean:.3f} +- {sd:.3f}" + (f" ({low:.3f} to {high:.3f})" if low else "")
        for count in (inits, len(rows)):
            sample = np.array([row[name] for row in rows[:count]])
            yield f"   {'':9s} {count:5d} initialisations {_spread(sample)}"
        groups = np.array([row[name] for row in rows[: len(rows) // inits * inits]]).reshape(-1, inits).mean(1)
        low, high = np.quantile(groups, [0.025, 0.975])
        yield f"   {'':9s} means of {inits} initialisations: 95 % between {low:.3f} and {high:.3f}"
    yield "2. pooled, federated, local only: test balanced accuracy, mean +- SD (lowest to highest)"
    for split, rate in (("tutorial", None), ("by seed", ADAM_RATES[0]), ("by seed", None)):
        samples = {}
        for training in ("pooled", "federated", "local only"):
            sample, used = figures(sides, split, training, rate)
            samples[training] = sample
            yield f"   split {split:9s} {training:11s} rate {used:<6g} {_spread(sample)}"
        for training, found in contrasts(samples, "pooled").items():
            points = f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
            yield f"   {'':15s} {training} - pooled: {points} points, p = {found.p_holm:.4f}"
    yield "3. which? test balanced accuracy at the chosen rate, difference to the tutorial's in points"
    for row in answers:
        yield f"   {row['question']:10s} {row['choice']:23s} {_difference(row)}"
    for row in sorted(chosen, key=lambda row: -row["mean"]):
        name = f"{row['activation']}, {row['loss']}, {row['optimiser']}"
        yield f"   {name:46s} rate {row['rate']:<5g} {_difference(row)}"


def _spread(sample: NDArray[np.float64]) -> str:
    return f"{sample.mean():.3f} +- {sample.std(ddof=1):.3f} ({sample.min():.3f} to {sample.max():.3f})"


def _difference(row: dict[str, Any]) -> str:
    text = f"{row['mean']:.3f} +- {row['sd']:.3f}"
    if np.isnan(row["difference"]):
        return f"{text}  the tutorial's"
    points = [100 * row[name] for name in ("difference", "difference_low", "difference_high")]
    return f"{text}  {points[0]:+.1f} ({points[1]:+.1f} to {points[2]:+.1f}), p = {row['p_holm']:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inits", type=int, default=20, help="initialisations of the first question (20)")
    parser.add_argument("--seeds", type=int, default=30, help="seeds of the others (30)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go; must be empty or new")
    asked = parser.parse_args(arguments)
    if not (2 <= asked.inits <= MANY and asked.seeds >= 2):
        parser.error(f"--inits takes 2 to {MANY}, --seeds at least 2")
    try:
        base = FederationConfig.from_mapping(read_settings(HERE / "base.toml"))
        folder = own_folder(asked.out)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    begun = time.perf_counter()
    rows = baseline(base, asked.inits)
    sides = side_by_side(base, asked.seeds)
    swept, values = sweep(base, asked.seeds)
    chosen, answers = choices(swept, values), which(values)
    tables = {"baseline": rows, "side_by_side": sides, "rates": swept, "choices": chosen, "which": answers}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table)
    draw_starting_point(rows, asked.inits, PUBLISHED["accuracy"], sides, folder / "starting_point")
    draw_rates(swept, asked.seeds, folder / "rates")
    draw_choices(chosen, asked.seeds, folder / "choices")
    print("\n".join(lines_of(rows, asked.inits, sides, chosen, answers)))
    print(f"{folder}: tables and pictures, {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
