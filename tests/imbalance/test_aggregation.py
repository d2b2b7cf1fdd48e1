"""Uniform, class-balanced and CLIMB: who has how much say in the average."""

import numpy as np
import pytest
import torch
from federations import queried, together
from shards_by_hand import holding, one_round

from edgefed.config import FederationConfig
from edgefed.engines import make_engine
from edgefed.federation.checkpoint import RunLog
from edgefed.federation.clients import Clients
from edgefed.federation.components import update_of
from edgefed.federation.rounds import run_rounds
from edgefed.imbalance import REMEDIES
from edgefed.learning.schedule import schedule_of
from edgefed.learning.training import train
from edgefed.runs import RunWriter

COUNTS = [[9, 3, 0], [1, 0, 0], [0, 2, 1], [0, 0, 0]]
SAY = {
    "uniform": [1, 1, 1, 0],
    # n_c = 10, 5, 1: 9/10 + 3/5; 1/10; 2/5 + 1.
    "class-balanced": [1.5, 0.1, 1.4, 0],
}


@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("name", SAY)
def test_the_average_is_weighted_by_the_say(name, engine):
    config, data = holding(COUNTS, imbalance=name, dtype="float64", num_server_rounds=1)
    after = one_round(Clients(config, data.shards)).params.numpy()
    federation, trainer = queried(config, make_engine(engine), data)

    run_rounds([federation], trainer.exchange)

    say = np.array(SAY[name])
    np.testing.assert_allclose(federation.weights, say @ after / say.sum(), rtol=0, atol=1e-12)
    assert federation.clients[0].rows.tolist() == [12, 1, 3]  # rows are rows, whatever the say


def test_climbs_dual_step_by_hand():
    """Shen et al.: l <- clip(l + eta (loss - mean - eps) / K, 0, 100).

    eta = 2, eps = 0.1, K = 4 clients with rows (a fifth has none), and the mean of 1, 2, 6 is 3.
    """
    climb = REMEDIES["climb"](FederationConfig(imbalance="climb", climb_rate=2.0, climb_tolerance=0.1))
    dual = np.array([0.5, 3.0, 99.5, 0.2, 0.0])

    after = climb.dual_step(dual, np.array([0, 1, 2]), np.array([1.0, 2.0, 6.0]), 4)

    np.testing.assert_allclose(after, [0, 2.45, 100, 0.2, 0])
    assert dual.tolist() == [0.5, 3.0, 99.5, 0.2, 0.0]


def test_a_loss_that_is_not_finite_moves_nothing():
    climb = REMEDIES["climb"](FederationConfig(imbalance="climb"))
    dual = np.array([0.5, 0.0])

    assert climb.dual_step(dual, np.array([0, 1]), np.array([np.inf, np.nan]), 2).tolist() == [0.5, 0.0]
    assert climb.dual_step(dual, np.array([0, 1]), np.array([np.inf, 2.0]), 2).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_two_rounds_of_climb_written_out(engine):
    """Round 1 is uniform; from its start losses come the duals that weigh round 2: p_k ~ 1 + l_k - mean(l)."""
    config, data = holding(COUNTS, imbalance="climb", dtype="float64", num_server_rounds=2, climb_rate=20.0)
    federation, trainer = queried(config, make_engine(engine), data)
    clients = Clients(config, data.shards)
    weights, dual = federation.weights, np.zeros(4)
    who = np.array([0, 1, 2])
    for number in (1, 2):
        rows = [data.shards.train.indices[data.shards.train.offsets[k] : data.shards.train.offsets[k + 1]] for k in who]
        losses = np.array([_log_loss(federation, weights, data, part) for part in rows])
        after = _trained(clients, federation, weights, number)
        say = np.maximum(1 + dual[who] - dual[who].mean(), 0)
        weights = say @ after[who] / say.sum()
        dual[who] = np.clip(dual[who] + 20 * (losses - losses.mean() - 0.1) / 3, 0, 100)

    run_rounds([federation], trainer.exchange)

    assert dual.max() > 0.1
    np.testing.assert_allclose(federation.dual, dual, rtol=1e-5)
    np.testing.assert_allclose(federation.weights, weights, rtol=0, atol=1e-6)


def _log_loss(federation, weights, data, rows):
    module = federation.model.module().double()
    module.load_state_dict({k: torch.tensor(v) for k, v in federation.model.state_dict(weights).items()})
    features = (data.dataset.features[rows] - federation.guidance.mean) / federation.guidance.scale
    logits = module(torch.tensor(features)).detach()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(data.dataset.labels[rows])))


def _trained(clients, federation, weights, number):
    cohort = clients.cohort(federation.guidance, np.arange(4), torch.tensor(weights), number)
    return train(update_of(clients.config, clients.model), schedule_of(clients.config), cohort).params.numpy()


def test_at_rate_0_climb_is_uniform():
    settings = {"imbalance": "climb", "climb_rate": 0.0, "long_tail": 10.0, "num_server_rounds": 3}
    climb, uniform = together(
        [FederationConfig(**settings), FederationConfig(**(settings | {"imbalance": "uniform"}))],
        make_engine("batched"),
    )

    assert climb.weights.tobytes() == uniform.weights.tobytes()


def test_a_resumed_climb_goes_on_with_its_duals(tmp_path):
    config, data = holding(COUNTS, imbalance="climb", num_server_rounds=6, climb_rate=20.0)
    whole, trainer = queried(config, data=data)
    run_rounds([whole], trainer.exchange)

    begun, _ = queried(config, trainer, data)
    log = RunLog(begun, RunWriter(tmp_path))
    log.writer.begin(config, {})

    def stop_after_four(federation):
        log.write()
        if federation.round == 4:
            raise KeyboardInterrupt

    begun.on_round = stop_after_four
    with pytest.raises(KeyboardInterrupt), log:
        run_rounds([begun], trainer.exchange)
    resumed, _ = queried(config, trainer, data)
    RunLog(resumed, RunWriter(tmp_path)).restore()
    assert resumed.round == 4
    run_rounds([resumed], trainer.exchange)

    assert resumed.weights.tobytes() == whole.weights.tobytes()
    assert resumed.dual.tolist() == whole.dual.tolist()
    assert whole.dual.any()


def test_a_round_in_which_nobody_has_a_say_changes_nothing_and_says_so():
    """One client a round, and one whose dual is far below the others': its say is cut to zero."""
    config, data = holding(COUNTS[:3], imbalance="climb", num_server_rounds=1, fraction_train=0.3)
    federation, trainer = queried(config, data=data)
    federation.dual = np.where(np.arange(3) == federation.cohort(1)[0], 0.0, 50.0)
    before = federation.weights.copy()

    run_rounds([federation], trainer.exchange)

    assert federation.weights.tobytes() == before.tobytes()
    assert federation.history[0]["note"] == "no client had any say: the round changed nothing"


def test_a_device_that_comes_late_has_all_of_a_class_at_most():
    """It was not there when the classes were counted, and holds more of one than all that were."""
    balanced = REMEDIES["class-balanced"](FederationConfig(imbalance="class-balanced"))
    say = balanced.say(np.array([[20, 2, 0]]), np.array([10.0, 4.0, 1.0]))
    assert say.tolist() == [1.5]
    assert balanced.say_range(3) == (0, 3)
