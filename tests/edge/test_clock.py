"""The clock and the energy model, by hand."""

import numpy as np

from edgefed.edge.clock import Times, joules, round_seconds, times, up_to
from edgefed.edge.profiles import Fleet


def devices():
    """Two clients: the second has half the speed and twice the latency."""
    pair = {
        "step_seconds": [0.001, 0.002],
        "flops": [1000.0, 500.0],
        "memory": [1.0, 1.0],
        "down": [800.0, 400.0],
        "up": [80.0, 40.0],
        "latency": [0.5, 1.0],
        "idle": [1.0, 1.0],
        "compute": [4.0, 4.0],
        "receive": [2.0, 2.0],
        "send": [3.0, 3.0],
        "battery": [0.0, 0.0],
    }
    return Fleet(("a", "b"), np.array([0, 1]), **{name: np.array(values) for name, values in pair.items()})


def test_times_by_hand():
    """10 steps of 5 rows, 7 weights: 0.01 s + 6 x 7 x 50 / 1000 s; 100 bytes down at 800 bit/s, 10 up at 80."""
    found = times(
        devices(), np.array([0, 1]), steps=np.array([10, 10]), rows=np.array([50, 50]), weights=7, down=100, up=10
    )

    np.testing.assert_allclose(found.down, [1.5, 3.0])
    np.testing.assert_allclose(found.compute, [2.11, 4.22])
    np.testing.assert_allclose(found.up, [1.5, 3.0])
    np.testing.assert_allclose(found.total, [5.11, 10.22])


def test_joules_by_hand():
    """Receive 2 W x 1 s, compute 4 W x 2 s, send 3 W x 3 s, then idle 1 W for what is left of 10 s."""
    spent = Times(np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([3.0, 9.0]))

    assert joules(devices(), np.array([0, 1]), spent, 10.0).tolist() == [2 + 8 + 9 + 4, 2 + 8 + 27]


def test_stopping_on_the_way():
    spent = Times(np.full(4, 1.0), np.full(4, 2.0), np.full(4, 3.0))

    stopped = up_to(spent, np.array([0.0, 0.25, 0.5, 1.0]))

    assert stopped.down.tolist() == [0, 1, 1, 1]
    assert stopped.compute.tolist() == [0, 0.5, 2, 2]
    assert stopped.up.tolist() == [0, 0, 0, 3]


def test_how_long_a_round_takes():
    some, none = np.array([1.0, 3.0]), np.empty(0)

    assert round_seconds(some, none, 0.0) == 3
    assert round_seconds(some, np.array([9.0]), 0.0) == 3  # whoever is lost is not waited for
    assert round_seconds(none, np.array([9.0]), 0.0) == 9
    assert round_seconds(some, none, 5.0) == 3
    assert round_seconds(some, np.array([9.0]), 5.0) == 5
    assert round_seconds(none, none, 0.0) == 0
