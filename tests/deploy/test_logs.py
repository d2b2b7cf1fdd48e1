"""Logs: a JSON object a line, rotated, without what nobody reads."""

import json
import logging

import pytest

from edgefed.deploy import logs


@pytest.fixture
def _loggers():
    kept = {
        name: (list(logging.getLogger(name).handlers), logging.getLogger(name).propagate)
        for name in ("flwr", "edgefed")
    }
    yield
    for name, (handlers, propagate) in kept.items():
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers, logger.propagate = handlers, propagate


@pytest.mark.usefixtures("_loggers")
def test_each_line_is_an_object_and_old_files_are_few(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "LARGEST", 2000)
    path, last = logs.keep_logs(tmp_path, "device-0")
    flower, own = logging.getLogger("flwr"), logging.getLogger("edgefed")
    flower.info("")
    flower.info("ControlServicer.ListRuns")
    own.debug("too small")
    try:
        raise ValueError('a "quoted"\nline')
    except ValueError:
        own.exception("it failed")
    assert last.message == "it failed"
    (entry,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "error",
        "source": "edgefed",
        "message": "it failed",
        "error": 'ValueError: a "quoted"\nline',
    }

    for number in range(200):
        flower.info("round %d", number)

    files = sorted(tmp_path.glob("logs/*"))
    assert len(files) == 1 + logs.KEPT
    assert all(file.stat().st_size <= 2000 for file in files)
    assert all(json.loads(line)["source"] == "flwr" for line in path.read_text().splitlines())
