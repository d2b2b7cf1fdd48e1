"""Traces in FedScale's form."""

import json

import numpy as np
import pytest

from edgefed.edge.availability import Trace, read_traces
from edgefed.errors import SettingsError

#: As FedScale's: times in seconds, and fields that are not used here.
TRACES = {
    "0": {"duration": 1, "active": [10, 50], "inactive": [20, 60], "finish_time": 100, "model": "CPH1801"},
    "1": {"duration": 1, "active": [0], "inactive": [100], "finish_time": 100, "model": "x"},
}


def read(folder, document):
    path = folder / "traces.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return read_traces(str(path))


def test_who_is_there(tmp_path):
    found = read(tmp_path, TRACES)
    clients = np.arange(4)  # in turn: 0, 1, 0, 1

    there = {clock: found.there(clients, clock).tolist() for clock in (0, 10, 19.9, 20, 55, 110, 160)}

    assert there == {
        0: [False, True, False, True],
        10: [True] * 4,
        19.9: [True] * 4,
        20: [False, True, False, True],
        55: [True] * 4,
        110: [True] * 4,  # a trace repeats
        160: [False, True, False, True],
    }


def test_when_somebody_comes(tmp_path):
    found = read(tmp_path, TRACES)

    assert found.first(np.array([0]), 0) == 10
    assert found.first(np.array([0]), 12) == 12
    assert found.first(np.array([0]), 25) == 50
    assert found.first(np.array([0]), 70) == 110
    assert found.first(np.array([0, 1]), 70) == 70


def test_whoever_comes_is_there_at_that_time():
    """Fractional times do not add up to the digit; a clock at which nobody is there would stall a run."""
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        times = np.sort(rng.uniform(0, rng.choice([1, 1e3, 1e6]), 2 * rng.integers(1, 4)))
        trace = Trace(times[::2], times[1::2], float(times[-1] * rng.uniform(1, 2)))
        clock = float(rng.uniform(0, rng.choice([1e2, 1e5, 1e8])))
        at = trace.next_change(clock)
        assert at >= clock
        assert trace.there(at)


def test_none_is_always():
    assert read_traces("") is None


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not valid JSON"),
        ([], "no traces"),
        ({"a": 3}, "client 'a': expected active, inactive and finish_time"),
        ({"a": TRACES["0"] | {"active": [10]}}, "as many active as inactive"),
        ({"a": TRACES["0"] | {"active": [15, 18]}}, "in turn and ascending"),
        ({"a": TRACES["0"] | {"finish_time": "soon"}}, "as numbers"),
        ({"a": TRACES["0"] | {"finish_time": 0}}, "ascending from 0"),
        pytest.param({"a": TRACES["0"] | {"finish_time": 10**400}}, "as numbers", id="401 digits"),
        pytest.param({"a": TRACES["0"] | {"active": [10**400, 50]}}, "as numbers", id="401 digits in a list"),
        pytest.param("[" * 30_000, "not valid JSON", id="brackets"),
    ],
)
def test_a_file_that_is_none(document, says, tmp_path):
    with pytest.raises(SettingsError, match=says):
        read(tmp_path, document)
