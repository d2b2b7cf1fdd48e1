"""Updates as whole numbers: the step, the range, the weights, and what cannot be encoded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefed.config import FederationConfig
from edgefed.federation.secagg.vectors import HEADER, Quantizer, roundings

COARSE = Quantizer(clip=1.0, bits=8, most_weight=4.0, most_rows=4.0)


def test_by_hand():
    """L = 256, step = 1/128: weight 1 of 4 is 64; w x = 0.25 * 0.5 = 0.125 is (1.125) * 128 = 144.

    Two rows of 4 are 128; a loss of 64, half of the largest, is half of that.
    """
    vector = COARSE.encode(np.array([0.5, -1.0]), 1.0, 2, 64.0, 3, np.full(3, 1e-9))

    assert vector.tolist() == [64, 128, 128, 64, 3, 0, 144, 96]
    assert vector.dtype == np.uint32


def summed(parts, loss=64.0):
    """Return the sum of vectors of one number each: (number, weight, rows), all rounded down."""
    return sum(COARSE.encode(np.array([x]), weight, rows, loss, 1, np.full(2, 1e-9)) for x, weight, rows in parts)


def test_a_sum_decoded_by_hand():
    """Two clients, weights 1 and 4 of 4, numbers 0.5 and -0.25: (0.25 * 0.5 - 0.25) / 1.25 = -0.1."""
    found = COARSE.decode(summed([(0.5, 1.0, 1), (-0.25, 4.0, 4)]), [1, 4])

    assert found.update.tolist() == [pytest.approx(-0.1)]
    assert (found.loss, found.told) == (64.0, 1.0)
    assert (found.steps, found.clipped) == (2, 0)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -1.0, 129.0])
def test_a_loss_that_cannot_be_told_is_left_out_with_its_rows(loss):
    """Of five rows the one has no loss: the others' 64 is the mean, over four fifths of the rows."""
    total = summed([(0.5, 1.0, 1)], loss) + summed([(-0.25, 4.0, 4)])

    found = COARSE.decode(total, [1, 4])

    assert (found.loss, found.told) == (64.0, 0.8)
    assert np.isnan(COARSE.decode(summed([(0.0, 4.0, 4)] * 2, loss), [4, 4]).loss)


def test_losses_beyond_the_clipping_range_are_told_as_they_are():
    assert COARSE.decode(summed([(0.0, 4.0, 4)] * 2, 96.0), [4, 4]).loss == 96.0


def test_a_small_client_has_some_say():
    """Of 4 rows in 10,000 nothing would be left of 256 levels: it gets one of them."""
    quantizer = Quantizer(1.0, 8, 1e4, 1e4)

    assert quantizer.encode(np.zeros(1), 4.0, 4, 0.5, 1, np.full(2, 0.5))[:2].tolist() == [1, 1]
    assert quantizer.encode(np.zeros(1), 0.0, 4, 0.5, 1, np.full(2, 0.5))[0] == 0


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20), st.floats(0, 6), st.integers(0, 1000))
def test_every_entry_fits_and_is_off_by_less_than_a_step(numbers, weight, seed):
    update = np.array(numbers)

    vector = COARSE.encode(update, weight, 1, 0.0, 1, np.random.default_rng(seed).uniform(0, 1, len(update) + 1))

    assert (vector <= COARSE.levels).all()
    meant = np.clip(update, -1, 1) * (vector[0] / COARSE.levels)
    assert np.abs(vector[HEADER:] * COARSE.step - 1.0 - meant).max() < COARSE.step * (1 + 1e-9)
    assert vector[5] == (np.abs(update) > 1).sum()


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


@pytest.mark.parametrize(
    ("place", "by"),
    {
        "less weight": (0, -1),
        "more weight": (0, 1),
        "other rows": (1, 1),
        "more rows with a loss than rows": (2, 1),
        "more loss than there can be": (3, 170),
        "more steps than there can be": (4, 600),
        "an average beyond the range": (6, 300),
        "an average below it": (6, -250),
    }.values(),
)
def test_a_sum_that_these_clients_cannot_have_sent_is_refused(place, by):
    """Weights 1 and 4 of 4, numbers 0.5 and -0.25: entries 64 + 256, ..., (1.125 + 0.75) * 128 = 240."""
    total = summed([(0.5, 1.0, 1), (-0.25, 4.0, 4)]).astype(np.int64)
    assert total.tolist() == [320, 320, 320, 160, 2, 0, 240]
    COARSE.decode(total.astype(np.uint32), [1, 4])
    total[place] += by

    with pytest.raises(ValueError, match="none of vectors that these clients may send"):
        COARSE.decode(total.astype(np.uint32), [1, 4])


def test_where_a_remedy_gives_the_weights_their_sum_is_within_its_range():
    total = summed([(0.5, 1.0, 1), (-0.25, 4.0, 4)])

    assert COARSE.decode(total, [1, 4], (0.0, 4.0)) is not None
    with pytest.raises(ValueError, match="none of vectors"):
        COARSE.decode(total, [1, 4], (4.0, 4.0))


def test_a_sum_without_weight_is_none():
    assert COARSE.decode(summed([(0.0, 0.0, 4)] * 2), [4, 4], (0.0, 4.0)) is None


@pytest.mark.parametrize("most", [0.0, -1.0, np.nan, 1e10])
def test_a_largest_weight_that_is_none(most):
    with pytest.raises(ValueError, match="largest weight"):
        Quantizer.of(FederationConfig(), most, 1.0)
