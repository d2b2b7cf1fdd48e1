"""Datasets: what there is to learn from, as features and labels with names."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefed.categories import columns_of, parsed_categories
from edgefed.contradictions import synthetic_parameters
from edgefed.data.csv_file import read_csv
from edgefed.errors import SettingsError, is_gone, shown, unknown
from edgefed.plugins import Registry
from edgefed.rng import stream
from edgefed.schema import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.empty_cells import EmptyCells


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
    categories : mapping of str to tuple of str
        Column -> values, of the columns whose indicators stand among the features as ``column=value``.
    empty : tuple of EmptyCells
        Columns of a file with cells that ``missing=mean`` fills.
    label_name : str
        The file's label column; empty where there is no file.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    clients: NDArray[np.int64] | None = None
    client_names: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    empty: tuple[EmptyCells, ...] = ()
    label_name: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the features come from."""
        return columns_of(self.feature_names, self.categories)

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


def fcube(config: FederationConfig) -> Dataset:
    """5,000 points of a cube, 2 classes by the sign of x1; its own 4 clients: partition=natural (Li et al. 2022).

    FCUBE of NIID-Bench: points uniform in [-1, 1]^3, as many in each octant. A client holds two octants that are
    symmetric about the origin, so clients differ in features and agree in labels. With ``test-fraction=0.2`` and
    ``validation-fraction=0`` there are 4,000 training and 1,000 test rows. The points are the same under every seed,
    which varies their split.

    References
    ----------
    Li, Diao, Chen, He (2022), "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE.
    """
    signs = np.array(list(itertools.product((1, -1), repeat=3)))
    points = signs[:, None, :] * stream(0, "fcube").random((8, 625, 3))
    octants = np.repeat(np.arange(8), 625)
    return Dataset(
        features=points.reshape(-1, 3).astype(np.float32),
        labels=octants // 4,  # the first four octants have x1 > 0
        feature_names=("x1", "x2", "x3"),
        class_names=("positive", "negative"),
        clients=np.minimum(octants, 7 - octants),  # octant 7 - o lies opposite octant o
        client_names=("+++ and ---", "++- and --+", "+-+ and -+-", "+-- and -++"),
    )


#: Features and classes of Synthetic(alpha, beta), and how many clients it has.
_SYNTHETIC_FEATURES, _SYNTHETIC_CLASSES, _SYNTHETIC_CLIENTS = 60, 10, 30


def fedprox_synthetic(config: FederationConfig) -> Dataset:
    """30 clients' points of 60 features, 10 classes; synthetic=1,1 or iid; use partition=natural (Li et al. 2020).

    Synthetic(alpha, beta) of FedProx. Client k has n_k = int(lognormal(4, 2)) + 50 rows and, with u_k ~ N(0, alpha)
    and B_k ~ N(0, beta), second arguments standard deviations as in the authors' code:

        v_k ~ N(B_k, 1)^60,  x ~ N(v_k, Sigma) with Sigma_jj = j^-1.2,
        W_k [60, 10], b_k [10] ~ N(u_k, 1),  y = argmax(x W_k + b_k)

    ``iid`` shares one W, b ~ N(0, 1) and v = 0. The rows are the same under every seed, which varies their split.

    References
    ----------
    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith (2020), "Federated optimization in heterogeneous networks", MLSys.
    """
    alpha, beta = synthetic_parameters(config.synthetic)
    iid = config.synthetic == "iid"
    rng = stream(0, "fedprox-synthetic")
    sizes = rng.lognormal(4, 2, _SYNTHETIC_CLIENTS).astype(np.int64) + 50
    spread = np.sqrt(np.arange(1, _SYNTHETIC_FEATURES + 1) ** -1.2)
    shape = (_SYNTHETIC_FEATURES, _SYNTHETIC_CLASSES)
    shared = rng.normal(0, 1, shape), rng.normal(0, 1, _SYNTHETIC_CLASSES)
    features, labels = [], []
    for size in sizes.tolist():
        # Drawn whatever the parameters are, so that they alone make two sets differ.
        centre, shift = beta * rng.normal(), alpha * rng.normal()
        mean = np.zeros(_SYNTHETIC_FEATURES) if iid else centre + rng.normal(0, 1, _SYNTHETIC_FEATURES)
        own = shift + rng.normal(0, 1, shape), shift + rng.normal(0, 1, _SYNTHETIC_CLASSES)
        weights, bias = shared if iid else own
        rows = mean + spread * rng.normal(0, 1, (size, _SYNTHETIC_FEATURES))
        features.append(rows)
        labels.append((rows @ weights + bias).argmax(1))
    return Dataset(
        features=np.concatenate(features).astype(np.float32),
        labels=np.concatenate(labels).astype(np.int64),
        feature_names=tuple(f"x{place}" for place in range(1, _SYNTHETIC_FEATURES + 1)),
        class_names=tuple(str(label) for label in range(_SYNTHETIC_CLASSES)),
        clients=np.repeat(np.arange(_SYNTHETIC_CLIENTS), sizes),
        client_names=tuple(f"client {place}" for place in range(_SYNTHETIC_CLIENTS)),
    )


