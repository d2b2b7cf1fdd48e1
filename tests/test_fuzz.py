"""Readers of bytes from elsewhere answer or say one line, whatever the bytes: the short form of the fuzz.

The long form is ``python experiments/faults/fuzz.py``; what it found once is kept in ``corpus``.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import edgefed

HERE = Path(__file__).parent
NAMES = ("csv", "settings", "message", "checkpoint", "profiles", "traces")
CORPUS = sorted(path for path in (HERE / "corpus").glob("*/*") if path.is_file())


def targets():
    path = Path(edgefed.__file__).parents[1] / "experiments" / "faults" / "fuzz_targets.py"
    spec = importlib.util.spec_from_file_location("fuzz_targets", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_targets"] = module
    spec.loader.exec_module(module)
    return module


fuzz_targets = targets()


@pytest.fixture(autouse=True)
def _folder(tmp_path_factory, monkeypatch):
    """One folder a run of the tests: inputs are written anew thousands of times."""
    monkeypatch.setattr(fuzz_targets, "HOME", tmp_path_factory.getbasetemp() / "fuzz")


def test_the_targets_are_those_that_the_command_knows():
    assert set(fuzz_targets.TARGETS) == set(NAMES)
    assert {path.parent.name for path in CORPUS} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_good_bytes_are_good(name):
    assert fuzz_targets.tried(name, fuzz_targets.TARGETS[name][1]()) == ""


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once_is_one_line(path):
    assert fuzz_targets.tried(path.parent.name, path.read_bytes()) != ""


@st.composite
def mutated(draw, name):
    """Draw good bytes with some replaced, taken out, put in or repeated."""
    content = bytearray(fuzz_targets.TARGETS[name][1]())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 12)))
        content[start:stop] = draw(st.binary(max_size=12)) or bytes(content[start:stop]) * 2
    return bytes(content)


@pytest.mark.parametrize("name", NAMES)
@hypothesis_settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_good_or_one_line(name, data):
    fuzz_targets.tried(name, data.draw(mutated(name)))


@pytest.mark.parametrize("name", NAMES)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_any_bytes_are_good_or_one_line(name, content):
    fuzz_targets.tried(name, content)
