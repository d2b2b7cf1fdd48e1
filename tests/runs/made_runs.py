"""A run's folder by hand, and what refuses one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefed.config import FederationConfig
from edgefed.errors import SettingsError
from edgefed.runs import Run, RunWriter, model_hash

CONFIG = FederationConfig(alpha=0.5, hidden="8-4", seed=3)
WEIGHTS: dict[str, NDArray[Any]] = {
    "2.weight": np.array([[1.5, -2.0], [0.25, 1e-30]], np.float32),
    "0.bias": np.array([3.0], np.float64),
}
ROUNDS: list[dict[str, Any]] = [
    {"round": 1, "seconds": 0.5, "test": {"accuracy": 0.25, "recall": [0.5, np.nan]}, "stage": "train"},
    {"round": 2, "seconds": 0.25},
    {"round": 3, "seconds": 0.125, "test": {"accuracy": np.nan, "recall": [1.0, 0.0]}},
]
CLIENTS = [(1, 0, 10, 5, 0.69314718, "ok"), (1, 1, 0, 0, np.nan, 'left out: 1, "nan"'), (2, 0, 10, 5, 0.5, "ok")]
MANIFEST: dict[str, Any] = {"format": 1, "classes": ["u", "v"]}


def finished(folder: Path) -> Path:
    """Write a whole run of three rounds."""
    writer = RunWriter(folder)
    writer.begin(CONFIG, MANIFEST)
    writer.rows(ROUNDS[:1], CLIENTS[:2])
    writer.checkpoint(1, WEIGHTS)
    writer.rows(ROUNDS[1:], CLIENTS[2:])
    writer.end(WEIGHTS, MANIFEST | {"summary": {"rounds": 3, "model_sha256": model_hash(WEIGHTS)}})
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        Run.read(folder)
    line = str(caught.value)
    assert line.isprintable()
    return line


def same(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> bool:
    return list(found) == list(expected) and all(
        np.array_equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in found
    )
