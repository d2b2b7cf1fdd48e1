"""What a client answers when a model is to be explained: sums and means over its own rows, never a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from flwr.app import ConfigRecord

from edgefed.categories import columns_among
from edgefed.imbalance import REMEDIES
from edgefed.learning.attribution import integrated_gradients, probabilities, shap_values
from edgefed.learning.importance import permutation_importance
from edgefed.rng import counter_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgefed.data.partition import Partition
    from edgefed.federation.clients import Clients
    from edgefed.federation.guidance import Guidance

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Columns = dict[str, NDArray[np.generic]]

CLASS_MOMENTS, EXPLAIN = "class_moments", "explain"
"""Actions of the query messages, whose types are ``query.class_moments`` and ``query.explain``."""
DECIMALS = 9
"""Answers are rounded: a product of matrices is not the same to the last bit for one client's rows and for many."""
_ROWS_DRAWN, _BACKGROUND_DRAWN, _ORDERS_DRAWN, _PERMUTED = 0, 1, 2, 3
"""Places of the stream ``explanation`` in which rounds stand elsewhere; permutation r is round ``_PERMUTED`` + r."""


@dataclass(frozen=True)
class Question:
    """What a client is asked of a model.

    Attributes
    ----------
    held_out : bool
        Explain the rows that clients never train on; else their training rows.
    repeats : int
        Permutations of each feature.
    attributed : int
        Rows of a client whose predictions are attributed to features, at most.
    background : int
        The client's own training rows that SHAP values compare each row to, at most.
    categorical : tuple of int
        For each feature the number of the column that it is an indicator of, -1 where of none: each such column is
        permuted as a whole as well. Neutral: there is none.
    """

    held_out: bool
    repeats: int
    attributed: int
    background: int
    categorical: tuple[int, ...] = ()

    @property
    def amounts(self) -> dict[str, int | bool]:
        """Which rows, and how many of what."""
        return {key: value for key, value in asdict(self).items() if key != "categorical"}

    def config(self, edges: Floats) -> ConfigRecord:
        """Return the question as a message carries it; ``edges`` [features, bins - 1] cut features into bins."""
        columns = {"categorical": list(self.categorical)} if self.categorical else {}
        return ConfigRecord({**self.amounts, **columns, "edges": edges.ravel().tolist()})

    @classmethod
    def read(cls, config: ConfigRecord, features: int) -> tuple[Question, Floats]:
        """Return the question and the edges that a message carries."""
        asked: Any = config
        edges = np.array(asked["edges"], np.float64).reshape(features, -1)
        repeats, attributed, background = (int(asked[key]) for key in ("repeats", "attributed", "background"))
        categorical = tuple(asked.get("categorical", ()))
        return cls(bool(asked["held_out"]), repeats, attributed, background, categorical), edges


def class_moments(clients: Clients, which: Ints) -> Columns:
    """Return additive statistics of some clients' training rows by class, for an analysis of variance.

    ``count``, ``mean`` and ``m2`` [chosen, classes * features]: rows of the class that have the feature, their mean and
    sum of squared deviations, in the data's own units and float64.
    """
    shards = clients.shards
    rows = shards.train.take(which)
    values = shards.features[rows.indices].astype(np.float64)
    real = ~np.isnan(values)
    values = np.where(real, values, 0.0)
    cell = _owner(rows) * shards.num_classes + shards.labels[rows.indices]
    cells = len(which) * shards.num_classes
    count = _sums(real.astype(np.float64), cell, cells)
    mean = _sums(values, cell, cells) / np.maximum(count, 1)
    deviation = np.where(real, values - mean[cell], 0.0)
    m2 = _sums(deviation * deviation, cell, cells)
    return {name: part.reshape(len(which), -1) for name, part in (("count", count), ("mean", mean), ("m2", m2))}