def csv(config: FederationConfig) -> Dataset:
    """Your own CSV file: data-path, label-column, client-column, drop-columns, categories."""
    path = Path(config.data_path)
    if is_gone(path):
        where = "" if path.is_absolute() else ", looked for from the current folder"
        raise SettingsError(
            f"{path}: no such file (the setting data-path{where}); -s data-path=FILE.csv says where it is now"
        )
    table = read_csv(
        config.data_path,
        label=config.label_column,
        client=config.client_column,
        features=listed(config.feature_columns),
        drop=listed(config.drop_columns),
        categories=parsed_categories(config.categories),
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
        table.categories,
        table.empty,
        table.label_name,
    )


def devices(config: FederationConfig) -> Dataset:
    """Rows that real devices hold, each its own file: edgefed launch trains on them there."""
    raise SettingsError(
        "dataset=devices: the rows lie on the devices, and edgefed launch trains on them there; "
        "a simulation needs a dataset of its own, as dataset=csv data-path=FILE.csv"
    )


DATASETS: Registry[Callable[[FederationConfig], Dataset]] = Registry(
    "edgefed.datasets",
    {
        "iris": iris,
        "wine": wine,
        "breast-cancer": breast_cancer,
        "digits": digits,
        "fcube": fcube,
        "fedprox-synthetic": fedprox_synthetic,
        "csv": csv,
        "devices": devices,
    },
)


LOADED_BY = (
    *("dataset", "data_path", "label_column", "client_column", "feature_columns", "drop_columns"),
    *("categories", "classes", "missing", "synthetic"),
)
"""Settings that a dataset of edgefed's own goes by."""


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
    if config.dataset not in DATASETS.own and (problem := _problem(dataset, config)):
        raise SettingsError(f"dataset={config.dataset} returned {problem}")
    wanted = listed(config.classes)
    if config.dataset == "csv" or not wanted:
        return dataset
    return _reordered(dataset, wanted)


def same_rows(one: FederationConfig, other: FederationConfig) -> bool:
    """Return whether two settings lead to the same rows; of a plug-in's dataset only it knows what it goes by."""
    return one.dataset in DATASETS.own and all(getattr(one, name) == getattr(other, name) for name in LOADED_BY)


def _reordered(dataset: Dataset, wanted: tuple[str, ...]) -> Dataset:
    given = f"classes={shown(','.join(wanted))}"
    for name in wanted:
        if name not in dataset.class_names:
            raise SettingsError(f"{given}: {unknown('class', name, dataset.class_names)}")
    for name in dataset.class_names:
        if name not in wanted:
            raise SettingsError(f"{given}: the data also hold the class '{name}', expected all of them")
    positions = np.array([wanted.index(name) for name in dataset.class_names])
    return replace(dataset, labels=positions[dataset.labels], class_names=wanted)


def _problem(found: object, config: FederationConfig) -> str:
    """Return why what a plug-in returned cannot be learnt from; empty text where it can."""
    if not isinstance(found, Dataset):
        return f"{type(found).__name__}, expected edgefed.data.datasets.Dataset"
    features, labels = np.asarray(found.features), np.asarray(found.labels)
    if features.dtype != np.float32 or features.ndim != 2:
        return f"features as {features.dtype} {features.shape}, expected float32 [rows, features]"
    if features.shape != (len(labels), len(found.feature_names)):
        return f"features {features.shape} for {len(labels)} labels and {len(found.feature_names)} feature_names"
    if np.isinf(features).any() or (config.missing != "mean" and np.isnan(features).any()):
        return "features that are not finite (nan stands for an empty cell under missing=mean)"
    if len(found.class_names) < 2 or not _indices(labels, len(labels), len(found.class_names)):
        return "labels that are not int64 indices into at least two class_names"
    if found.clients is not None and not _indices(found.clients, len(labels), len(found.client_names)):
        return "clients that are not int64 indices into client_names, one a row"
    return ""


def _indices(values: NDArray[np.int64], rows: int, names: int) -> bool:
    """Return whether there is an index into so many names for each row."""
    fits = values.shape == (rows,) and values.dtype == np.int64
    return fits and bool(((values >= 0) & (values < names)).all())
