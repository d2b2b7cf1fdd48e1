"""The profile of this machine: fitted as it says, written as it is read."""

import numpy as np
import pytest

from edgefed.api.profile import fitted, measure_profile, write_profile
from edgefed.edge.profiles import own_profiles
from edgefed.errors import SettingsError


def test_the_fit_finds_what_made_the_times():
    work = np.array([1e3, 1e6, 1e8])
    step, flops = fitted(work, 5e-5 + work / 2e9)
    np.testing.assert_allclose([step, flops], [5e-5, 2e9], rtol=1e-6)


def test_the_fit_is_in_relative_error():
    """Twice the time for the smallest alone moves the overhead, not the speed: the large ones weigh as much."""
    work = np.array([1e3, 1e9, 1e9, 1e9])
    took = 5e-5 + work / 2e9
    took[0] *= 2
    step, flops = fitted(work, took)
    assert step == pytest.approx(1e-4, rel=0.02)
    assert flops == pytest.approx(2e9, rel=0.02)


def test_this_machine_is_measured_and_what_cannot_be_is_said(tmp_path):
    path = tmp_path / "here.toml"

    found = write_profile(path, budget=0.05)

    assert own_profiles(str(path)) == {"this-machine": found}
    assert found.flops > 1e6
    assert found.step_seconds >= 0
    assert "put in your own" in found.source
    with pytest.raises(SettingsError, match="exists already"):
        write_profile(path)
    with pytest.raises(SettingsError, match="letters, digits and dashes"):
        write_profile(tmp_path / "other.toml", "a b")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="cannot be written"):
        write_profile(tmp_path / "none" / "here.toml", budget=0.01)


def test_a_measurement_is_a_profile():
    assert measure_profile(0.01).memory >= 0
