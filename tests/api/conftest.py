"""A comparison that several files look at: trained once a process."""

import pytest
from made_comparisons import compared


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """A tuned comparison and its folder."""
    return compared(tune=(0.05, 0.5), out=tmp_path_factory.mktemp("comparisons") / "tuned")
