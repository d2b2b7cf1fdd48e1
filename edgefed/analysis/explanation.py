"""From what clients said of a model to which features it uses, for whom, and how sure we are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from edgefed.analysis.filters import Moments, anova_f, grouped, mutual_information
from edgefed.analysis.statistics import CONFIDENCE, Interval, t_interval
from edgefed.categories import columns_by_feature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Collected = Mapping[str, NDArray[Any]]

METHODS = {
    "loss": "permutation, log-loss",
    "accuracy": "permutation, balanced accuracy",
    "shap": "SHAP values",
    "integrated-gradients": "integrated gradients",
    "anova-f": "ANOVA F of the rows",
    "mutual-information": "mutual information of the rows",
}
"""Rankings of features: four of the model, two of the rows alone."""
OF_CLIENTS = ("loss", "accuracy", "shap", "integrated-gradients")
FEW_ROWS = 10
"""Rows below which a client's own permutations say little."""


def by_client(collected: Collected, method: str) -> tuple[Floats, Floats]:
    """Return a method's importance at each client [clients, features], and the rows that it counts for [clients].

    ``loss``: mean over the client's rows of the increase in log-loss; ``accuracy``: the drop in its balanced accuracy;
    ``shap``, ``integrated-gradients``: mean absolute attribution of the rows drawn there, which stand for all of the
    client's rows. nan, and no rows, for a client that has nothing to say.
    """
    rows = collected["rows"].sum(1).astype(float)
    if method == "accuracy":
        return np.where(rows[:, None] > 0, collected["accuracy-drop"], np.nan), rows
    counted, summed = _sums_of(method)
    behind = collected[counted].sum(1)
    found = collected[summed].sum(1) / np.maximum(behind, 1)[:, None]
    return np.where(behind[:, None] > 0, found, np.nan), rows * (behind > 0)


def by_class(collected: Collected, method: str) -> Floats:
    """Return a method's importance by the true class [classes, features], all clients' rows; nan without rows.

    The rows of a class that a client drew for attribution stand for all that it has of the class.
    """
    counted, summed = _sums_of(method)
    behind = collected[counted].astype(float)
    rows = collected["rows"] * (behind > 0)
    of_class = rows.sum(0)[:, None]
    found = ((rows / np.maximum(behind, 1))[..., None] * collected[summed]).sum(0)
    return np.where(of_class > 0, found / np.maximum(of_class, 1), np.nan)


def _sums_of(method: str) -> tuple[str, str]:
    """Return the names of the rows that a method's sums are over, and of the sums."""
    return ("rows", "loss-increase") if method == "loss" else ("attributed-rows", method)


def pooled(values: Floats, rows: Floats) -> Floats:
    """Return the mean over clients weighted by rows [features]."""
    held = rows > 0
    return np.asarray(rows[held] @ values[held] / rows[held].sum())


def over_clients(values: Floats, rows: Floats) -> Interval:
    """Return the mean weighted by rows with a 95 % t interval for other clients like these.

    m = sum n_k d_k / sum n_k; its variance K / (K - 1) sum n_k^2 (d_k - m)^2 / (sum n_k)^2, clients being drawn and not
    rows; nan below two clients.

    Parameters
    ----------
    values, rows : float64 ndarray [clients]

    References
    ----------
    Cochran (1977), "Sampling techniques", 3rd ed., section 9A.1: ratio to size of clusters.
    """
    held = rows > 0
    values, rows = values[held], rows[held]
    count = len(values)
    mean = float(rows @ values / rows.sum())
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    spread = math.sqrt(count / (count - 1) * float((rows**2) @ (values - mean) ** 2)) / float(rows.sum())
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * spread
    return Interval(mean, mean - half, mean + half)


def importance(runs: Sequence[Collected], features: Sequence[str]) -> list[dict[str, Any]]:
    """Return every feature's importance, the strongest first.

    Parameters
    ----------
    runs : sequence of collected answers, one a seed
    features : sequence of str

    Returns
    -------
    list of dict
        ``feature``; ``mean``, ``low``, ``high``, ``clients_std``, ``values`` (one a seed): increase in log-loss;
        ``accuracy``: the same of the drop in balanced accuracy; each other method of :data:`METHODS` as its mean over
        seeds; ``anova_p`` (largest over seeds); ``between_clients``: share of the training rows' variance that lies
        between clients, epsilon^2. Intervals are over seeds where there are at least two runs, else over clients.
    """
    measured = {method: [by_client(run, method) for run in runs] for method in OF_CLIENTS}
    filters = [_filters(run) for run in runs]
    rows = []
    for place, feature in enumerate(features):
        row: dict[str, Any] = {"feature": feature} | _measure(measured["loss"], place)
        row["accuracy"] = _measure(measured["accuracy"], place)
        for method in OF_CLIENTS[2:]:
            row[method] = float(np.mean([pooled(values, held)[place] for values, held in measured[method]]))
        row["anova-f"] = float(np.mean([found["anova-f"][place] for found in filters]))
        row["anova_p"] = float(np.max([found["anova_p"][place] for found in filters]))
        row["mutual-information"] = float(np.mean([found["mutual-information"][place] for found in filters]))
        row["between_clients"] = float(np.mean([found["between"][place] for found in filters]))
        rows.append(row)
    return sorted(rows, key=lambda row: -row["mean"])


