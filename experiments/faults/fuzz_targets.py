"""What is fuzzed: readers of bytes from elsewhere, each of which answers or says one line, whatever the bytes."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from edgefed.config import FederationConfig, read_settings
from edgefed.data.datasets import load
from edgefed.data.shards import federate
from edgefed.durable import read_sealed, write_sealed
from edgefed.edge.availability import read_traces
from edgefed.edge.profiles import PROFILES, as_toml_table, fleet, own_profiles
from edgefed.errors import SettingsError
from edgefed.federation.replies import Column, Expected, opened
from edgefed.learning.model import MLP

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = MLP(4, (3,), 3)
EXPECTED = Expected(
    {
        "partition-id": Column(whole=True, low=0),
        "num-examples": Column(whole=True, low=1, high=10**9),
        "steps": Column(whole=True, low=-1, required=False),
        "confusion": Column((9,), whole=True, low=0, required=False),
    },
    MODEL,
)
HOME = Path(tempfile.gettempdir()) / f"edgefed-fuzz-{os.getpid()}"
"""Where bytes are put that a reader wants in a file."""

MOST_BYTES = 64
"""Bytes of arrays that a reader may make of each byte of a checkpoint or message."""

CSV = b"a,b,y\n" + b"".join(b"%d,%d.5,%s\n" % (row, row * row, b"uvw"[row % 3 : row % 3 + 1]) for row in range(30))
TRACES = b'{"0": {"active": [1.5, 50], "inactive": [20, 60.25], "finish_time": 100}}'
SETTINGS = b'seed = 3\nalpha = 0.5\nhidden = "8-4"\nimbalance = "balanced-softmax"'


def _file(content: bytes, name: str) -> Path:
    HOME.mkdir(exist_ok=True)
    path = HOME / name
    path.write_bytes(content)
    return path


def csv(content: bytes) -> None:
    """Read bytes as a person's CSV file, and split and share out what it holds."""
    config = FederationConfig(dataset="csv", data_path=str(_file(content, "rows.csv")), num_clients=3)
    federate(config, load(config))


def settings(content: bytes) -> None:
    """Read bytes as a settings file, and as texts of ``-s``; what is read can be written and read again."""
    texts = [line.decode("utf-8", "replace") for line in content.split(b"\n")[:20]]
    for path, overrides in ((_file(content, "settings.toml"), []), (None, texts)):
        try:
            config = FederationConfig.from_mapping(read_settings(path, overrides))
        except SettingsError:
            if path is None:
                raise
            continue
        written = _file(config.to_toml().encode(), "again.toml")
        assert FederationConfig.from_mapping(read_settings(written)) == config


def profiles(content: bytes) -> None:
    """Read bytes as a person's device profiles, and make a fleet of them."""
    path = str(_file(content, "devices.toml"))
    for name in own_profiles(path):
        if not set(name) & set(",: ") and name.strip() == name and name:
            fleet(name, 3, 0, own=path)


def traces(content: bytes) -> None:
    """Read bytes as availability traces, and look at who is there and who comes."""
    availability = read_traces(str(_file(content, "traces.json")))
    assert availability is not None
    everyone = np.arange(len(availability.traces))
    assert availability.there(everyone, 3.5).shape == everyone.shape
    assert availability.first(everyone, 3.5) >= 3.5


def checkpoint(content: bytes) -> None:
    """Read bytes as a checkpoint; nothing out of proportion is made of them."""
    arrays = read_sealed(_file(content, "round-000001.npz"))
    assert sum(array.nbytes for array in arrays.values()) <= MOST_BYTES * len(content)


def message(content: bytes) -> None:
    """Read bytes as a reply's arrays and metrics: how many, their names and types too."""
    source = io.BytesIO(content)

    def some(most: int) -> int:
        return (source.read(1) or b"\0")[0] % (most + 1)

    arrays: dict[str, Any] = {
        name: Array(np.zeros(shape, np.float32)) for name, shape in MODEL.shapes.items() if some(20)
    }
    for _ in range(some(2)):
        name = list(MODEL.shapes)[some(3)] if some(3) else source.read(3).decode("latin-1")
        kind = ("float32", "float64", "object", source.read(4).decode("latin-1"))[some(3)]
        stype = "numpy.ndarray" if some(7) else "pickle"
        arrays[name] = Array(kind, (some(255), some(255))[: some(2)], stype, source.read(8 * some(255)))
    metrics: dict[str, Any] = {}
    for name in EXPECTED.columns:
        number = int.from_bytes(source.read(8), "little", signed=True)
        metrics[name] = (number, float(number), [number] * some(12), [float(number)] * 9)[some(3)]
    record = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)})
    if not some(9):
        record = RecordDict({"metrics": MetricRecord(metrics)})
    try:
        flat, found = opened(record, EXPECTED)
    except ValueError as error:
        raise SettingsError(" ".join(str(error).split())) from None
    assert flat is not None
    assert flat.shape == (MODEL.size,)
    assert flat.dtype == np.float32
    assert all(found[name].shape == column.shape for name, column in EXPECTED.columns.items())


def _good_checkpoint() -> bytes:
    path = _file(b"", "good.npz")
    write_sealed(path, {"round": np.array(3), "model/0.weight": np.ones((2, 3), np.float32)}, durable=False)
    return path.read_bytes()


GOOD_METRICS = ((4, 0), (9, 0), (20, 0), (1, 2))
"""Each metric's number, and in which of its forms it is sent."""


def _good_message() -> bytes:
    data = Array(np.ones((3, 4), np.float32)).data
    metrics = b"".join(number.to_bytes(8, "little") + bytes([9, form]) for number, form in GOOD_METRICS)
    shape = bytes([3, 4, 2])
    return b"\1\1\1\1" + b"\1\1\0" + b"kind\0" + b"\1" + shape + bytes([len(data) // 8]) + data + metrics + b"\1"


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], bytes]]] = {
    "csv": (csv, lambda: CSV),
    "settings": (settings, lambda: SETTINGS),
    "message": (message, _good_message),
    "checkpoint": (checkpoint, _good_checkpoint),
    "profiles": (profiles, lambda: as_toml_table("mine", PROFILES["phone"]).encode()),
    "traces": (traces, lambda: TRACES),
}
"""name -> (what reads the bytes, good bytes to begin with)."""


def tried(name: str, content: bytes) -> str:
    """Give a target bytes; return the line that it says, empty if they are good. Anything else is a finding."""
    try:
        TARGETS[name][0](content)
    except SettingsError as error:
        line = str(error)
        assert line
        assert line.isprintable()
        assert len(line) < 2000
        return line
    return ""
