"""Updates as whole numbers: the step, the range, the weights, and what cannot be encoded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefed.config import FederationConfig
from edgefed.federation.secagg.vectors import HEADER, Quantizer, roundings

COARSE = Quantizer(clip=1.0, bits=8, most_weight=4.0, most_rows=4.0)


def test_by_hand():
    """L = 256, step = 1/128: weight 1 of 4 is 64; w x = 0.25 * 0.5 = 0.125 is (1.125) * 128 = 144."""
    vector = COARSE.encode(np.array([0.5, -1.0]), 1.0, 2, 0.5, 3, np.full(3, 1e-9))

    assert vector.tolist() == [64, 128, 160, 3, 0, 144, 96]
    assert vector.dtype == np.uint32


def test_a_sum_decoded_by_hand():
    """Two clients, weights 1 and 4 of 4, numbers 0.5 and -0.25: (0.25 * 0.5 - 0.25) / 1.25 = -0.1."""
    parts = [(0.5, 1.0, 2), (-0.25, 4.0, 2)]
    total = sum(COARSE.encode(np.array([x]), weight, rows, 0.5, 1, np.full(2, 1e-9)) for x, weight, rows in parts)

    found = COARSE.decode(total, 2)

    assert found.update.tolist() == [pytest.approx(-0.1)]
    assert found.loss == pytest.approx(0.5)
    assert (found.steps, found.clipped) == (2, 0)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20), st.floats(0, 6), st.integers(0, 1000))
def test_every_entry_fits_and_is_off_by_less_than_a_step(numbers, weight, seed):
    update = np.array(numbers)

    vector = COARSE.encode(update, weight, 1, 0.0, 1, np.random.default_rng(seed).uniform(0, 1, len(update) + 1))

    assert (vector <= COARSE.levels).all()
    meant = np.clip(update, -1, 1) * (vector[0] / COARSE.levels)
    assert np.abs(vector[HEADER:] * COARSE.step - 1.0 - meant).max() < COARSE.step * (1 + 1e-9)
    assert vector[4] == (np.abs(update) > 1).sum()


def test_roundings_are_right_on_average_and_named_by_round_and_client():
    config = FederationConfig(seed=5)
    draws = np.stack([roundings(config, number, 3, 1)[1:] for number in range(4000)])
    quantizer = Quantizer(1.0, 8, 1.0, 1.0)
    update = np.array([0.3 / 128])  # three tenths of a step above a whole number

    found = [quantizer.encode(update, 1.0, 1, 0.0, 1, np.append(0.5, draw))[HEADER] for draw in draws]

    assert set(found) == {128, 129}
    assert np.mean(found) == pytest.approx(128.3, abs=0.03)  # 4 SD
    assert np.array_equal(roundings(config, 1, 3, 9), roundings(config, 1, 3, 9))
    assert not np.isin(roundings(config, 1, 3, 9), roundings(config, 1, 4, 9)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="weights that are not finite"):
        COARSE.encode(np.array([0.1, bad]), 1.0, 1, 0.0, 1, np.full(3, 0.5))


def test_a_sum_that_nobody_can_have_sent_is_refused_and_one_without_weight_is_none():
    with pytest.raises(ValueError, match="none of vectors"):
        COARSE.decode(np.array([10, 10, 0, 0, 0, 2 * 256 + 1], np.uint32), 2)
    assert COARSE.decode(np.array([0, 10, 0, 0, 0, 256], np.uint32), 2) is None


@pytest.mark.parametrize("most", [0.0, -1.0, np.nan, 1e10])
def test_a_largest_weight_that_is_none(most):
    with pytest.raises(ValueError, match="largest weight"):
        Quantizer.of(FederationConfig(), most, 1.0)
