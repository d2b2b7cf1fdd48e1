"""``best.toml``: validation rows choose it, where test rows would have chosen another."""

import tomllib

import pytest

from edgefed.analysis.statistics import HELPS, HURTS, UNDECIDED
from edgefed.api.plan import Plan
from edgefed.api.suggestion import best_toml
from edgefed.config import FederationConfig

WORK = Plan(FederationConfig(seed=3), ("none", "post-hoc", "balanced-softmax"), (3, 4), (0.1, 1.0), tuned=True)


def arm(name, tier, validation, rate):
    return {"name": name, "tier": tier, "validation_balanced_accuracy": validation, "learning_rate": rate}


def suggested(*strategies, settled=WORK.base):
    text = best_toml(WORK, {"strategies": list(strategies)}, settled)
    return text.splitlines()[0], FederationConfig.from_mapping(tomllib.loads(text))


def test_the_highest_on_validation_rows_is_not_the_first_of_the_ranking():
    """Sorted by test rows, as a comparison's result is: post-hoc leads there and is last on validation rows."""
    ranked = [
        arm("post-hoc", HELPS, 0.7, 0.1),
        arm("none", "control", 0.8, 1.0),
        arm("balanced-softmax", HURTS, 0.9, 1.0),
    ]

    head, config = suggested(*ranked, settled=WORK.base.replace(num_clients=7))

    assert config.imbalance == "balanced-softmax" != ranked[0]["name"]
    assert (config.learning_rate, config.seed, config.num_clients) == (1.0, 3, 7)
    assert head == "# Highest on validation rows. On test rows: balanced-softmax is worse than none."


@pytest.mark.parametrize("turned", [1, -1])
def test_ties_go_by_the_order_asked_for_and_not_by_test_rows(turned):
    ranked = [
        arm("balanced-softmax", UNDECIDED, 0.9, 1.0),
        arm("post-hoc", UNDECIDED, 0.9, 0.1),
        arm("none", "control", 0.8, 0.1),
    ]

    head, config = suggested(*ranked[::turned])

    assert (config.imbalance, config.learning_rate) == ("post-hoc", 0.1)
    assert head.endswith("post-hoc is not told from none by so few seeds.")
