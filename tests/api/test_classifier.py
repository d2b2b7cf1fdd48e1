"""FederatedClassifier: scikit-learn's own checks, and the same model as a run's."""

import re

import numpy as np
import pandas as pd
import pytest
from federations import settings
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator

import edgefed
from edgefed import FederatedClassifier
from edgefed.api import predict
from edgefed.data.shards import federate

QUICK = {"num_server_rounds": 12, "local_epochs": 4}
CHECKS = list(estimator_checks_generator(FederatedClassifier(**QUICK)))


@pytest.mark.parametrize("check", CHECKS, ids=[getattr(check, "func", check).__name__ for _, check in CHECKS])
def test_scikit_learns_checks(check):
    estimator, run = check
    run(estimator)


def test_there_are_checks():
    assert len(CHECKS) > 40


@pytest.mark.parametrize("remedy", ["none", "post-hoc"])
def test_a_runs_model_predicts_as_the_run_does(remedy):
    run = edgefed.run(settings(imbalance=remedy), progress=False)
    rows = federate(run.config)[1].dataset.features

    model = FederatedClassifier.from_run(run)

    np.testing.assert_allclose(model.predict_proba(rows), predict(run, rows), atol=1e-6)
    assert model.classes_.tolist() == run.manifest["classes"]
    assert set(model.predict(rows)) <= set(run.manifest["classes"])


def test_a_runs_model_takes_a_frame_by_its_names():
    run = edgefed.run(settings(num_server_rounds=1), progress=False)
    names = run.manifest["features"]
    frame = pd.DataFrame(federate(run.config)[1].dataset.features, columns=names)
    model = FederatedClassifier.from_run(run)

    np.testing.assert_array_equal(model.predict_proba(frame), model.predict_proba(frame.to_numpy()))
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(frame[names[::-1]])
    with pytest.raises(ValueError, match=f"seen at fit time, yet now missing:\n- {re.escape(names[-1])}"):
        model.predict(frame[names[:-1]])
    with pytest.raises(ValueError, match="has 2 features, but FederatedClassifier is expecting 4"):
        model.predict(frame.to_numpy()[:, :2])


def test_a_model_learned_on_a_frame_warns_of_an_array_as_scikit_learns_do():
    frame, y = load_iris(return_X_y=True, as_frame=True)
    run = edgefed.run(settings(num_server_rounds=1), progress=False)
    model = FederatedClassifier.from_run(run).set_params(num_server_rounds=1).fit(frame, y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(frame.to_numpy())


def test_a_runs_model_of_text_columns_reads_a_frame_as_predict_does(tmp_path):
    frame = pd.DataFrame({"color": ["red", "blue"] * 60, "size": np.arange(120.0) % 7, "y": ["no", "yes"] * 60})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    given = {"dataset": "csv", "data_path": str(tmp_path / "rows.csv"), "categories": "color=red|blue"}
    run = edgefed.run(settings(**given, num_clients=2, num_server_rounds=1), progress=False)
    model = FederatedClassifier.from_run(run)

    np.testing.assert_allclose(model.predict_proba(frame[["y", "size", "color"]]), predict(run, frame), atol=1e-6)
    with pytest.raises(ValueError, match="'green' is none of its categories"):
        model.predict(frame.replace("red", "green"))
    with pytest.raises(ValueError, match=r"row 0, column 'size': empty cell; .* edgefed\.predict"):
        model.predict(frame.assign(size=np.nan))


def test_fit_is_the_federation_that_its_settings_name():
    """All rows to train on, the same shards and first weights: the same weights as the engine's own run of them."""
    X, y = load_iris(return_X_y=True)
    clients = np.arange(len(y)) % 5
    model = FederatedClassifier(**QUICK).fit(X, y, clients=clients)
    named = FederatedClassifier(**QUICK).fit(X, y, clients=np.array(list("abcde"))[clients])
    dealt = FederatedClassifier(**QUICK).fit(X, y)

    assert model.weights_.tobytes() == named.weights_.tobytes()
    assert not np.array_equal(model.weights_, dealt.weights_)
    assert model.score(X, y) > 0.9
    np.testing.assert_allclose(model.mean_, X.astype(np.float32).astype(float).mean(0), rtol=1e-12)


def test_one_client_that_holds_all_is_plain_training():
    """Federated averaging of one client's full-batch step is gradient descent: NumPy's own line gives the weights."""
    X, y = load_iris(return_X_y=True)
    model = FederatedClassifier(
        hidden="", batch_size=0, local_epochs=1, num_server_rounds=3, learning_rate=0.5, dtype="float64"
    )
    start = FederatedClassifier(
        hidden="", batch_size=0, local_epochs=1, num_server_rounds=1, learning_rate=1e-12, dtype="float64"
    )
    everyone = np.zeros(len(y), int)
    weights = start.fit(X, y, clients=everyone).weights_
    W, b = weights[:12].reshape(3, 4), weights[12:]
    rows = X.astype(np.float32).astype(float)
    x = (rows - rows.mean(0)) / rows.std(0)
    for _ in range(3):
        z = np.exp(x @ W.T + b)
        error = (z / z.sum(1, keepdims=True) - np.eye(3)[y]) / len(y)
        W, b = W - 0.5 * error.T @ x, b - 0.5 * error.sum(0)

    found = model.fit(X, y, clients=everyone).weights_

    np.testing.assert_allclose(found, np.concatenate([W.ravel(), b]), atol=1e-9)


def test_it_can_be_cross_validated_and_told_what_it_cannot_do():
    X, y = load_iris(return_X_y=True)
    assert cross_val_score(FederatedClassifier(partition="iid", **QUICK), X, y, cv=3).mean() > 0.8
    with pytest.raises(ValueError, match="at least two classes"):
        FederatedClassifier().fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FederatedClassifier().fit(X, y, clients=[1, 2])
    with pytest.raises(ValueError, match="learning-rate=-1"):
        FederatedClassifier(learning_rate=-1.0).fit(X, y)
