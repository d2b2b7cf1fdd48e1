"""Datasets: what there is to learn from, as features and labels with names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefed.config import listed
from edgefed.data.csv_file import read_csv
from edgefed.errors import SettingsError, shown, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig


@dataclass(frozen=True)
class Dataset:
    """Rows to learn from.

    Attributes
    ----------
    features : float32 ndarray [rows, features]
        NaN where a cell was empty (``missing=mean`` only).
    labels : int64 ndarray [rows]
        Indices into ``class_names``.
    feature_names, class_names : tuple of str
    clients : int64 ndarray [rows] or None
        Index into ``client_names`` of the client that each row belongs to, where the data say so.
    client_names : tuple of str
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    clients: NDArray[np.int64] | None = None
    client_names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes, those without rows included."""
        return len(self.class_names)


def _scikit_learn(name: str) -> Dataset:
    # scikit-learn's loaders take a second to import: only when asked for.
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return Dataset(
        features=np.ascontiguousarray(bunch.data, np.float32),
        labels=np.asarray(bunch.target, np.int64),
        feature_names=tuple(str(feature) for feature in bunch.feature_names),
        class_names=tuple(str(label) for label in bunch.target_names),
    )


def iris(config: FederationConfig) -> Dataset:
    """150 flowers, 4 measures, 3 species (Fisher 1936)."""
    return _scikit_learn("iris")


def wine(config: FederationConfig) -> Dataset:
    """178 wines, 13 chemical measures, 3 cultivars (Aeberhard & Forina 1991)."""
    return _scikit_learn("wine")


def breast_cancer(config: FederationConfig) -> Dataset:
    """569 tumours, 30 measures of cell nuclei, malignant or benign (Wolberg et al. 1993)."""
    return _scikit_learn("breast_cancer")


def digits(config: FederationConfig) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, 10 classes (Alpaydin & Kaynak 1998)."""
    return _scikit_learn("digits")


def csv(config: FederationConfig) -> Dataset:
    """Your own CSV file: data-path, label-column, client-column, drop-columns."""
    table = read_csv(
        config.data_path,
        label=config.label_column,
        client=config.client_column,
        features=listed(config.feature_columns),
        drop=listed(config.drop_columns),
        classes=listed(config.classes),
        allow_missing=config.missing == "mean",
    )
    return Dataset(
        table.features,
        table.labels,
        table.feature_names,
        table.class_names,
        table.clients,
        table.client_names,
    )


DATASETS: dict[str, Callable[[FederationConfig], Dataset]] = {
    "iris": iris,
    "wine": wine,
    "breast-cancer": breast_cancer,
    "digits": digits,
    "csv": csv,
}


def fingerprint(dataset: Dataset) -> str:
    """Return SHA-256 of a dataset's features, labels and clients: what a folder that is gone on with must share."""
    digest = hashlib.sha256(np.ascontiguousarray(dataset.features).tobytes())
    digest.update(dataset.labels.tobytes())
    digest.update(b"" if dataset.clients is None else dataset.clients.tobytes())
    return digest.hexdigest()


def load(config: FederationConfig) -> Dataset:
    """Load the dataset that the settings name, classes in the order that they name.

    Raises
    ------
    SettingsError
        For a CSV file that cannot be used, or ``classes`` that do not match the data.
    """
    dataset = DATASETS[config.dataset](config)
    wanted = listed(config.classes)
    if config.dataset == "csv" or not wanted:
        return dataset
    return _reordered(dataset, wanted)


def _reordered(dataset: Dataset, wanted: tuple[str, ...]) -> Dataset:
    given = f"classes={shown(','.join(wanted))}"
    for name in wanted:
        if name not in dataset.class_names:
            raise SettingsError(f"{given}: {unknown('class', name, dataset.class_names)}")
    for name in dataset.class_names:
        if name not in wanted:
            raise SettingsError(f"{given}: the data also hold the class '{name}', expected all of them")
    positions = np.array([wanted.index(name) for name in dataset.class_names])
    return Dataset(dataset.features, positions[dataset.labels], dataset.feature_names, wanted)
