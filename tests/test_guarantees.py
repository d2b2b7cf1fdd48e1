"""Every promise in docs/guarantees.md names tests that are there."""

import re
from pathlib import Path

import edgefed

HERE = Path(__file__).parent
TEXT = (Path(edgefed.__file__).parents[1] / "docs" / "guarantees.md").read_text(encoding="utf-8")


def named():
    """Return (file, test or empty text) for each test that the page names; ``::test`` goes on with the last file."""
    found, last = [], ""
    for path, name in re.findall(r"`((?:\w+/)*test_\w+\.py)?(?:::(test_\w+))?`", TEXT):
        if path or name:
            last = path or last
            found.append((last, name))
    return found


def test_every_test_that_a_promise_names_is_there():
    found = named()
    assert len(found) >= 30
    for path, name in found:
        source = (HERE / path).read_text(encoding="utf-8")
        assert not name or f"\ndef {name}(" in source, (path, name)


def test_every_promise_names_a_test():
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 20
    assert [row for row in rows if "test_" not in row and "the same test" not in row] == []
