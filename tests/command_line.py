"""What tests of the command line share: quick commands, one object on stdout, one line for a mistake."""

import json
import re
from pathlib import Path

import pytest

QUICK = ("-s", "num-server-rounds=3", "-s", "local-epochs=1")
COMPARE = ("compare", "--strategies", "none,class-weights,random-oversampling", "--seeds", "5", "--no-tune")


def one_object(out):
    """Return the one JSON object that stdout consists of."""
    assert out.endswith("\n")
    assert len(out.splitlines()) == 1
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict)
    return found


def made_here():
    return sorted(str(path) for path in Path().rglob("*"))


def refused(result, says=""):
    """Check a person's mistake: exit 2, one line on stderr, nothing on stdout, nothing left behind."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("edgefed: ")
    assert "Traceback" not in err
    assert re.search(says, err), err
    assert made_here() == []
