"""The federated model as a scikit-learn classifier: for its displays, its searches, its pipelines."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from edgefed.api.assembly import in_process
from edgefed.categories import parsed_categories
from edgefed.config import FederationConfig
from edgefed.data.datasets import Dataset
from edgefed.data.frame import feature_rows, is_frame
from edgefed.data.partition import from_owners, partition
from edgefed.data.shards import FederatedData, Shards
from edgefed.data.split import Split
from edgefed.engines import make_engine
from edgefed.federation.components import model_of
from edgefed.federation.query import query
from edgefed.federation.rounds import run_rounds
from edgefed.learning.metrics import log_softmax
from edgefed.runs import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from edgefed.data.partition import Partition

    Floats = NDArray[np.float64]


FILLED_BY = "fill the cell, or give the rows to edgefed.predict, which fills it where the run had missing=mean"


class FederatedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multilayer perceptron that simulated clients train together, behind scikit-learn's interface.

    All parameters are settings of :class:`edgefed.FederationConfig` under their own names, with the same defaults.
    All rows given to :meth:`fit` are trained on: what is held out is for the caller to say.

    Attributes
    ----------
    classes_ : ndarray [classes]
    n_features_in_ : int
    feature_names_in_ : object ndarray [features]
        Where :meth:`fit` was given a data frame, and the features of a run's model.
    weights_ : float64 ndarray [parameters]
        The trained weights, flat in ``state_dict`` order.
    mean_, scale_ : float64 ndarray [features]
        The model sees (x - mean) / scale.
    logit_shift_ : float64 ndarray [classes]
        Added to the logits: what the remedy does when predicting.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> FederatedClassifier(partition="iid", num_server_rounds=10).fit(X, y).score(X, y) > 0.8
    True
    """

    def __init__(
        self,
        *,
        num_clients: int = 10,
        partition: str = "dirichlet",
        alpha: float = 0.3,
        classes_per_client: int = 2,
        shards_per_client: int = 2,
        min_rows: int = 0,
        standardize: str = "federated",
        seed: int = 0,
        hidden: str = "16",
        activation: str = "relu",
        loss: str = "cross-entropy",
        optimizer: str = "sgd",
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        batch_size: int = 10,
        local_epochs: int = 5,
        proximal_mu: float = 0.0,
        imbalance: str = "none",
        imbalance_options: str = "",
        num_server_rounds: int = 50,
        fraction_train: float = 1.0,
        dtype: str = "float32",
    ) -> None:
        self.num_clients = num_clients
        self.partition = partition
        self.alpha = alpha
        self.classes_per_client = classes_per_client
        self.shards_per_client = shards_per_client
        self.min_rows = min_rows
        self.standardize = standardize
        self.seed = seed
        self.hidden = hidden
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.local_epochs = local_epochs
        self.proximal_mu = proximal_mu
        self.imbalance = imbalance
        self.imbalance_options = imbalance_options
        self.num_server_rounds = num_server_rounds
        self.fraction_train = fraction_train
        self.dtype = dtype

    @classmethod
    def from_run(cls, run: Run | str | Path) -> FederatedClassifier:
        """Return a finished run's model as a fitted classifier; its classes are the run's class names.

        Rows have the run's features in its order; scikit-learn refuses a data frame in another. Where the run had
        categories, a data frame's columns go by their names, in any order, and hold text, as for
        :func:`edgefed.predict`. Empty cells are refused: that function fills them.
        """
        run = run if isinstance(run, Run) else Run.read(run)
        known = run.manifest["prediction"]
        names = [name for name in cls().get_params() if name != "seed"]
        found = cls(**{name: getattr(run.config, name) for name in names}, seed=run.config.seed)
        found._learned(
            run.config,
            np.array(run.manifest["classes"]),
            np.concatenate([array.ravel() for array in run.weights.values()]).astype(np.float64),
            (np.array(known["mean"]), np.array(known["scale"]), known["standardized"]),
            np.array(known["logit_shift"]),
        )
        found.feature_names_in_ = np.array(run.manifest["features"], object)
        found._run_categories = parsed_categories(run.config.categories)
        return found

    def fit(self, X: ArrayLike, y: ArrayLike, clients: ArrayLike | None = None) -> FederatedClassifier:
        """Train on rows that clients hold.

        Parameters
        ----------
        X : array_like [rows, features]
        y : array_like [rows]
        clients : array_like [rows], optional
            Whose each row is, by any name. Neutral: dealt out to ``num_clients`` by ``partition``.

        Raises
        ------
        ValueError
            For rows or settings that cannot be used, in one line.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("FederatedClassifier needs rows of at least two classes; y holds one class")
        config = self._config()
        owners = None
        if clients is not None:
            check_consistent_length(X, clients)
            named, owners = np.unique(column_or_1d(clients), return_inverse=True)
            config = config.replace(num_clients=len(named), partition="iid", min_rows=0)
        labels = labels.astype(np.int64)
        train = partition(labels, config) if owners is None else from_owners(owners, config.num_clients)
        data = _all_to_train_on(np.ascontiguousarray(X, np.float32), labels, len(self.classes_), train)
        engine = make_engine("batched")
        federation = in_process(config, data, engine)
        query([federation], engine.exchange, [range(config.num_clients)])
        run_rounds([federation], engine.exchange)
        told = federation.guidance
        self._learned(
            config,
            self.classes_,
            federation.weights.astype(np.float64),
            (told.mean, told.scale, config.standardize != "none"),
            federation.prediction_shift,
        )
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Return class probabilities [rows, classes], in float64.

        Raises
        ------
        ValueError
            In one line, for rows without the features that the model learned from, or without values of theirs.
        """
        check_is_fitted(self, "weights_")
        X = self._rows(X)
        x = (np.asarray(X, np.float64) - self.mean_) / self.scale_
        model = self._model
        with torch.no_grad():
            layers = model.unpack(torch.from_numpy(self.weights_))
            logits = model.forward(layers, torch.from_numpy(x))[0].numpy()
        return np.exp(log_softmax(logits + self.logit_shift_))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return each row's most probable class [rows]."""
        check_is_fitted(self, "weights_")
        return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])

    def _rows(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return rows as numbers [rows, features]."""
        if self._run_categories and is_frame(X):
            names = self.feature_names_in_.tolist()
            X = feature_rows(X, names, categories=self._run_categories, allow_missing=False, else_said=FILLED_BY)
        with warnings.catch_warnings():
            if self._run_categories is not None and not is_frame(X):
                # A run's features are always named; an array in their order is as good as edgefed.predict's.
                warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return np.asarray(validate_data(self, X, reset=False, dtype=np.float32))

    def _config(self) -> FederationConfig:
        rounds = self.num_server_rounds
        return FederationConfig(
            **self.get_params(), validation_fraction=0.0, client_test_fraction=0.0, evaluate_every=rounds
        )

    def _learned(
        self, config: FederationConfig, classes: NDArray[Any], weights: Floats, scaler: Any, shift: Floats
    ) -> None:
        mean, scale, standardized = scaler
        self.classes_ = classes
        self.n_features_in_ = len(mean)
        self.mean_ = mean if standardized else np.zeros(len(mean))
        self.scale_ = scale if standardized else np.ones(len(mean))
        self.logit_shift_ = shift
        self.weights_ = weights
        self._run_categories: Mapping[str, Sequence[str]] | None = None
        self._model = model_of(config, len(mean), len(classes))


def _all_to_train_on(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, train: Partition
) -> FederatedData:
    nothing = np.empty(0, np.int64)
    dataset = Dataset(
        features=features,
        labels=labels,
        feature_names=tuple(f"x{place}" for place in range(features.shape[1])),
        class_names=tuple(str(label) for label in range(classes)),
    )
    nobody = from_owners(nothing, len(train))
    shards = Shards(features, labels, train, nobody, np.arange(len(train)), classes)
    return FederatedData(dataset, Split(np.arange(len(labels)), nothing, nothing, nothing), shards)
