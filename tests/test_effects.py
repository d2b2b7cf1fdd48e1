"""The table of settings without effect, held against trained federations: what it says does nothing does nothing."""

import dataclasses

import pytest
from federations import trained

from edgefed.config import FederationConfig
from edgefed.effects import ACTS, without_effect

SMALL = FederationConfig(num_clients=6, num_server_rounds=3, local_epochs=2, long_tail=5.0)
FULL_BATCH = {"dataset": "fedprox-synthetic", "partition": "natural", "num_clients": 30, "batch_size": 0}
NOISY = "class-weights-balanced-noisy"
EFFECTIVE = "class-weights-effective-local"

#: setting -> a value of it, and settings under which that value acts; without them it does not.
CASES = {
    "synthetic": ("0,0", FULL_BATCH | {"hidden": "", "long_tail": 1.0, "num_server_rounds": 1}),
    "long_tail_order": ("2,1,0", {"long_tail": 5.0}),
    "alpha": (5.0, {"partition": "quantity"}),
    "classes_per_client": (1, {"partition": "classes"}),
    "shards_per_client": (1, {"partition": "shards"}),
    "activation": ("tanh", {"hidden": "4"}),
    "logit_adjustment_tau": (0.5, {"imbalance": "post-hoc"}),
    "focal_gamma": (1.0, {"imbalance": "focal"}),
    "effective_number_beta": (0.5, {"imbalance": EFFECTIVE}),
    "histogram_epsilon": (0.1, {"imbalance": NOISY}),
    "ldam_margin": (0.1, {"imbalance": "ldam"}),
    "fedlc_tau": (0.5, {"imbalance": "fedlc"}),
    "fedrs_alpha": (0.1, {"imbalance": "fedrs"}),
    "smote_neighbors": (1, {"imbalance": "smote", "partition": "iid"}),
    "bootstrap_shrinkage": (0.1, {"imbalance": "smoothed-bootstrap", "partition": "iid"}),
    "jitter_scale": (0.5, {"imbalance": "jitter"}),
    "mixup_alpha": (1.0, {"imbalance": "mixup"}),
    "climb_rate": (5.0, {"imbalance": "climb"}),
    "climb_tolerance": (0.0, {"imbalance": "climb"}),
    "server_learning_rate": (0.5, {"strategy": "fedadagrad"}),
    "server_momentum": (0.5, {"strategy": "fedavgm"}),
    "server_beta_1": (0.5, {"strategy": "fedadam"}),
    "server_beta_2": (0.5, {"strategy": "fedyogi"}),
    "server_tau": (0.1, {"strategy": "fedadam"}),
    "qfedavg_q": (2.0, {"strategy": "qfedavg"}),
    "malicious_share": (0.4, {"strategy": "fedtrimmedavg"}),
    "partial_work": ("accept", {"stragglers": 0.5}),
    "selection": ("power-of-choice", {"fraction_train": 0.5}),
    "selection_pool": (1.0, {"selection": "power-of-choice", "fraction_train": 0.34}),
    "top_k_share": (0.5, {"compression": "top-k"}),
}
#: What a setting of the defaults has to be for the value to do nothing.
IDLE = {"long_tail_order": {"long_tail": 1.0}, "alpha": {"partition": "iid"}, "activation": {"hidden": ""}}


def test_every_setting_of_the_table_is_tried():
    assert set(CASES) | {"client_column"} == set(ACTS)
    assert set(ACTS) <= {spec.name for spec in dataclasses.fields(FederationConfig)}


@pytest.mark.parametrize("setting", CASES)
def test_a_setting_does_nothing_where_the_table_says_so_and_something_where_it_does_not(setting):
    value, acting = CASES[setting]
    idle, active = SMALL.replace(**IDLE.get(setting, {})), SMALL.replace(**acting)
    key = setting.replace("_", "-")

    assert [given.partition("=")[0] for given, _ in without_effect(idle.replace(**{setting: value}))] == [key]
    assert without_effect(active.replace(**{setting: value})) == []
    assert outcome(idle.replace(**{setting: value})) == outcome(idle)
    assert outcome(active.replace(**{setting: value})) != outcome(active)


def outcome(config):
    """Return what a federation came to: its model, what it moved, how it predicts."""
    run, _ = trained(config)
    return run.summary["model_sha256"], run.summary["bytes"], run.summary["modelled"], run.manifest["prediction"]


def test_one_of_several_remedies_is_enough():
    config = FederationConfig(focal_gamma=3.0)

    assert without_effect(config, ["none", "focal"]) == []
    assert without_effect(config, ["none", "ldam"]) == [
        ("focal-gamma=3", "has no effect here: it is for imbalance=focal")
    ]


def test_a_setting_at_its_default_asks_for_nothing_and_devices_share_out_by_themselves():
    assert without_effect(FederationConfig(partition="iid")) == []
    assert without_effect(FederationConfig(dataset="devices", partition="iid", alpha=1.0)) == []
