"""The datasets: shapes, names, and classes in the order asked for."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from edgefed.config import FederationConfig
from edgefed.data.datasets import DATASETS, LOADED_BY, load
from edgefed.errors import SettingsError

ROWS_OF_CLASSES = {
    "iris": {"setosa": 50, "versicolor": 50, "virginica": 50},
    "wine": {"class_0": 59, "class_1": 71, "class_2": 48},
    "breast-cancer": {"malignant": 212, "benign": 357},
    "digits": dict(zip("0123456789", (178, 182, 177, 183, 181, 182, 181, 179, 174, 180), strict=True)),
}
FEATURES = {"iris": 4, "wine": 13, "breast-cancer": 30, "digits": 64}


@pytest.mark.parametrize("name", ROWS_OF_CLASSES)
def test_a_built_in_dataset_is_scikit_learns(name: str) -> None:
    dataset = load(FederationConfig(dataset=name))
    counts = np.bincount(dataset.labels, minlength=dataset.num_classes)
    assert dict(zip(dataset.class_names, counts.tolist(), strict=True)) == ROWS_OF_CLASSES[name]
    assert dataset.features.shape == (counts.sum(), FEATURES[name])
    assert [dataset.features.dtype.name, dataset.labels.dtype.name] == ["float32", "int64"]
    assert len(set(dataset.feature_names)) == FEATURES[name]
    assert (dataset.clients, dataset.client_names) == (None, ())
    original = getattr(sklearn.datasets, "load_" + name.replace("-", "_"))()
    np.testing.assert_array_equal(dataset.features, original.data.astype(np.float32))
    np.testing.assert_array_equal(dataset.labels, original.target)


def test_every_other_dataset_has_tests_of_its_own() -> None:
    assert set(DATASETS.own) == {*ROWS_OF_CLASSES, "fcube", "fedprox-synthetic", "csv", "devices"}


def test_fishers_first_flower() -> None:
    iris = load(FederationConfig())
    np.testing.assert_array_equal(iris.features[0], np.array([5.1, 3.5, 1.4, 0.2], np.float32))
    assert iris.feature_names[0] == "sepal length (cm)"


def test_classes_in_the_order_asked_for() -> None:
    plain = load(FederationConfig())
    turned = load(FederationConfig(classes="virginica, setosa, versicolor"))
    assert turned.class_names == ("virginica", "setosa", "versicolor")
    np.testing.assert_array_equal(
        np.array(turned.class_names)[turned.labels], np.array(plain.class_names)[plain.labels]
    )
    np.testing.assert_array_equal(turned.features, plain.features)


def test_rows_keep_their_clients_whatever_the_order_of_classes() -> None:
    plain, turned = (
        load(FederationConfig(dataset="fcube")),
        load(FederationConfig(dataset="fcube", classes="negative,positive")),
    )
    np.testing.assert_array_equal(turned.labels, 1 - plain.labels)
    assert (turned.clients == plain.clients).all()
    assert turned.client_names == plain.client_names


def test_classes_that_the_data_do_not_hold() -> None:
    with pytest.raises(SettingsError, match="unknown class 'rosa': did you mean setosa"):
        load(FederationConfig(classes="rosa,setosa,versicolor,virginica"))


def test_csv_passes_on_every_setting(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id,b,y,a,site\n1,2,v,,n\n2,4,u,5,s\n3,6,v,7,n\n")
    config = FederationConfig(
        dataset="csv",
        data_path=str(path),
        label_column="y",
        client_column="site",
        feature_columns="a,b",
        drop_columns="id",
        classes="v,w,u",
        missing="mean",
    )
    dataset = load(config)
    np.testing.assert_array_equal(dataset.features, np.array([[np.nan, 2], [5, 4], [7, 6]], np.float32))
    assert dataset.feature_names == ("a", "b")
    assert (dataset.labels.tolist(), dataset.class_names, dataset.num_classes) == ([0, 2, 0], ("v", "w", "u"), 3)
    assert dataset.clients is not None
    assert (dataset.clients.tolist(), dataset.client_names) == ([0, 1, 0], ("n", "s"))


class Recording:
    """Settings that note which of them are read."""

    def __init__(self, config: FederationConfig, read: set[str]) -> None:
        self._config, self._read = config, read

    def __getattr__(self, name: str) -> object:
        self._read.add(name)
        return getattr(self._config, name)


def test_rows_are_the_same_where_the_settings_that_loaders_read_are(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,y\n1,v\n2,u\n")
    read: set[str] = set()
    for name in set(DATASETS.own) - {"devices"}:
        load(Recording(FederationConfig(dataset=name, data_path=str(path) if name == "csv" else ""), read))
    assert read == set(LOADED_BY)
