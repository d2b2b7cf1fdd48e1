"""Single clients' updates, made again: what each of them sent in a round."""

import numpy as np
import pytest
from federations import ENGINES, queried, settings

from edgefed.engines import make_engine
from edgefed.federation.rounds import run_rounds
from edgefed.federation.updates import updates


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("changes", [{}, {"compression": "int8"}, {"strategy": "scaffold"}, {"imbalance": "smote"}])
def test_those_of_the_first_round_are_what_the_clients_sent_then(engine, changes):
    """Their average by rows, whatever was packed on the way, is the model that the round ended with."""
    config = settings(num_server_rounds=1, dtype="float64", **changes)
    ended, trainer = queried(config, make_engine(engine))
    run_rounds([ended], trainer.exchange)

    again, trainer = queried(config, make_engine(engine))
    begun, asked = again.weights.copy(), np.flatnonzero(again.rows)
    who, weights = updates(again, trainer.exchange, asked, 1)

    assert who.tolist() == asked.tolist()
    np.testing.assert_allclose(np.average(weights, 0, again.rows[who]), ended.weights, atol=1e-12)
    np.testing.assert_array_equal(again.weights, begun)
    assert (again.round, again.history) == (0, [])


def test_a_client_sends_the_same_whoever_else_is_asked():
    federation, trainer = queried(settings())
    asked = np.flatnonzero(federation.rows)
    everyone = updates(federation, trainer.exchange, asked, 4)[1]

    who, alone = updates(federation, trainer.exchange, asked[1:2], 4)

    assert who.tolist() == [asked[1]]
    np.testing.assert_array_equal(alone[0], everyone[1])
