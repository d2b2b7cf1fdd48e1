"""What a round hands to the next is committed whole, behind the rounds, and comes back to the same bits."""

import json
import threading

import numpy as np
import pytest
from federations import figures, queried, settings, trained

import edgefed
from edgefed import runs
from edgefed.config import SettingsError
from edgefed.durable import read_sealed, write_sealed
from edgefed.errors import FederationError
from edgefed.federation import checkpoint
from edgefed.federation.checkpoint import Commit, RunLog, WriteBehind
from edgefed.federation.federation import ClientRows, Federation
from edgefed.federation.flat_record import to_flat, to_record
from edgefed.federation.guidance import Guidance
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import StackedFedAvg
from edgefed.runs import Interrupted, RunWriter


class Momentum(StackedFedAvg):
    """v <- 0.9 v + (average - theta), theta <- theta + v: a server optimiser with a state of its own."""

    def __init__(self, model):
        super().__init__(model)
        self.velocity = np.zeros(model.size)

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        before = to_flat(self.model, self.begun).astype(np.float64)
        self.velocity = 0.9 * self.velocity + to_flat(self.model, arrays) - before
        return to_record(self.model, before + self.velocity), metrics

    def configure_train(self, server_round, arrays, config, grid):
        self.begun = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def state(self):
        return {"velocity": self.velocity}

    def restore(self, state):
        self.velocity = state["velocity"]


def with_momentum(config):
    federation, engine = queried(config)
    changed = Federation(
        **{
            name: getattr(federation, name)
            for name in ("config", "grid", "model", "validation", "test", "label_counts")
        },
        strategy=Momentum(federation.model),
    )
    for name in ("guidance", "nodes", "rows", "held_out", "dual", "_config"):
        setattr(changed, name, getattr(federation, name))
    return changed, engine


def test_a_server_optimisers_state_is_carried_on(tmp_path):
    config = settings(num_server_rounds=6, local_epochs=1)
    whole, engine = with_momentum(config)
    run_rounds([whole], engine.exchange)

    writer = RunWriter(tmp_path)
    first, engine = with_momentum(config)
    log = RunLog(first, writer)

    def stop(federation):
        log.write()
        if federation.round == 4:
            raise KeyboardInterrupt

    first.on_round = stop
    with pytest.raises(KeyboardInterrupt), log:
        run_rounds([first], engine.exchange)
    second, engine = with_momentum(config)
    RunLog(second, writer).restore()
    assert second.round == 4
    run_rounds([second], engine.exchange)

    assert second.weights.tobytes() == whole.weights.tobytes()
    forgetful, engine = with_momentum(config)
    RunLog(forgetful, writer).restore()
    forgetful.strategy.velocity *= 0
    run_rounds([forgetful], engine.exchange)
    assert forgetful.weights.tobytes() != whole.weights.tobytes()


def test_the_names_in_a_checkpoint():
    federation, _ = with_momentum(settings(imbalance="climb"))
    found = federation.state()
    assert list(found) == [
        "round",
        "guidance/mean",
        "guidance/scale",
        *(f"model/{name}" for name in federation.model.shapes),
        "dual",
        *(f"ledger/{name}" for name in ("clock", "busy", "joules", "loss", "last", "counted", "asked")),
        "disclosed/fields",
        "disclosed/seen",
        "server/velocity",
    ]
    assert found["dual"].shape == (10,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model/0.weight": np.zeros((2, 2))}, "0.weight: expected shape"),
        ({"model/9.weight": np.zeros(2)}, "expected arrays"),
        ({"else/x": np.zeros(2)}, "else/x is nothing that this federation carries"),
        ({"dual": np.zeros(10)}, "dual is nothing"),
    ],
)
def test_a_state_of_another_federation_is_refused_and_changes_nothing(change, says):
    federation, engine = queried(settings(num_server_rounds=2))
    run_rounds([federation], engine.exchange)
    other, _ = queried(settings(num_server_rounds=2))
    before = other.weights.tobytes()

    with pytest.raises(ValueError, match=says):
        other.restore(federation.state() | change)

    assert other.weights.tobytes() == before
    assert other.round == 0


def test_a_run_goes_on_with_the_scaler_that_it_began_with():
    """Devices that are away when a server starts again would change it under the model."""
    config = settings(num_server_rounds=4, imbalance="post-hoc")
    first, engine = queried(config)
    run_rounds([first], engine.exchange)
    second, _ = queried(config)
    second.guidance = Guidance(second.guidance.mean + 1, second.guidance.scale * 2, second.guidance.class_counts * 3)

    second.restore(first.state())

    assert second.guidance.key() == first.guidance.key()
    assert dict(second._config)["feature-mean"] == first.guidance.mean.tolist()
    assert second.prediction_shift.tolist() == first.prediction_shift.tolist()
    other, _ = queried(settings(num_server_rounds=4))
    with pytest.raises(ValueError, match="its guidance is not one of 4 features"):
        other.restore(first.state())


# ---- what is on the disk
def interrupted(config, folder, number):
    def stop(federation):
        if federation.round == number:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        edgefed.run(config, out=folder, progress=False, on_round=stop, resume=True)


def edited(path):
    """Change one weight and write a valid archive again, the old seal kept."""
    arrays = runs.read_arrays(path)
    arrays["model/0.bias"][0] += 1
    runs.write_arrays(path, arrays)


