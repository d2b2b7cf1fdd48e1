"""A run's model: as a torch module, and on new rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.categories import parsed_categories
from edgefed.config import SettingsError
from edgefed.data.csv_file import read_feature_rows
from edgefed.data.frame import feature_rows, is_frame
from edgefed.federation.components import DTYPES, model_of
from edgefed.learning.metrics import log_softmax
from edgefed.runs import Run

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from edgefed.data.frame import Frame


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


def predict(run: Run | str | Path, rows: ArrayLike | Frame | str | Path) -> NDArray[np.float64]:
    """Return class probabilities [rows, classes] of a run's model.

    Parameters
    ----------
    run : Run or path
    rows : array_like [rows, features] in the run's own units and feature order; a data frame or a CSV file
        A data frame's and a file's columns go by their names, in any order; further ones are passed over. A category
        is text there, and an indicator for each of its values in an array. NaN, which is an empty cell, is filled
        with the feature's federated mean where the run had ``missing=mean``, and refused where it had not.

    Raises
    ------
    SettingsError
        One line, for rows without the run's features, an empty cell that nothing fills, or what is no number.
    """
    run = run if isinstance(run, Run) else Run.read(run)
    known, names = run.manifest["prediction"], run.manifest["features"]
    mean, scale, shift = (np.array(known[key], np.float64) for key in ("mean", "scale", "logit_shift"))
    filled, categories = run.config.missing == "mean", parsed_categories(run.config.categories)
    if isinstance(rows, str | Path):
        read: NDArray[np.floating] = read_feature_rows(
            rows, names, categories=categories, allow_missing=filled, else_said=NO_MEANS
        )
    elif is_frame(rows):
        read = feature_rows(rows, names, categories=categories, allow_missing=filled, else_said=NO_MEANS)
    else:
        read = _numbers(rows, names, filled)
    # Features pass through float32 as the training rows did.
    features = read.astype(np.float32).astype(np.float64)
    features = np.where(np.isnan(features), mean, features)
    if known["standardized"]:
        features = (features - mean) / scale
    with torch.no_grad():
        logits = load_model(run)(torch.from_numpy(features).to(DTYPES[run.config.dtype]))
    return np.exp(log_softmax(logits.double().numpy() + shift))


def _numbers(rows: object, names: list[str], filled: bool) -> NDArray[np.float64]:
    """Return rows as an array [rows, features], NaN only where it is to be filled."""
    wanted = f"expected [rows, {len(names)}] features {', '.join(names)}"
    try:
        found = np.asarray(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"rows that are no array of numbers ({error}): {wanted}") from None
    if found.ndim != 2 or found.shape[1] != len(names):
        raise SettingsError(f"rows of shape {found.shape}: {wanted}")
    if not filled and np.isnan(found).any():
        row, column = np.argwhere(np.isnan(found))[0]
        raise SettingsError(f"row {row}, column '{names[column]}': empty cell (NaN); {NO_MEANS}")
    return found
