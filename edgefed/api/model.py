"""A run's model: as a torch module, and on new rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.categories import parsed_categories
from edgefed.config import SettingsError
from edgefed.data.csv_file import read_feature_rows
from edgefed.federation.components import DTYPES, model_of
from edgefed.learning.metrics import log_softmax
from edgefed.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


NO_MEANS = "the run had missing=refuse, so fill the cell, or train a run with -s missing=mean to predict from"


def load_model(run: Run | str | Path) -> torch.nn.Sequential:
    """Return a run's model as an ordinary ``torch.nn.Sequential`` with its trained weights.

    It expects standardised features (``run.manifest["prediction"]`` holds mean and scale) and gives logits without
    the remedy's shift; :func:`predict` applies both.
    """
    run = run if isinstance(run, Run) else Run.read(run)
    manifest = run.manifest
    model = model_of(run.config, len(manifest["features"]), len(manifest["classes"]))
    module = model.module().to(DTYPES[run.config.dtype])
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in run.weights.items()})
    return module.eval()


def predict(run: Run | str | Path, rows: NDArray[np.floating] | str | Path) -> NDArray[np.float64]:
    """Return class probabilities [rows, classes] of a run's model.

    Parameters
    ----------
    run : Run or path
    rows : ndarray [rows, features] in the run's own units and feature order, or a CSV file with those columns
        A category is text in a file, and an indicator for each of its values in an array. NaN, and where the run had
        ``missing=mean`` an empty cell, is filled with the feature's federated mean.

    Raises
    ------
    SettingsError
        One line, for a file or array without the run's features.
    """
    run = run if isinstance(run, Run) else Run.read(run)
    known, names = run.manifest["prediction"], run.manifest["features"]
    mean, scale, shift = (np.array(known[key], np.float64) for key in ("mean", "scale", "logit_shift"))
    if not isinstance(rows, np.ndarray):
        filled = run.config.missing == "mean"
        categories = parsed_categories(run.config.categories)
        rows = read_feature_rows(rows, names, categories=categories, allow_missing=filled, else_said=NO_MEANS)
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise SettingsError(f"rows of shape {rows.shape}: expected [rows, {len(names)}] features {', '.join(names)}")
    # Features pass through float32 as the training rows did.
    features = rows.astype(np.float32).astype(np.float64)
    features = np.where(np.isnan(features), mean, features)
    if known["standardized"]:
        features = (features - mean) / scale
    with torch.no_grad():
        logits = load_model(run)(torch.from_numpy(features).to(DTYPES[run.config.dtype]))
    return np.exp(log_softmax(logits.double().numpy() + shift))
