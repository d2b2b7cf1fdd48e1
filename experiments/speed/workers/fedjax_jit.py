"""fedjax (Google): its federated averaging under its ``jit`` backend.

fedjax 0.0.17 (2023) is no longer maintained. One name that it uses, ``jax.tree_map``, has left JAX since; it is put
back here, and nothing else is changed. It fills batches across the ends of epochs: 8 steps of 10 rows for 5 epochs of
15 rows, where the other systems take 10 steps.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from workload import WORKLOADS, add_options, client_rows, emit, initial_weights, timed

jax.tree_map = jax.tree_util.tree_map

import fedjax  # noqa: E402  (after the name that it needs)
from fedjax.algorithms import fed_avg  # noqa: E402


def loss(params, batch, rng):
    """Return the mean cross-entropy of a batch."""
    *hidden, last = params
    a = batch["x"]
    for weight, bias in hidden:
        a = jax.nn.relu(a @ weight.T + bias)
    log_probability = jax.nn.log_softmax(a @ last[0].T + last[1])
    return -jnp.mean(jnp.take_along_axis(log_probability, batch["y"][:, None], 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    asked = parser.parse_args()
    work = WORKLOADS[asked.workload]
    rows = zip(*client_rows(work, asked.clients), strict=True)
    datasets = [fedjax.ClientDataset({"x": x, "y": y}) for x, y in rows]
    with fedjax.for_each_client_backend("jit"):
        algorithm = fed_avg.federated_averaging(
            jax.grad(loss),
            client_optimizer=fedjax.optimizers.sgd(work.rate),
            server_optimizer=fedjax.optimizers.sgd(1.0),
            client_batch_hparams=fedjax.ShuffleRepeatBatchHParams(batch_size=work.batch, num_epochs=work.epochs),
        )
    # Drawn beforehand: the loss is not random, so the same keys serve every round.
    keys = np.asarray(jax.random.split(jax.random.PRNGKey(0), asked.clients))
    clients = list(zip(range(asked.clients), datasets, keys, strict=True))
    state = algorithm.init([(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in initial_weights(work)])

    def one_round() -> None:
        nonlocal state
        state, _ = algorithm.apply(state, clients)
        jax.block_until_ready(state.params)

    seconds = timed(one_round, asked.rounds)
    moved = float(np.abs(np.asarray(state.params[0][0]) - initial_weights(work)[0][0]).max())
    emit(seconds, ["fedjax", "jax", "numpy"], weights_moved_by=moved)


if __name__ == "__main__":
    main()