def test_an_edited_checkpoint_is_put_aside_for_the_one_before_and_that_is_said(tmp_path, caplog):
    config = settings(num_server_rounds=5, local_epochs=1)
    whole, _ = trained(config)
    interrupted(config, tmp_path / "run", 2)
    interrupted(config, tmp_path / "run", 4)
    edited(tmp_path / "run" / "checkpoint" / "round-000004.npz")

    resumed = edgefed.run(config, out=tmp_path / "run", progress=False, resume=True)

    assert figures(resumed) == figures(whole)
    (line,) = caplog.messages
    assert "round-000004.npz: does not match its checksum" in line
    assert ".npz is used" in line
    assert (tmp_path / "run" / "checkpoint" / "round-000004.refused").exists()


def test_where_no_checkpoint_can_be_used_the_run_does_not_start_again_by_itself(tmp_path):
    config = settings(num_server_rounds=5, local_epochs=1)
    interrupted(config, tmp_path / "run", 2)
    home = tmp_path / "run" / "checkpoint"
    for path in home.glob("round-*.npz"):
        edited(path)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    with pytest.raises(
        SettingsError, match=r"no other checkpoint can be used; without the folder .*checkpoint the run"
    ):
        edgefed.run(config, out=tmp_path / "run", progress=False, resume=True)

    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    """The same shapes, another seed."""
    for seed in (0, 1):
        interrupted(settings(num_server_rounds=5, local_epochs=1, seed=seed), tmp_path / str(seed), 2)
    home = tmp_path / "0" / "checkpoint"
    for path in home.glob("*.npz"):
        path.write_bytes((tmp_path / "1" / "checkpoint" / "round-000002.npz").read_bytes())

    with pytest.raises(SettingsError, match="written under other settings"):
        edgefed.run(settings(num_server_rounds=5, local_epochs=1), out=tmp_path / "0", progress=False, resume=True)


def test_a_sealed_file_names_no_path_and_reads_back(tmp_path):
    arrays = {"../../up": np.arange(3), "a/b": np.array(2.5), "empty": np.zeros((0, 4), np.float32)}
    write_sealed(tmp_path / "s.npz", arrays)
    found = read_sealed(tmp_path / "s.npz")
    assert list(found) == list(arrays)
    assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]
    assert not list(tmp_path.parent.glob("up*"))


def test_an_interrupted_round_that_no_checkpoint_was_due_for_is_committed(tmp_path, monkeypatch):
    written, real = threading.Event(), RunWriter.checkpoint

    def checkpoint(self, number, arrays, **options):
        real(self, number, arrays, **options)
        written.set()

    def stop(federation):
        if federation.round == 6:  # the fifth's is on the disk, and not merged with the last one's
            assert written.wait(30)
        if federation.round == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunWriter, "checkpoint", checkpoint)
    config = settings(num_server_rounds=9, local_epochs=1, checkpoint_every=5)
    with pytest.raises(Interrupted):
        edgefed.run(config, out=tmp_path / "run", progress=False, on_round=stop)

    assert sorted(path.name for path in (tmp_path / "run" / "checkpoint").iterdir()) == [
        "round-000005.npz",
        "round-000007.npz",
    ]
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 7


# ---- behind the rounds
def commit(number):
    nobody = np.empty(0, np.int64)
    return Commit(number, [ClientRows(number, nobody, nobody, nobody, nobody, [])], {"round": np.array(number)})


def test_one_write_is_in_flight_and_what_comes_meanwhile_waits_as_one():
    begun, go, written = threading.Event(), threading.Event(), []

    def write(found):
        written.append((found.last, [entry.round for entry in found.clients]))
        begun.set()
        assert go.wait(30)

    behind = WriteBehind(write, pace=0.0)
    behind.put(commit(1))
    assert begun.wait(30)
    for number in (2, 3, 4):
        behind.put(commit(number))
    assert written == [(1, [1])]
    go.set()
    behind.close()

    assert written == [(1, [1]), (4, [2, 3, 4])]


def test_the_next_write_waits_in_proportion_to_the_last_and_closing_does_not():
    begun, written = threading.Event(), []

    def write(found):
        written.append((found.last, [entry.round for entry in found.clients]))
        begun.set()

    behind = WriteBehind(write, pace=1e12)
    behind.put(commit(1))
    assert begun.wait(30)
    for number in (2, 3, 4):
        behind.put(commit(number))
    assert written == [(1, [1])]
    behind.close()

    assert written == [(1, [1]), (4, [2, 3, 4])]


def test_a_disk_that_is_full_stops_the_run_in_one_line_and_keeps_what_was_committed(tmp_path, monkeypatch):
    config = settings(num_server_rounds=200, local_epochs=1)
    real = RunWriter.checkpoint

    def full(self, number, arrays, **options):
        if number > 3:
            raise OSError(28, "No space left on device")
        real(self, number, arrays, **options)

    monkeypatch.setattr(RunWriter, "checkpoint", full)
    monkeypatch.setattr(checkpoint, "PACE", 0.0)
    with pytest.raises(FederationError, match=r"cannot be written to \(No space left on device\); what was committed"):
        edgefed.run(config, out=tmp_path / "run", progress=False)
    monkeypatch.undo()

    kept = sorted((tmp_path / "run" / "checkpoint").glob("*.npz"))
    whole, _ = trained(config.replace(num_server_rounds=200))
    assert all(int(path.stem[-6:]) <= 3 for path in kept)
    assert json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[0])["round"] == 1
    resumed = edgefed.run(config, out=tmp_path / "run", progress=False, resume=True)
    assert figures(resumed) == figures(whole)
