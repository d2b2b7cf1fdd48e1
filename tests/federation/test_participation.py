"""Drop-out, stragglers, deadlines and selection in whole federations: who answers, what counts, what it costs."""

import json

import numpy as np
import pytest
from federations import ENGINES, apart, figures, queried, settings, trained, without_seconds

import edgefed
from edgefed.config import SettingsError
from edgefed.data.shards import federate
from edgefed.edge.clock import FLOPS_A_WEIGHT
from edgefed.edge.profiles import PROFILES
from edgefed.engines import make_engine
from edgefed.errors import FederationError
from edgefed.federation.rounds import run_rounds
from edgefed.notes import notes_of_run

EVEN = {"partition": "iid", "long_tail": 1.0, "num_clients": 6, "num_server_rounds": 4, "local_epochs": 4}
CASES = {
    "drop-out": {"drop_out": 0.4},
    "stragglers dropped": {"stragglers": 0.5},
    "stragglers accepted": {"stragglers": 0.5, "partial_work": "accept"},
    "power of choice": {"selection": "power-of-choice", "fraction_train": 0.5},
    "oort": {"selection": "oort", "fraction_train": 0.5, "device_spread": 1.0},
    "deadline accepted": {"round_deadline": 0.04, "partial_work": "accept", "device_spread": 1.0},
    "all of it": {
        "drop_out": 0.2,
        "stragglers": 0.5,
        "partial_work": "accept",
        "selection": "oort",
        "fraction_train": 0.7,
        "strategy": "scaffold",
        "compression": "int8",
        "devices": "phone:1,raspberry-pi-4:1",
        "device_spread": 0.5,
        "round_deadline": 0.5,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_engines_agree_to_the_bit(case):
    config = settings(**EVEN | CASES[case])

    (batched, rows), (sequential, others) = (trained(config, engine) for engine in ENGINES)

    assert apart(batched, sequential) == 0
    assert figures(batched) == figures(sequential)
    assert str(rows) == str(others)  # who is lost has no loss, and nan is not nan


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_uninterrupted_one(case, tmp_path):
    config = settings(**EVEN | CASES[case])
    whole = edgefed.run(config, progress=False)

    def stop(federation):
        if federation.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(config, progress=False, out=tmp_path / "run", on_round=stop)
    resumed = edgefed.run(config, progress=False, out=tmp_path / "run", resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]
    assert without_seconds(list(resumed.rounds)) == without_seconds(json.loads(json.dumps(list(whole.rounds))))
    assert resumed.manifest["edge"] == whole.manifest["edge"]


def test_neutral_settings_change_no_bit():
    plain, _ = trained(settings())
    same, _ = trained(settings(stragglers=0.0, drop_out=0.0, round_deadline=1e6, partial_work="accept"))
    other_devices, _ = trained(settings(devices="microcontroller", device_spread=1.0))

    assert plain.summary["model_sha256"] == same.summary["model_sha256"]
    assert plain.summary["model_sha256"] == other_devices.summary["model_sha256"]
    assert plain.summary["modelled"] != other_devices.summary["modelled"]


def test_whoever_drops_out_counts_for_nothing():
    run, rows = trained(settings(**EVEN | {"drop_out": 0.4, "num_server_rounds": 40, "local_epochs": 1}))

    verdicts = [row[-1] for row in rows]
    share = verdicts.count("dropped out") / len(verdicts)
    assert set(verdicts) == {"ok", "dropped out"}
    assert abs(share - 0.4) < 5 * np.sqrt(0.24 / 240)
    assert run.summary["client_updates"] == verdicts.count("ok")
    assert run.summary["modelled"]["joules"] > 0


def test_whoever_drops_out_draws_nothing_after_that():
    """All drop out, each by itself: nobody is left to wait, so what is drawn is of the phases alone."""
    federation, trainer = queried(settings(num_server_rounds=1, drop_out=1.0))
    run_rounds([federation], trainer.exchange)

    device, (down, up) = PROFILES["raspberry-pi-4"], federation.participation.wire
    for client in np.flatnonzero(federation.rows):
        busy = federation.ledger.busy[client]
        receiving = min(busy, device.latency + 8 * down / device.down)
        sending = device.latency + 8 * up / device.up
        computing = min(busy - receiving, seconds_of(federation, client, 2) - sending - receiving)
        expected = device.receive * receiving + device.compute * computing
        expected += device.send * (busy - receiving - computing)
        assert federation.ledger.joules[client] == pytest.approx(expected, rel=1e-12)
    assert len(set(federation.ledger.busy[federation.rows > 0].tolist())) > 1


@pytest.mark.parametrize("selection", ["oort", "power-of-choice"])
def test_a_client_that_says_no_loss_does_not_decide_who_is_chosen(selection):
    """NaN would spoil every comparison; infinity would always win; zero would never."""
    federation, trainer = queried(settings(**EVEN | {"selection": selection, "fraction_train": 0.5,
                                                     "num_server_rounds": 12}))  # fmt: skip

    def exchange(items):
        answers = trainer.exchange(items)
        for replies in answers:
            silent = replies.metrics["partition-id"] == 2
            replies.metrics = {**replies.metrics, "train-loss": np.where(silent, np.nan, replies.metrics["train-loss"])}
        return answers

    run_rounds([federation], exchange)

    assert np.isfinite(federation.ledger.loss[federation.ledger.last > 0]).all()
    assert 0 < federation.ledger.loss[2] < 10
    assert 1 <= federation.ledger.counted[2] < 12
    assert (federation.ledger.counted > 0).all()


def test_everyone_drops_out():
    run, rows = trained(settings(drop_out=1.0))

    assert run.summary["client_updates"] == 0
    assert {row[-1] for row in rows} == {"dropped out"}
    assert [row["note"] for row in run.rounds] == ["no reply: the round changed nothing"] * 3
    said = "no client's update counted in any of 3 rounds"
    assert [line.startswith(said) for line in notes_of_run(run)].count(True) == 1
    assert not any(said in line for line in notes_of_run(trained(settings(drop_out=0.5))[0]))


def test_too_few_replies_are_out_of_all_that_were_drawn():
    config = settings(drop_out=1.0, min_replies=1)
    holders = int((federate(config)[1].shards.train.sizes > 0).sum())
    with pytest.raises(FederationError, match=rf"0 of {holders} clients gave a good reply \({holders} dropped out\)"):
        trained(config)
    slow = settings(**EVEN | {"stragglers": 0.5, "min_replies": 6})
    with pytest.raises(FederationError, match=r"3 of 6 clients gave a good reply \(3 stragglers\), min-replies=6"):
        trained(slow)


def test_exactly_a_share_are_stragglers_and_each_does_one_to_all_but_one_epochs():
    config = settings(**EVEN | {"stragglers": 0.5, "partial_work": "accept", "num_server_rounds": 30})

    _, rows = trained(config)

    full = max(row[3] for row in rows)
    per_epoch = full // 4
    done = np.array([row[3] for row in rows]).reshape(30, 6)
    assert ((done < full).sum(1) == 3).all()
    assert set((done[done < full] // per_epoch).tolist()) == {1, 2, 3}


def test_dropped_stragglers_are_left_out():
    _, rows = trained(settings(**EVEN | {"stragglers": 0.5}))

    assert [row[-1] for row in rows].count("straggler") == 4 * 3
    assert all(row[3] == 0 for row in rows if row[-1] == "straggler")


def test_both_ways_to_treat_stragglers_see_the_same_ones():
    dropped, accepted = (
        trained(settings(**EVEN | {"stragglers": 0.5, "partial_work": way}))[1] for way in ("drop", "accept")
    )
    full = max(row[3] for row in accepted)

    slow = {(row[0], row[1]) for row in dropped if row[-1] == "straggler"}
    assert slow == {(row[0], row[1]) for row in accepted if row[3] < full}


def seconds_of(federation, client, epochs):
    """Return a client's modelled seconds by the equations of the docs."""
    device, (down, up) = PROFILES["raspberry-pi-4"], federation.participation.wire
    rows = int(federation.rows[client])
    steps = epochs * -(-rows // 10)
    compute = steps * device.step_seconds + FLOPS_A_WEIGHT * 131 * epochs * rows / device.flops
    return 2 * device.latency + 8 * down / device.down + 8 * up / device.up + compute


def test_a_round_takes_as_long_as_its_slowest_and_draws_what_the_equations_say():
    federation, trainer = queried(settings(num_server_rounds=1))
    run_rounds([federation], trainer.exchange)

    holders = np.flatnonzero(federation.rows)
    expected = [seconds_of(federation, client, 2) for client in holders]
    modelled = federation.history[0]["modelled"]
    np.testing.assert_allclose(modelled["seconds"], max(expected), rtol=1e-12)
    np.testing.assert_allclose(federation.ledger.busy[holders], expected, rtol=1e-12)
    device, (down, up) = PROFILES["raspberry-pi-4"], federation.participation.wire
    receive = device.receive * (device.latency + 8 * down / device.down)
    send = device.send * (device.latency + 8 * up / device.up)
    moving = 2 * device.latency + 8 * down / device.down + 8 * up / device.up
    joules = sum(receive + send + device.compute * (t - moving) + device.idle * (max(expected) - t) for t in expected)
    np.testing.assert_allclose(modelled["joules"], joules, rtol=1e-12)


def walked(steps, drawn, batch):
    """Return the rows that so many steps go over, batch by batch: an epoch's last one has what is left."""
    rows, left = 0, 0
    for _ in range(steps):
        left = left or drawn
        rows += min(batch, left)
        left -= min(batch, left)
    return rows


RESAMPLED = settings(alpha=1.0, num_server_rounds=1, local_epochs=5, batch_size=4, imbalance="random-oversampling")


@pytest.mark.parametrize("changes", [{"match": "epochs"}, {}, {"match": "epochs", "batch_size": 0},
                                     {"imbalance": "random-undersampling"}, {"match": "epochs", "imbalance": "smote"}],
                         ids=str)  # fmt: skip
def test_the_clock_counts_the_rows_that_a_remedy_draws(changes):
    """Steps and rows of every client by hand, from what the manifest says that the remedy drew and made."""
    config = RESAMPLED.replace(**changes)
    federation, trainer = queried(config)
    run_rounds([federation], trainer.exchange)

    found = federation.applied(federation.guidance)
    device, (down, up) = PROFILES["raspberry-pi-4"], federation.participation.wire
    moving = 2 * device.latency + 8 * down / device.down + 8 * up / device.up
    expected, apart = np.zeros(config.num_clients), 0
    for client in np.flatnonzero(federation.rows):
        drawn, rows = found["drawn"][client] + found["made"][client], int(federation.rows[client])
        batch = config.batch_size or drawn
        steps = 5 * -(-(drawn if config.match == "epochs" else rows) // (config.batch_size or 10**9))
        went = walked(steps, drawn, batch)
        apart += went != 5 * rows
        expected[client] = moving + steps * device.step_seconds + FLOPS_A_WEIGHT * 131 * went / device.flops
    np.testing.assert_allclose(federation.ledger.busy, expected, rtol=1e-12)
    assert apart >= 3


def test_the_message_that_stands_for_all_weighs_what_they_weigh():
    """Within the few bytes by which whole numbers' lengths differ."""
    slow = {"stragglers": 0.5, "partial_work": "accept"}
    for changes in (
        {}, {"strategy": "scaffold"}, {"compression": "top-k"}, {"imbalance": "post-hoc"}, {"strategy": "fedprox"},
        {"strategy": "qfedavg"}, {"imbalance": "uniform"}, {"imbalance": "climb"}, slow,
    ):  # fmt: skip
        federation, trainer = queried(settings(num_server_rounds=1, **changes))
        run_rounds([federation], trainer.exchange)
        clients = federation.history[0]["clients"]
        down, up = federation.participation.wire
        assert abs(federation.bytes_down / clients - down) < 8, changes
        assert abs(federation.bytes_up / clients - up) < 8, changes


def test_a_deadline_drops_the_slow_and_bounds_the_round():
    federation, _ = queried(settings(num_server_rounds=1))
    holders = np.flatnonzero(federation.rows)
    needed = {int(client): seconds_of(federation, client, 2) for client in holders}
    deadline = float(np.median(list(needed.values())))

    run, rows = trained(settings(num_server_rounds=1, round_deadline=deadline))

    late = {client for client, seconds in needed.items() if seconds > deadline}
    assert {row[1] for row in rows if row[-1] == "late"} == late
    assert 0 < len(late) < len(needed)
    assert run.summary["modelled"]["seconds"] == deadline
    busy = np.array(run.manifest["edge"]["busy_seconds"])
    np.testing.assert_allclose(busy[sorted(late)], deadline, rtol=1e-12)  # nobody told them to stop after an epoch


def test_partial_work_is_the_epochs_that_fit():
    config = settings(num_server_rounds=1, local_epochs=10)
    federation, _ = queried(config)
    client = int(np.argmax(federation.rows))
    deadline = (seconds_of(federation, client, 6) + seconds_of(federation, client, 7)) / 2

    run, rows = trained(config.replace(round_deadline=deadline, partial_work="accept"))

    steps = {row[1]: row[3] for row in rows}
    assert steps[client] == 6 * -(-int(federation.rows[client]) // 10)
    assert run.summary["modelled"]["seconds"] <= deadline
    assert all(row[-1] == "ok" for row in rows)


def test_partial_work_is_the_epochs_of_drawn_rows_that_fit():
    config = RESAMPLED.replace(match="epochs", local_epochs=10)
    federation, trainer = queried(config)
    run_rounds([federation], trainer.exchange)
    client = int(np.argmax(federation.ledger.busy))
    taken = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].steps.tolist(), strict=True))[client]
    down, up = federation.participation.wire
    device = PROFILES["raspberry-pi-4"]
    moving = 2 * device.latency + 8 * down / device.down + 8 * up / device.up
    deadline = moving + 0.65 * (federation.ledger.busy[client] - moving)

    run, rows = trained(config.replace(round_deadline=float(deadline), partial_work="accept"))

    assert {row[1]: row[3] for row in rows}[client] == 6 * taken // 10
    assert run.summary["modelled"]["seconds"] <= deadline


def test_an_empty_battery_ends_it(tmp_path):
    path = tmp_path / "devices.toml"
    numbers = {
        "step-seconds": 0.001, "flops": 1e9, "memory": 1e6, "down": 1e6, "up": 1e6, "latency": 1.0,
        "idle": 0.1, "compute": 1.0, "receive": 1.0, "send": 1.0, "battery": 5.0,
    }  # fmt: skip
    path.write_text("[coin-cell]\n" + "\n".join(f"{key} = {value}" for key, value in numbers.items()))
    config = settings(**EVEN | {"devices": "coin-cell", "device_profiles": str(path), "num_server_rounds": 6})

    run, rows = trained(config)

    # Two seconds of latency at 1 W and a little more a round: three rounds take 6 J, and the fourth finds none left.
    assert [row["clients"] for row in run.rounds] == [6, 6, 6, 0, 0, 0]
    assert max(run.manifest["edge"]["joules"]) < 7
    assert {row[0] for row in rows} == {1, 2, 3}


def test_the_clock_waits_for_whoever_comes_first(tmp_path):
    path = tmp_path / "traces.json"
    trace = {"active": [100], "inactive": [200], "finish_time": 1000}
    path.write_text(json.dumps({"a": trace, "b": {"active": [0], "inactive": [50], "finish_time": 1000}}))
    config = settings(**EVEN | {"availability": str(path), "fraction_train": 1.0, "num_server_rounds": 2})

    _, rows = trained(config)

    assert {row[1] for row in rows} == {1, 3, 5}  # the others come after 100 s


def test_the_share_of_rounds_of_each_classs_holders():
    """One class a client: a class's share is its holders' share of the rounds."""
    config = settings(
        **EVEN | {"partition": "classes", "classes_per_client": 1, "fraction_train": 0.5, "num_server_rounds": 10}
    )
    run, rows = trained(config)

    edge, counts = run.manifest["edge"], np.array(run.manifest["shards"]["class_counts"])
    asked = np.zeros(6)
    for row in rows:
        asked[row[1]] += 1
    assert edge["counted"] == edge["asked"] == asked.tolist()
    expected = [float((asked / 10) @ counts[:, label] / counts[:, label].sum()) for label in range(3)]
    np.testing.assert_allclose(edge["by_class"], expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_that_lost_its_state_starts_at_zero_and_the_history_says_so(engine):
    federation, trainer = queried(settings(**EVEN | {"strategy": "scaffold"}), make_engine(engine))

    def forget(federation):
        if federation.round == 2:
            state = federation.grid.clients.state
            state.arrays["control"][3] = 0
            state.seen[3] = 0

    federation.on_round = forget
    run_rounds([federation], trainer.exchange)

    verdicts = {(entry.round, int(client)): verdict for entry in federation.clients
                for client, verdict in zip(entry.ids, entry.verdicts, strict=True)}  # fmt: skip
    assert verdicts[3, 3] == "ok, state lost"
    assert [key for key, verdict in verdicts.items() if verdict != "ok"] == [(3, 3)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device_profiles": "nowhere.toml"}, r"nowhere\.toml"),
        ({"availability": "nowhere.json"}, r"nowhere\.json"),
        ({"device_profiles": __file__, "devices": "mine"}, "not valid TOML"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_a_folder_is_made(changes, says, tmp_path):
    with pytest.raises(SettingsError, match=says):
        edgefed.run(settings(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