def explain(
    clients: Clients, guidance: Guidance, which: Ints, params: torch.Tensor, question: Question, edges: Floats
) -> Columns:
    """Return what some clients say of a model, a client a row; C classes, F features.

    ``rows`` [C], ``loss`` [C] and ``loss-increase`` [C * F] are sums over the explained rows of a class,
    ``balanced-accuracy`` and ``accuracy-drop`` [F] means (see :class:`~edgefed.learning.importance.Importance`);
    ``column-loss-increase`` and ``column-accuracy-drop`` are the same of categorical columns, where there are any.
    ``attributed`` [C] counts rows, ``integrated-gradients`` and ``shap`` [C * F] are sums over them of absolute
    attributions of the probability of the row's own class. ``histogram`` [F * bins * C] counts training rows.
    """
    shards, columns = clients.shards, columns_among(question.categorical)
    rows = (shards.held_out if question.held_out else shards.train).take(which)
    ready = _Ready.of(clients, guidance, which, params, rows)
    importance = permutation_importance(
        ready.logits,
        ready.features,
        ready.labels,
        ready.owner,
        len(which),
        shards.num_classes,
        ready.permutations(question.repeats),
        [np.flatnonzero(np.array(question.categorical) == column) for column in range(columns)],
    )
    increase, drop = (np.round(part, DECIMALS) for part in (importance.loss_increase, importance.accuracy_drop))
    width = increase.shape[-1] - columns
    attributed, ig, shap = _attributions(ready, question)
    flat = (len(which), -1)
    return {
        "rows": importance.rows,
        "loss": np.round(importance.loss, DECIMALS),
        "balanced-accuracy": np.round(importance.balanced_accuracy, DECIMALS),
        "loss-increase": increase[..., :width].reshape(flat),
        "accuracy-drop": drop[:, :width],
        **(
            {"column-loss-increase": increase[..., width:].reshape(flat), "column-accuracy-drop": drop[:, width:]}
            if columns
            else {}
        ),
        "attributed": attributed,
        "integrated-gradients": np.round(ig, DECIMALS).reshape(flat),
        "shap": np.round(shap, DECIMALS).reshape(flat),
        "histogram": _histogram(clients, guidance, which, edges).reshape(flat),
    }


@dataclass(frozen=True)
class _Ready:
    """Some clients' rows, standardised, under a model."""

    clients: Clients
    guidance: Guidance
    which: Ints
    rows: Partition
    features: Floats
    labels: Ints
    owner: Ints
    params: torch.Tensor
    shift: Floats

    @classmethod
    def of(cls, clients: Clients, guidance: Guidance, which: Ints, params: torch.Tensor, rows: Partition) -> _Ready:
        classes = clients.shards.num_classes
        return cls(
            clients=clients,
            guidance=guidance,
            which=which,
            rows=rows,
            features=clients.standardized(rows, guidance, clients.shards.train.take(which)),
            labels=clients.shards.labels[rows.indices],
            owner=_owner(rows),
            params=params.double().cpu(),
            shift=REMEDIES[clients.config.imbalance](clients.config).prediction_shift(guidance.class_counts, classes),
        )

    def logits(self, features: Floats) -> Floats:
        model = self.clients.model
        with torch.no_grad():
            found = model.forward(model.unpack(self.params), torch.from_numpy(features))[0].numpy()
        return np.asarray(found + self.shift)

    def permutations(self, repeats: int) -> Iterator[Ints]:
        """Yield orders of the rows in which each client's stay its own."""
        for repeat in range(repeats):
            yield np.lexsort((self.keys(_PERMUTED + repeat, self.rows), self.owner))

    def keys(self, place: int, rows: Partition) -> NDArray[np.uint64]:
        """Return a random key for each row of each client, named by the client and the row's place in it."""
        owner = _owner(rows)
        position = np.arange(len(owner)) - rows.offsets[owner]
        return counter_keys(
            self.clients.config.seed, "explanation", place, self.clients.shards.ids[self.which][owner], position
        )

    def drawn(self, place: int, rows: Partition, most: int) -> Ints:
        """Return places in ``rows`` of at most so many of each client, ascending."""
        owner = _owner(rows)
        order = np.lexsort((self.keys(place, rows), owner))
        return np.sort(order[np.arange(len(owner)) - rows.offsets[owner] < most])

    def module(self) -> torch.nn.Module:
        module = self.clients.model.module().double()
        weights = self.clients.model.state_dict(self.params.numpy())
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
        return module


