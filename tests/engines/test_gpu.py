"""``device=cuda`` on a pretended GPU (``tests/gpu.py``): nothing stays on the wrong side, and results are the CPU's."""

import numpy as np
import pytest
import torch
from federations import settings, together
from gpu import OnGPU, PretendedGPU

import edgefed
from edgefed.config import SettingsError
from edgefed.engines import make_engine
from edgefed.imbalance import REMEDIES

CASES = {
    **{f"imbalance={name}": {"imbalance": name} for name in REMEDIES},
    "loss=mse": {"loss": "mse"},
    "loss=hinge": {"loss": "hinge"},
    "adam, decayed and pulled": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.01, "proximal_mu": 0.1},
    "momentum": {"momentum": 0.9, "dtype": "float64"},
    "whole shards": {"batch_size": 0},
    "some clients": {"fraction_train": 0.3},
    "rows of their own": {"client_test_fraction": 0.2, "long_tail": 1.0},
    "scaffold": {"strategy": "scaffold", "drop_out": 0.2},
    "fednova, partial work": {"strategy": "fednova", "stragglers": 0.5, "partial_work": "accept"},
    "fedadam": {"strategy": "fedadam"},
    "qfedavg": {"strategy": "qfedavg"},
    "krum": {"strategy": "krum"},
    "int8": {"compression": "int8"},
    "privacy=dp-fixed": {"privacy": "dp-fixed", "standardize": "server"},
    "privacy=secagg": {"privacy": "secagg"},
}


#: What a device's ClientApp has lines of its own for.
ON_A_DEVICE = (
    "imbalance=none",
    "imbalance=mixup",
    "rows of their own",
    "scaffold",
    "qfedavg",
    "int8",
    "privacy=secagg",
)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with PretendedGPU() as mode:
        yield mode


@pytest.mark.parametrize(
    ("engine", "case"), [("batched", case) for case in CASES] + [("sequential", case) for case in ON_A_DEVICE]
)
def test_a_federation_ends_in_the_same_bits(engine, case, gpu):
    found = {}
    for device in ("cpu", "cuda"):
        moved = gpu.moved
        config = settings(**({"device": device, "local_epochs": 1} | CASES[case]))
        found[device] = edgefed.run(config, engine=engine, progress=False).summary
        assert (gpu.moved > moved) == (device == "cuda")

    assert found["cuda"]["model_sha256"] == found["cpu"]["model_sha256"]
    assert found["cuda"]["test"] == found["cpu"]["test"]


def test_a_rounds_batches_stay_on_the_gpu(gpu):
    """What crosses in a round does not grow with its steps: rows, orders and weights are carried once."""

    def crossed(rounds, epochs):
        moved, back = gpu.moved, gpu.back
        edgefed.run(settings(device="cuda", num_server_rounds=rounds, local_epochs=epochs), progress=False)
        return gpu.moved - moved, gpu.back - back

    few, many = ([crossed(rounds, epochs) for rounds in (2, 3)] for epochs in (1, 20))
    assert few == many
    more = [after - before for before, after in zip(*few, strict=True)]
    assert 0 < more[0] <= 4  # weights, orders and each row's share of its batch
    assert 0 < more[1] <= 4  # weights before and after, and losses


def test_federations_in_lockstep_end_in_the_same_bits(gpu):
    remedies = ("none", "focal", "mixup", "smote", "balanced-batches")
    assert set(remedies) <= set(REMEDIES)
    found = {
        device: together([settings(imbalance=name, device=device) for name in remedies], make_engine("batched"))
        for device in ("cpu", "cuda")
    }
    for one, other in zip(*found.values(), strict=True):
        assert np.array_equal(one.weights, other.weights)


def test_an_explanation_is_the_same(gpu):
    found = []
    for device in ("cpu", "cuda"):
        run = edgefed.run(settings(device=device, client_test_fraction=0.2, long_tail=1.0), progress=False)
        found.append(edgefed.explain(run, progress=False).result["importance"])
    assert found[0] == found[1]


def test_what_a_gpu_refuses_is_refused(gpu):
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    for left_behind in (lambda: here + there, lambda: torch.cat([here, there]), lambda: there.mul_(here)):
        with pytest.raises(RuntimeError, match="on the same device, found cuda and cpu"):
            left_behind()
    for untouched in (there.numpy, lambda: np.asarray(there)):
        with pytest.raises(TypeError, match="use Tensor"):
            untouched()
    assert isinstance((there + 1)[torch.tensor([0, 2])], OnGPU)
    assert type((there + 1).cpu()) is torch.Tensor


def test_ray_says_that_it_trains_on_processors(gpu, tmp_path):
    with pytest.raises(SettingsError, match="device=cuda: Ray's workers train on processors; device=cpu, or"):
        edgefed.run(settings(device="cuda"), engine="ray", out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
