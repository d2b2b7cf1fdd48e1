"""References: pooled training and each client alone, by the same step, tuned as the remedies are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from federations import settings
from sklearn.metrics import balanced_accuracy_score

from edgefed.api.references import NAMES, references
from edgefed.data.shards import federate
from edgefed.learning.model import MLP


def made(base, seeds, rates=(0.1,)):
    return references(base, {seed: federate(base.replace(seed=seed))[1] for seed in seeds}, rates)


def test_they_are_where_they_should_be():
    """Ten seeds on iris with a tail of 10: the tail costs pooled training, and being alone costs far more."""
    found = made(settings(num_server_rounds=20, local_epochs=3), range(10))
    pooled, before, alone = (np.mean(found[name]) for name in NAMES)

    assert list(found) == list(NAMES)
    assert all(len(values) == 10 for values in found.values())
    assert all(0 <= value <= 1 for values in found.values() for value in values)
    assert before >= pooled - 0.01
    assert before > 0.9
    assert alone < pooled - 0.2
    assert alone > 1 / 3


@pytest.mark.parametrize("name", ["pooled", "pooled-before-tail"])
def test_pooled_training_is_torchs_own(name):
    """Full batches have no order to draw: 12 epochs of torch's SGD give the same score on the same rows.

    Before the tail, the rows that it dropped are trained on, so they are not tested on.
    """
    base = settings(num_server_rounds=3, local_epochs=4, batch_size=0, dtype="float64", learning_rate=0.5)
    _, data = federate(base)
    rows, test = data.split.pool, data.split.test
    assert len(data.split.dropped) > 10
    if name == "pooled-before-tail":
        rows, test = np.union1d(rows, data.split.dropped), np.setdiff1d(test, data.split.dropped)
    features = data.dataset.features.astype(np.float64)
    features = (features - features[rows].mean(0)) / features[rows].std(0)
    model = MLP(4, (16,), 3)
    module = model.module().double()
    module.load_state_dict({name: torch.tensor(a) for name, a in model.state_dict(model.initial(0)).items()})
    optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
    x, y = torch.tensor(features[rows]), torch.tensor(data.dataset.labels[rows])
    for _ in range(12):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        predicted = module(torch.tensor(features[test])).argmax(1).numpy()

    found = made(base, [0], (0.5,))

    assert found[name][0] == pytest.approx(balanced_accuracy_score(data.dataset.labels[test], predicted), abs=1e-12)


def test_without_a_tail_both_pooled_references_are_one():
    without_tail = made(settings(long_tail=1.0, num_server_rounds=10), [0, 1])

    assert without_tail["pooled"] == without_tail["pooled-before-tail"]


def test_a_reference_chooses_its_rate_on_validation_rows():
    """A rate that learns nothing is never chosen, and given only that rate the score shows it."""
    base = settings(num_server_rounds=5)

    both, good, bad = (made(base, range(3), rates) for rates in ((1e-7, 0.3), (0.3,), (1e-7,)))

    assert both == good
    assert np.mean(bad["pooled"]) < np.mean(good["pooled"]) - 0.1


def test_test_rows_choose_nothing():
    """Rates are picked the same whatever the test labels are."""
    base = settings(num_server_rounds=5)
    data = {seed: federate(base.replace(seed=seed))[1] for seed in range(3)}
    rates = (0.01, 0.1, 1.0)
    alone = {rate: references(base, data, (rate,)) for rate in rates}
    chosen = {
        name: [rate for rate in rates if alone[rate][name] == references(base, data, rates)[name]] for name in NAMES
    }
    assert all(chosen.values())

    turned = {}
    for seed, shared in data.items():
        labels = shared.dataset.labels.copy()
        only = np.setdiff1d(shared.split.test, shared.split.dropped)
        labels[only] = (labels[only] + 1) % 3
        turned[seed] = _with_labels(shared, labels)
    turned_alone = {rate: references(base, turned, (rate,)) for rate in rates}
    picked = references(base, turned, rates)

    for name in NAMES:
        assert picked[name] in [turned_alone[rate][name] for rate in chosen[name]]


def _with_labels(shared, labels):
    return replace(shared, dataset=replace(shared.dataset, labels=labels), shards=replace(shared.shards, labels=labels))
