"""A run's course, and rounds that are kept compressed."""

import math
import tracemalloc

import numpy as np
import pytest
from federations import settings, trained
from made_courses import course

from edgefed.api.course import Course, PackedRounds
from edgefed.api.figures import not_converged


def test_it_is_what_the_run_says():
    run, clients = trained(settings(num_server_rounds=7, evaluate_every=3))

    found = Course.of(run)

    assert found.rounds.tolist() == [3, 6, 7]
    history = run.history
    assert found.score.tolist() == history["test.balanced_accuracy"][[2, 5, 6]].tolist()
    assert found.validation_loss.tolist() == history["validation.log_loss"][[2, 5, 6]].tolist()
    moved = np.cumsum(history["bytes_up"] + history["bytes_down"]) + sum(run.manifest["query_bytes"].values())
    assert found.moved.tolist() == moved[[2, 5, 6]].tolist()
    assert found.moved[-1] == sum(run.summary["bytes"].values())
    # A row a client a round: round, client, rows, steps, loss, verdict.
    assert found.steps == pytest.approx(np.mean([row[3] for row in clients]))
    assert found.last("g_mean") == run.summary["test"]["g_mean"]
    assert found.last("brier", "validation") == run.summary["validation"]["brier"]


def test_a_folder_that_does_not_say_how_many_steps_there_were():
    run, _ = trained(settings())
    for row in run.rounds:
        del row["steps"]

    assert math.isnan(Course.of(run).steps)


def test_the_last_tenth():
    assert course(np.arange(20)).last_tenth == 18.5
    assert course([0.1, 0.2, 0.4]).last_tenth == 0.4


@pytest.mark.parametrize(
    ("losses", "falling"), [([1.0, 0.98], True), ([1.0, 0.995], False), ([1.0], False), ([], False)]
)
def test_loss_that_still_falls(losses, falling):
    made = course([0.5])
    object.__setattr__(made, "validation_loss", np.array(losses))

    assert made.still_falling(by=0.01) is falling


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([1.0, 0.5, 0.6, 0.53], 20),
        ([1.0, 0.5, 0.6, 0.52], None),
        ([1.0, 0.9, 0.5], None),
        ([0.5], None),
        ([], None),
        ([math.inf, math.inf], None),
        ([0.5, math.inf], 10),
        ([0.0, 0.0], None),
        # Twenty: the last tenth are two, 0.50 and 0.56 on average 0.53; alone they would be one above, one not.
        ([1.0, *[0.5] * 17, 0.5, 0.56], 20),
        # The lowest lies in the last tenth: it swings, and is not past anything.
        ([1.0, *[0.6] * 17, 0.5, 0.9], None),
    ],
)
def test_loss_past_its_best(losses, best):
    """Every tenth round is evaluated."""
    made = course([0.5] * max(1, len(losses)), rounds=range(10, 10 * max(1, len(losses)) + 1, 10))
    object.__setattr__(made, "validation_loss", np.array(losses))

    assert made.past_best(by=0.05) == best


def test_a_loss_that_falls_from_far_above_its_best_is_not_one_that_more_rounds_would_lower():
    """Ten rounds, the last tenth is one: 1.2 is below 0.99 x 1.3 and above 1.05 x 1.0."""
    losses = {
        "falling": [2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.05, 1.0],
        "both": [2.0, 1.0, 1.1, 1.2, 1.3, 1.3, 1.3, 1.3, 1.3, 1.2],
        "level": [2.0, *[1.0] * 9],
    }
    made = {name: course([0.5] * 10) for name in losses}
    for name, values in losses.items():
        object.__setattr__(made[name], "validation_loss", np.array(values))

    assert made["both"].still_falling(by=0.01)
    assert made["both"].past_best(by=0.05) == 2
    assert {name: not_converged([each]) for name, each in made.items()} == {"falling": 1, "both": 0, "level": 0}
    assert not_converged([made["falling"], *made.values()]) == 2


def test_null_stands_for_a_log_loss_that_is_not_finite():
    assert course([0.5], test_loss=None).last("log_loss") == math.inf


def test_packed_rounds_come_out_as_they_went_in_and_take_a_tenth_of_the_memory():
    run, _ = trained(settings(num_server_rounds=50))
    run.rounds[3]["test"]["log_loss"] = math.inf

    tracemalloc.start()
    packed = PackedRounds(run.rounds)
    small = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    tracemalloc.start()
    unpacked = list(packed)
    large = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert unpacked == run.rounds
    assert (len(packed), packed[-1], packed[3:5]) == (50, run.rounds[-1], run.rounds[3:5])
    assert small < large / 8
