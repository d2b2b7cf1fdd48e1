"""How clients walk through their rows: numbers of steps, and which rows each takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_training import OPTIMISERS, batches_of, cohort_of, update_of

from edgefed.learning.batches import batches
from edgefed.learning.cohort import Cohort
from edgefed.learning.local_update import ClientUpdate
from edgefed.learning.model import MLP
from edgefed.learning.schedule import Schedule
from edgefed.learning.training import train

MODEL = MLP(4, (6,), 3)
RAGGED = [0, 1, 2, 7, 8, 9, 15, 16, 15, 60, 137, 200, 3, 0]


def named(name: str, loss: str = "cross-entropy", mu: float = 0.0) -> ClientUpdate:
    return update_of(MODEL, OPTIMISERS[name], loss, mu=mu)


@pytest.mark.parametrize(
    ("batch_size", "drawn", "shard", "steps", "epochs"),
    [
        # two local epochs; match=steps goes by the shard's rows, match=epochs by the drawn ones
        (10, 25, 25, 6, 6),
        (10, 40, 25, 6, 8),
        (10, 8, 25, 6, 2),
        (10, 30, 30, 6, 6),
        (10, 31, 30, 6, 8),
        (10, 1, 1, 2, 2),
        (10, 0, 0, 0, 0),
        (10, 0, 25, 0, 0),
        (1, 7, 5, 10, 14),
        (0, 40, 25, 2, 2),
        (0, 1, 25, 2, 2),
        (0, 0, 25, 0, 0),
    ],
)
def test_number_of_steps_by_hand(batch_size, drawn, shard, steps, epochs):
    drawn, shard = np.array([drawn]), np.array([shard])

    assert Schedule(batch_size, 2, match_steps=True).steps(drawn, shard).tolist() == [steps]
    assert Schedule(batch_size, 2, match_steps=False).steps(drawn, shard).tolist() == [epochs]


def test_training_reports_its_steps():
    cohort = cohort_of([40, 8, 0, 25], MODEL, OPTIMISERS["sgd"], shard_rows=[25, 25, 0, 25])

    assert train(named("sgd"), Schedule(10, 2), cohort).steps.tolist() == [6, 6, 0, 6]
    assert train(named("sgd"), Schedule(10, 2, match_steps=False), cohort).steps.tolist() == [8, 2, 0, 6]


# ---- which rows
def drawn_batches(schedule: Schedule, cohort: Cohort) -> list[list[torch.Tensor]]:
    """The rows of each step of each client, as the cohort itself draws them."""
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    rows, share = batches(schedule, cohort, steps)
    found = []
    for client, count in enumerate(steps):
        # Each row weighs 1 / (rows in its batch), and padding nothing.
        weights = share[:count, client]
        torch.testing.assert_close(weights.sum(-1), torch.ones(count, dtype=weights.dtype))
        assert all(len(batch[batch > 0].unique()) == 1 for batch in weights)
        found.append([rows[step, client][weights[step] > 0] for step in range(count)])
    return found


@pytest.mark.parametrize("sizes", [RAGGED, [15] * 4, [20] * 4, [3] * 4, [1], [0]], ids=str)
@pytest.mark.parametrize("match_steps", [True, False])
@pytest.mark.parametrize("batch_size", [0, 1, 10, 64])
def test_batches_are_those_of_the_rule_written_out(batch_size, match_steps, sizes):
    schedule = Schedule(batch_size, 3, match_steps)
    shard_rows = [size and size + 12 * (client % 2) for client, size in enumerate(sizes)]
    cohort = cohort_of(sizes, MODEL, OPTIMISERS["sgd"], shard_rows=shard_rows)

    found = drawn_batches(schedule, cohort)
    for own, ruled in zip(found, batches_of(schedule, cohort), strict=True):
        assert [rows.tolist() for rows in own] == [rows.tolist() for rows in ruled]
    steps = schedule.steps(cohort.drawn_rows, cohort.shard_rows)
    assert schedule.rows_walked(steps, cohort.drawn_rows).tolist() == [sum(map(len, own)) for own in found]


@pytest.mark.parametrize("batch_size", [0, 1, 10])
def test_an_epoch_visits_each_row_once(batch_size):
    schedule = Schedule(batch_size, 3)
    cohort = cohort_of(RAGGED, MODEL, OPTIMISERS["sgd"])

    for client, drawn in enumerate(drawn_batches(schedule, cohort)):
        rows, start = RAGGED[client], int(cohort.starts[client])
        each = int(schedule.steps_per_epoch(np.array([rows]))[0])
        assert len(drawn) == 3 * each
        for epoch in range(3):
            visited = torch.cat(drawn[epoch * each : (epoch + 1) * each]) if each else torch.empty(0)
            assert sorted(visited.tolist()) == list(range(start, start + rows))
        if batch_size:
            sizes = [len(batch) for batch in drawn[:each]]
            assert sizes[:-1] == [batch_size] * (each - 1)
            assert all(1 <= size <= batch_size for size in sizes)


def test_steps_matched_to_the_shard_walk_through_fewer_drawn_rows_again():
    """12 of 35 rows drawn, batch 10: four steps are two passes over the 12."""
    cohort = cohort_of([12], MODEL, OPTIMISERS["sgd"], shard_rows=[35])

    batches = drawn_batches(Schedule(10, 1), cohort)[0]

    assert [len(batch) for batch in batches] == [10, 2, 10, 2]
    for half in (batches[:2], batches[2:]):
        assert sorted(torch.cat(half).tolist()) == list(range(12))
    assert batches[0].tolist() != batches[2].tolist()


def test_steps_matched_to_the_shard_cut_a_longer_epoch_short():
    """40 rows drawn from 25, batch 10: three steps see 30 different rows."""
    cohort = cohort_of([40], MODEL, OPTIMISERS["sgd"], shard_rows=[25])

    batches = drawn_batches(Schedule(10, 1), cohort)[0]

    assert [len(batch) for batch in batches] == [10, 10, 10]
    assert len(set(torch.cat(batches).tolist())) == 30


def test_batches_are_the_clients_own():
    """They follow from (seed, round, client) and the number of rows, never from the company or its order."""
    schedule = Schedule(8, 3)
    cohort = cohort_of(RAGGED, MODEL, OPTIMISERS["sgd"])
    together = drawn_batches(schedule, cohort)
    for client in range(len(RAGGED)):
        alone = drawn_batches(schedule, cohort.take(np.array([client])))[0]
        assert [rows.tolist() for rows in alone] == [rows.tolist() for rows in together[client]]


@pytest.mark.parametrize("name", ["seeds", "rounds", "ids"])
def test_batches_differ_by_every_part_of_their_name(name):
    cohort = cohort_of([60], MODEL, OPTIMISERS["sgd"])
    other = replace(cohort, **{name: getattr(cohort, name) + 1})
    schedule = Schedule(8, 1)

    first, second = drawn_batches(schedule, cohort)[0], drawn_batches(schedule, other)[0]

    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_epochs_are_shuffled_apart():
    batches = drawn_batches(Schedule(0, 5), cohort_of([60], MODEL, OPTIMISERS["sgd"]))[0]

    assert len({tuple(rows.tolist()) for rows in batches}) == 5


def test_every_place_of_an_epoch_is_as_likely_for_every_row():
    """4,000 clients of five rows: each row comes first in about a fifth of them."""
    cohort = cohort_of([5] * 4000, MODEL, OPTIMISERS["sgd"])
    batches = drawn_batches(Schedule(1, 1), cohort)
    place = np.array([[int(rows) for rows in client] for client in batches]) - cohort.starts[:, None]
    counts = np.stack([np.bincount(place[:, position], minlength=5) for position in range(5)])

    # 800 expected, sd sqrt(4000 * 0.2 * 0.8) = 25: five of them.
    assert np.abs(counts - 800).max() < 5 * 25.3
