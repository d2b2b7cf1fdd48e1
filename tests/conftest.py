"""What all tests share: warnings are errors, but not those of other packages' imports; one thread for torch; `cli`.

Hypothesis' examples have no deadline: how long one takes says how busy the machine is. Signals that whoever started the
tests has ignored, as a shell does for what it runs in the background, are what they usually are: tests send them.
"""

import gc
import signal
import sys
import warnings

import hypothesis
import pytest

hypothesis.settings.register_profile("edgefed", deadline=None)
hypothesis.settings.load_profile("edgefed")

for _name, _usual in (
    ("SIGINT", signal.default_int_handler),
    ("SIGTERM", signal.SIG_DFL),
    ("SIGHUP", signal.SIG_DFL),
):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)

with warnings.catch_warnings():
    # typer imports names that a newer click has deprecated; Flower imports typer.
    warnings.simplefilter("ignore", DeprecationWarning)
    import typer  # noqa: F401


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Among several processes, deal the files out so that what waits for Flower's processes waits beside what works.

    Two files that wait, then one for each further process, and again: of those that wait the few long tests first, as
    they are what an end would be waited for; of the others those of many tests, as pytest-xdist has them.
    """
    if not hasattr(config, "workerinput"):
        return
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting, working = [], []
    for found in sorted(files.values(), key=len, reverse=True):
        (waiting if all(item.get_closest_marker("runtime") for item in found) else working).append(found)
    waiting.sort(key=len)
    beside = max(1, config.workerinput["workercount"] - 2)
    order = []
    while waiting:
        order += [*waiting[:2], *working[:beside]]
        del waiting[:2], working[:beside]
    items[:] = [item for found in order + working for item in found]


@pytest.fixture(autouse=True, scope="module")
def _garbage():
    """Flower and statsmodels collect garbage often: what is there by now need not be looked through each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Matrices here are too small to share out."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command in an empty folder: (exit code, stdout, stderr)."""
    from edgefed.cli import _exit_code

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgefed", *map(str, arguments)])
        capsys.readouterr()
        code = _exit_code()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