def _attributions(ready: _Ready, question: Question) -> tuple[Ints, Floats, Floats]:
    """Return rows attributed [chosen, C] and summed absolute attributions [chosen, C, F] of the two methods."""
    shards, count = ready.clients.shards, len(ready.which)
    classes, width = shards.num_classes, ready.features.shape[1]
    chosen = ready.drawn(_ROWS_DRAWN, ready.rows, question.attributed)
    train = shards.train.take(ready.which)
    background_rows = ready.drawn(_BACKGROUND_DRAWN, train, question.background)
    background = ready.clients.standardized(train, ready.guidance, train)[background_rows]
    holders = np.bincount(_owner(train)[background_rows], minlength=count)
    chosen = chosen[holders[ready.owner[chosen]] > 0]
    nothing = np.zeros((count, classes, width))
    if not len(chosen):
        return np.zeros((count, classes), np.int64), nothing, nothing.copy()
    rows, labels, owner = ready.features[chosen], ready.labels[chosen], ready.owner[chosen]
    first = np.concatenate([[0], np.cumsum(holders)])
    of_row = np.repeat(np.arange(len(chosen)), holders[owner])
    begins = np.concatenate([[0], np.cumsum(holders[owner])])[:-1]
    of_background = np.arange(len(of_row)) - begins[of_row] + first[owner][of_row]
    mean = _sums(background, _owner(train)[background_rows], count) / np.maximum(holders, 1)[:, None]
    model = probabilities(ready.module(), ready.shift)
    ig = integrated_gradients(model, rows, mean[owner], labels)
    order_seed = int(counter_keys(ready.clients.config.seed, "explanation", _ORDERS_DRAWN, 0, 0) >> np.uint64(1))
    shap = shap_values(model, rows, background, (of_row, of_background), labels, order_seed)
    cell = owner * classes + labels
    cells = count * classes
    attributed = np.bincount(cell, minlength=cells).reshape(count, classes)
    ig_sum, shap_sum = (_sums(np.abs(part), cell, cells).reshape(nothing.shape) for part in (ig, shap))
    return attributed, ig_sum, shap_sum


def _histogram(clients: Clients, guidance: Guidance, which: Ints, edges: Floats) -> Ints:
    """Return how many training rows of each class lie in each bin of each feature [chosen, F, bins, C].

    An empty cell counts as the mean, which training puts there.
    """
    shards = clients.shards
    rows = shards.train.take(which)
    values = shards.features[rows.indices].astype(np.float64)
    values = np.where(np.isnan(values), guidance.mean, values)
    width, bins = edges.shape[0], edges.shape[1] + 1
    cell = _owner(rows) * shards.num_classes + shards.labels[rows.indices]
    found = np.zeros((width, len(which) * shards.num_classes * bins), np.int64)
    for feature in range(width):
        place = np.searchsorted(edges[feature], values[:, feature], side="right")
        found[feature] = np.bincount(cell * bins + place, minlength=found.shape[1])
    return found.reshape(width, len(which), shards.num_classes, bins).transpose(1, 0, 3, 2)


def _owner(rows: Partition) -> Ints:
    return np.repeat(np.arange(len(rows)), rows.sizes)


def _sums(values: Floats, cell: Ints, cells: int) -> Floats:
    """Return sums over the rows of each cell [cells, columns]."""
    return np.stack([np.bincount(cell, column, minlength=cells) for column in values.T], axis=1)
