"""The rehearsal's devices, as processes over TLS with keys, end where the simulation ends: plain, and under masks."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from flwr.app import ConfigRecord

import edgefed
from edgefed.federation.introduction import INTRODUCE
from edgefed.federation.terms import TOLD
from edgefed.report import plot_run
from edgefed.runs import Run

pytestmark = pytest.mark.runtime

SCRIPTS = Path(edgefed.__file__).parents[1] / "scripts"


def test_the_rehearsal_ends_where_the_simulation_ends(tmp_path):
    """Float32, three rounds, over TLS with keys; everything that it started is gone when it ends.

    Its bytes are those of the objects that reached the SuperLink's store, and the simulation's but for what only
    devices are told.
    """
    kept, ledger = tmp_path / "rehearsal", tmp_path / "ledger.jsonl"
    command = [SCRIPTS / "rehearse.sh", "--devices", "3", "--rounds", "3", "--format", "json", "--out", kept]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent / "ledger"), "OBJECT_LEDGER": str(ledger)}

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rounds"] == 3
    assert found["max_weight_difference"] <= 1e-5
    assert found["test"]["recall"] == pytest.approx(found["simulation"]["test"]["recall"])
    assert found["seconds_per_round"] > 0
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(kept) not in listed
    drawn = {path.stem for path in plot_run(Run.read(kept / "run"), tmp_path / "plots")}
    assert drawn == {"learning-curves", "confusion", "accuracy-by-cost"}

    moved = moved_by(ledger)
    introduced = {moved.pop((way, f"query.{INTRODUCE}"))[0] for way in ("up", "down")}
    assert introduced == {3}
    assert {key: messages for key, (messages, _) in moved.items()} == {
        **{(way, "query"): 3 for way in ("up", "down")},
        **{(way, "train"): 9 for way in ("up", "down")},
    }
    by_way = {way: sum(size for (own, _), (_, size) in moved.items() if own == way) for way in ("up", "down")}
    assert found["bytes"] == by_way
    simulated = found["simulation"]["bytes"]
    assert found["bytes"]["up"] == simulated["up"]
    settings = Run.read(kept / "run").config.to_mapping()
    told = {key: settings[key] for key in TOLD}
    assert found["bytes"]["down"] - simulated["down"] == sum(
        times * (deflated(config | told) - deflated(config))
        for times, config in (
            (3, {"moments": True, "class-counts": False}),
            (9, {"feature-mean": [0.0] * 4, "feature-scale": [1.0] * 4, "server-round": 1}),
        )
    )


def moved_by(ledger):
    """Return, by way and type of message, how many passed the SuperLink and what their contents' objects weigh."""
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    weigh = {line["object"]: line["bytes"] for line in lines if "object" in line}
    found = {}
    for line in lines:
        if "way" in line:
            messages, size = found.get((line["way"], line["type"]), (0, 0))
            found[line["way"], line["type"]] = messages + 1, size + sum(weigh[name] for name in line["objects"])
    return found


def deflated(config):
    """Return the bytes of Flower's config record of these entries."""
    return len(ConfigRecord(config).deflate())


def test_devices_under_secure_aggregation_end_where_the_simulation_ends(tmp_path):
    """Four stages a round with real SuperNodes: the very same weights, since masks come off to the bit."""
    kept = tmp_path / "rehearsal"
    command = [SCRIPTS / "rehearse.sh", "--devices", "3", "--rounds", "2", "--format", "json", "--out", kept]
    command += ["-s", "privacy=secagg", "-s", "partition=iid"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["max_weight_difference"] <= 1e-6
    (run,) = kept.rglob("history.jsonl")
    rows = [json.loads(line) for line in run.read_text().splitlines()]
    assert [(row["clients"], row["secagg"]["threshold"]) for row in rows] == [(3, 2), (3, 2)]
    table = [line.split(",") for line in (run.parent / "clients.csv").read_text().splitlines()[1:]]
    assert {(steps, loss, verdict) for _, _, _, steps, loss, verdict in table} == {("0", "", "ok")}
