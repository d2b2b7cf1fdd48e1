"""A run's files: whole or not at all, strict JSON, a hash of values."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from made_runs import WEIGHTS

from edgefed.runs import model_hash, read_json, write_atomically, write_json


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(*{"fsync": (os, "fsync", fail), "replace": (Path, "replace", fail)}[step])
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_a_line_a_key_and_lists_of_numbers_on_one(tmp_path: Path) -> None:
    """A line each would make hundreds of megabytes of a million clients."""
    value = {"counts": [[1, 2], [3, 4]], "rows": [{"a": 1.5, "why": ["ö"]}, {}], "none": [], 7: None, "on": True}
    write_json(tmp_path / "v.json", value)

    text = (tmp_path / "v.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(value))
    assert text.splitlines() == [
        "{",
        '  "counts": [[1, 2], [3, 4]],',
        '  "rows": [',
        "    {",
        '      "a": 1.5,',
        '      "why": ["\\u00f6"]',
        "    },",
        "    {}",
        "  ],",
        '  "none": [],',
        '  "7": null,',
        '  "on": true',
        "}",
    ]


def test_json_holds_no_nan(tmp_path: Path) -> None:
    value = {"a": [np.float32(0.5), np.nan, (np.int64(2), -np.inf)], "b": {"c": True, "d": None, "e": "x"}}
    write_json(tmp_path / "v.json", value)
    text = (tmp_path / "v.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [0.5, None, [2, None]],
        "b": {"c": True, "d": None, "e": "x"},
    }
    assert read_json(tmp_path / "v.json") == json.loads(text)


def test_the_hash_by_hand() -> None:
    r"""``printf 'w float32 (2,)\n\x00\x00\x80\x3f\x00\x00\x20\xc0b float64 ()\n…\xe0\x3f' | sha256sum``, six zeros."""
    weights = {"w": np.array([1.0, -2.5], np.float32), "b": np.array(0.5)}
    assert model_hash(weights) == "683c372301f25e0e88784a70d06014a5c2b5742112b0e64fb708dc460ff63aba"


def test_the_hash_is_of_values_and_names_not_of_memory() -> None:
    plain_hash = model_hash(WEIGHTS)
    assert (
        model_hash({name: array.astype(array.dtype.newbyteorder(">")) for name, array in WEIGHTS.items()}) == plain_hash
    )
    assert model_hash({name: np.asfortranarray(array) for name, array in WEIGHTS.items()}) == plain_hash
    changed = [
        dict(reversed(WEIGHTS.items())),
        {name + "x": array for name, array in WEIGHTS.items()},
        {name: array.reshape(-1) for name, array in WEIGHTS.items()},
        {name: array.astype(np.float64) for name, array in WEIGHTS.items()},
        {name: np.nextafter(array, 9) for name, array in WEIGHTS.items()},
    ]
    assert len({plain_hash, *map(model_hash, changed)}) == 6