def column_importance(
    runs: Sequence[Collected], features: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return every column's importance, the strongest first: a category's indicators are permuted as one.

    Parameters
    ----------
    runs : sequence of collected answers, one a seed
    features : sequence of str
    categories : mapping of str to sequence of str
        Values of the categorical columns.

    Returns
    -------
    list of dict
        ``column``; ``features``, those that it became; the rest as :func:`importance`, by permutation alone.
    """
    of = columns_by_feature(features, categories)
    alone = [place for place, column in enumerate(of) if column < 0]
    became = {features[place]: [features[place]] for place in alone}
    became |= {name: [f for f, own in zip(features, of, strict=True) if own == n] for n, name in enumerate(categories)}
    whole = [
        {
            "rows": run["rows"],
            "loss-increase": np.concatenate([run["loss-increase"][..., alone], run["column-loss-increase"]], axis=-1),
            "accuracy-drop": np.concatenate([run["accuracy-drop"][:, alone], run["column-accuracy-drop"]], axis=-1),
        }
        for run in runs
    ]
    loss, accuracy = ([by_client(run, method) for run in whole] for method in ("loss", "accuracy"))
    rows = [
        {"column": name, "features": parts} | _measure(loss, place) | {"accuracy": _measure(accuracy, place)}
        for place, (name, parts) in enumerate(became.items())
    ]
    return sorted(rows, key=lambda row: -row["mean"])


def _measure(runs: Sequence[tuple[Floats, Floats]], place: int) -> dict[str, Any]:
    values = [float(pooled(found, rows)[place]) for found, rows in runs]
    interval = t_interval(values) if len(runs) > 1 else over_clients(runs[0][0][:, place], runs[0][1])
    spread = [_spread(found[rows > 0, place]) for found, rows in runs]
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "clients_std": float(np.mean(spread)),
        "values": values,
    }


def _spread(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def class_moments(collected: Collected) -> Moments:
    """Return the training rows' moments by class [classes, features]."""
    return grouped(_cells(collected), axis=1)


def _cells(collected: Collected) -> Moments:
    return Moments(collected["class-count"], collected["class-mean"], collected["class-m2"])


def _filters(collected: Collected) -> dict[str, Floats]:
    f, p = anova_f(class_moments(collected))
    clients = grouped(_cells(collected), axis=0)
    return {
        "anova-f": f,
        "anova_p": p,
        "mutual-information": mutual_information(collected["histogram"]),
        "between": clients.between(),
    }


def rankings(collected: Collected) -> dict[str, Floats]:
    """Return each method's importance over all of a run's clients [features]."""
    found = {method: pooled(*by_client(collected, method)) for method in OF_CLIENTS}
    filters = _filters(collected)
    return found | {name: filters[name] for name in ("anova-f", "mutual-information")}


def agreement(runs: Sequence[Collected]) -> list[list[float]]:
    """Return the rank correlation of every two methods, mean over runs [methods, methods] (Spearman 1904)."""
    found = [rankings(run) for run in runs]
    return [
        [float(np.mean([rank_correlation(one[first], one[second]) for one in found])) for second in METHODS]
        for first in METHODS
    ]


def stability(runs: Sequence[Collected]) -> dict[str, float]:
    """Return how alike each method ranks the features from one seed to the next: mean of all pairs' rank correlation.

    With one run: from one client to the next, among those with at least :data:`FEW_ROWS` rows; nan below two of them,
    and for what is not measured at each client.
    """
    if len(runs) > 1:
        found = [rankings(run) for run in runs]
        return {method: _mean_of_pairs([one[method] for one in found]) for method in METHODS}
    enough = runs[0]["rows"].sum(1) >= FEW_ROWS
    own = {method: by_client(runs[0], method)[0][enough] for method in OF_CLIENTS}
    return {method: _mean_of_pairs(list(own.get(method, []))[:MOST_PAIRED]) for method in METHODS}


MOST_PAIRED = 100
"""Clients up to which every two are compared: of more, the first."""


def _mean_of_pairs(values: Sequence[Floats]) -> float:
    pairs = [rank_correlation(values[first], values[second]) for first in range(len(values)) for second in range(first)]
    known = [pair for pair in pairs if math.isfinite(pair)]
    return float(np.mean(known)) if known else math.nan


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation; nan where either does not vary or there are fewer than two features."""
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return math.nan
    return float(stats.spearmanr(first, second).statistic)
