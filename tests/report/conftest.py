"""A comparison that several tests draw."""

from pathlib import Path

import pytest
from made_folders import write_comparison

GAINS = {"none": 0.0, "post-hoc": 0.15, "random-oversampling": 0.0, "class-weights-balanced-local": -0.3}


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seeds of a remedy that helps, one that hurts, one that does nothing, and the control."""
    folder = tmp_path_factory.mktemp("made") / "compared"
    write_comparison(folder, GAINS, seeds=8)
    return folder
