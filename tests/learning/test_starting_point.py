"""experiments/starting_point: it runs, trains as plain torch does, and overwrites nothing."""

from __future__ import annotations

import csv
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from plain_training import OPTIMISERS, as_module, batches_of, train_plainly
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from edgefed import FederationConfig
from edgefed.config import read_settings
from edgefed.learning.model import MLP
from edgefed.learning.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "experiments" / "starting_point"
SETTINGS = read_settings(FOLDER / "base.toml")


@pytest.fixture
def run(monkeypatch) -> Iterator[Any]:
    """The experiment's run.py, cut down to seconds."""
    beside = ("run", "trainings", "pictures")
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in beside:
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("run")
    monkeypatch.setattr(module, "MANY", 12)
    monkeypatch.setattr(module, "RATES", (0.003, 0.1))
    monkeypatch.setattr(module, "ADAM_RATES", (0.001, 0.01))
    yield module
    for name in beside:
        sys.modules.pop(name, None)


def test_its_settings_are_the_tutorials():
    config = FederationConfig.from_mapping(SETTINGS)

    assert (config.hidden, config.activation, config.loss) == ("4", "relu", "cross-entropy")
    assert (config.optimizer, config.learning_rate, config.batch_size) == ("adam", 0.001, 10)
    assert config.local_epochs * config.num_server_rounds == 100
    assert (config.num_clients, config.partition, config.alpha) == (10, "dirichlet", 0.3)


def test_the_baseline_is_the_tutorials_training_in_plain_torch(run):
    """Split and scaled by scikit-learn, trained by torch.optim.Adam on the same batches, here for 20 epochs."""
    iris = load_iris()
    pool, test = train_test_split(np.arange(150), test_size=0.2, random_state=42)
    pool, test = np.sort(pool), np.sort(test)
    scaler = StandardScaler().fit(iris.data[pool])
    features = torch.from_numpy(scaler.transform(iris.data)).float()
    base = FederationConfig.from_mapping(SETTINGS).replace(num_server_rounds=4)

    rows = run.baseline(base, inits=2)

    model = MLP(4, (4,), 3)
    problem = run.Problem(base, run.tutorial_data(base))
    cohort = run.initialised(problem.pooled(), base, [1])
    np.testing.assert_allclose(cohort.features, features[pool], rtol=0, atol=1e-6)
    batches = batches_of(Schedule(10, 20), cohort)[0]
    assert len(batches) == 240
    params, _ = train_plainly(model, cohort.params[0], cohort, batches, "cross-entropy", OPTIMISERS["adam"])
    p = torch.softmax(as_module(model, params)(features[test]).detach().double(), -1).numpy()
    assert rows[1]["accuracy"] == pytest.approx(accuracy_score(iris.target[test], p.argmax(1)))
    assert rows[1]["log_loss"] == pytest.approx(log_loss(iris.target[test], p), abs=1e-4)


def test_it_writes_tables_and_pictures_and_overwrites_nothing(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "read_settings", lambda _: SETTINGS | {"local-epochs": 1, "num-server-rounds": 2})

    assert run.main(["--inits", "4", "--seeds", "2", "--out", str(tmp_path / "new")]) == 0

    written = {path.name for path in (tmp_path / "new").iterdir()}
    pictures = {f"{name}{suffix}" for name in ("starting_point", "rates", "choices") for suffix in (".png", ".svg")}
    tables = {"baseline.csv": 12, "side_by_side.csv": 18, "rates.csv": 54, "choices.csv": 27, "which.csv": 9}
    assert written == pictures | set(tables)
    for name, count in tables.items():
        with (tmp_path / "new" / name).open(encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == count, name
    assert "12 initialisations" in capsys.readouterr().out

    assert run.main(["--inits", "4", "--out", str(tmp_path / "new")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_default_folder_is_numbered(run, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "HERE", tmp_path)

    assert [run.own_folder(None).name for _ in range(3)] == ["results", "results-2", "results-3"]


def test_its_readme_shows_what_is_there():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")

    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / link).exists(), link
