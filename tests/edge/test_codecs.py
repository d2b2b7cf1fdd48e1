"""Codecs against their definitions, and the same for one client as for a stack."""

import numpy as np
import pytest

from edgefed.edge.codecs import CODECS, Float16, Int8, TopK, payload_bytes


def updates(shape=(3, 40), dtype=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def packed(name, update, dtype="float64"):
    codec = CODECS[name](update.shape[-1], dtype, 0.1)
    draws = np.random.default_rng(1).random(update.shape) if codec.draws else None
    return codec, codec.encode(update, draws)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CODECS)
def test_what_is_sent_has_the_layout_that_is_promised(name, dtype):
    codec, sent = packed(name, updates(dtype=dtype), dtype)

    assert {key: (array.dtype.name, array.shape[-1]) for key, array in sent.items()} == codec.layout()
    assert payload_bytes(codec.layout()) == sum(array.nbytes for array in sent.values()) // 3
    assert codec.decode(sent).dtype == dtype
    for client in range(3):
        assert codec.problem({key: array[client] for key, array in sent.items()}) == ""


@pytest.mark.parametrize("name", CODECS)
def test_a_client_alone_is_what_it_is_in_a_stack(name):
    update = updates()
    draws = np.random.default_rng(1).random(update.shape)
    codec = CODECS[name](40, "float64", 0.1)

    stack = codec.encode(update, draws)
    alone = [codec.encode(update[client], draws[client]) for client in range(3)]

    for key, array in stack.items():
        assert array.tobytes() == np.stack([one[key] for one in alone]).tobytes()
    assert codec.decode(stack)[1].tobytes() == codec.decode(alone[1]).tobytes()


def test_float16_is_numpys():
    codec, sent = packed("float16", updates())
    assert codec.decode(sent).tolist() == updates().astype(np.float16).astype(float).tolist()
    assert np.isinf(Float16(1, "float64").decode(Float16(1, "float64").encode(np.array([1e6]))))


def test_int8_by_hand():
    """s = 2.54 / 127 = 0.02; 0.03 is 1.5 steps: floor(1.5 + r) is 1 for r < 0.5, else 2."""
    codec = Int8(3, "float64")
    update = np.array([2.54, 0.03, -0.03])

    low, high = (codec.encode(update, np.full(3, r)) for r in (0.25, 0.75))

    assert low["values"].tolist() == [127, 1, -2]
    assert high["values"].tolist() == [127, 2, -1]
    np.testing.assert_allclose(codec.decode(high), [2.54, 0.04, -0.02])


def test_int8_is_right_on_average():
    codec = Int8(40, "float64")
    update = np.repeat(updates((1, 40)), 20_000, axis=0)
    draws = np.random.default_rng(2).random(update.shape)

    mean = codec.decode(codec.encode(update, draws)).mean(0)

    step = np.abs(update[0]).max() / 127
    # The SD of one rounding is at most half a step; five standard errors of 20,000.
    assert np.abs(mean - update[0]).max() < 5 * 0.5 * step / np.sqrt(20_000)


def test_int8_of_nothing_is_nothing():
    codec = Int8(4, "float32")
    assert codec.decode(codec.encode(np.zeros((2, 4), np.float32), np.full((2, 4), 0.99))).tolist() == [[0] * 4] * 2


def test_top_k_by_hand():
    """The three largest of [1, -5, 2, 2, 0, 4]: -5, 4 and, of the two 2s, the first."""
    codec = TopK(6, "float64", 0.5)

    sent = codec.encode(np.array([1.0, -5, 2, 2, 0, 4]))

    assert sent["places"].tolist() == [1, 2, 5]
    assert sent["values"].tolist() == [-5, 2, 4]
    assert codec.decode(sent).tolist() == [0, -5, 2, 0, 0, 4]
    assert TopK(6, "float64", 0.01).kept == 1
    assert TopK(2**16 + 1, "float64").places == "uint32"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CODECS)
def test_what_diverged_is_seen_to_have(name, value):
    update = updates()
    update[1, 3] = value

    codec, sent = packed(name, update)

    back = codec.decode(sent)
    assert np.isfinite(back).all(1).tolist() == [True, False, True]


@pytest.mark.parametrize("places", [[1, 1], [2, 1], [1, 6]])
def test_places_that_are_none(places):
    codec = TopK(6, "float32", 2 / 6)
    sent = {"values": np.ones(2, np.float32), "places": np.array(places, np.uint16)}
    assert "ascending below 6" in codec.problem(sent)
