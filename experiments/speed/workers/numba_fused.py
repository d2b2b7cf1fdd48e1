"""A measuring stick, not a simulator: w1's whole local update as one compiled kernel in float32.

Nothing is federated, evaluated, recorded or sent: this is about the time that the arithmetic itself takes on a
processor. Before anything is timed, the kernel's weights are compared with those of PyTorch on the same batches.
"""

from __future__ import annotations

import argparse

import numba
import numpy as np
import torch
import torch_loop
from numba import njit, prange
from workload import WORKLOADS, add_options, client_rows, emit, initial_weights, timed

WORK = WORKLOADS["w1"]
# Plain numbers, which the compiler takes for constants.
ROWS, FEATURES, HIDDEN, CLASSES = WORK.rows, WORK.features, WORK.hidden[0], WORK.classes
EPOCHS, BATCH, RATE = WORK.epochs, WORK.batch, np.float32(WORK.rate)
ZERO, ONE = np.float32(0), np.float32(1)
TOLERANCE = 1e-4


@njit(parallel=True, cache=False)
def draw_orders(orders, seed):
    """Shuffle every client's rows for every epoch (Fisher and Yates; xorshift64*, seeded by client)."""
    for client in prange(len(orders)):
        state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(client + 1) * np.uint64(0xBF58476D1CE4E5B9)
        for epoch in range(EPOCHS):
            order = orders[client, epoch]
            for row in range(ROWS):
                order[row] = row
            for row in range(ROWS - 1, 0, -1):
                state ^= state >> np.uint64(12)
                state ^= state << np.uint64(25)
                state ^= state >> np.uint64(27)
                drawn = (state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(32)
                other = np.int64((drawn * np.uint64(row + 1)) >> np.uint64(32))
                order[row], order[other] = order[other], order[row]


@njit(parallel=True, fastmath=True, cache=False)
def train_all(features, labels, orders, first, first_bias, second, second_bias, out):
    """Train each client from the same weights: first [in, hidden], second [classes, hidden]; out [clients, size]."""
    for client in prange(len(features)):
        x, y = features[client], labels[client]
        w1, b1, w2, b2 = first.copy(), first_bias.copy(), second.copy(), second_bias.copy()
        g1, c1 = np.empty_like(w1), np.empty_like(b1)
        g2, c2 = np.empty_like(w2), np.empty_like(b2)
        hidden, error = np.empty(HIDDEN, np.float32), np.empty(CLASSES, np.float32)
        for epoch in range(EPOCHS):
            for start in range(0, ROWS, BATCH):
                stop = min(start + BATCH, ROWS)
                rate = RATE / np.float32(stop - start)
                g1[:], c1[:], g2[:], c2[:] = ZERO, ZERO, ZERO, ZERO
                for place in range(start, stop):
                    row = orders[client, epoch, place]
                    for unit in range(HIDDEN):
                        hidden[unit] = b1[unit]
                    for feature in range(FEATURES):
                        value = x[row, feature]
                        for unit in range(HIDDEN):
                            hidden[unit] += value * w1[feature, unit]
                    for unit in range(HIDDEN):
                        hidden[unit] = max(hidden[unit], ZERO)
                    largest = np.float32(-np.inf)
                    for label in range(CLASSES):
                        logit = b2[label]
                        for unit in range(HIDDEN):
                            logit += hidden[unit] * w2[label, unit]
                        error[label] = logit
                        largest = max(largest, logit)
                    total = ZERO
                    for label in range(CLASSES):
                        error[label] = np.exp(error[label] - largest)
                        total += error[label]
                    for label in range(CLASSES):
                        error[label] /= total
                    error[y[row]] -= ONE
                    for label in range(CLASSES):
                        c2[label] += error[label]
                        for unit in range(HIDDEN):
                            g2[label, unit] += error[label] * hidden[unit]
                    for unit in range(HIDDEN):
                        passed = ZERO
                        for label in range(CLASSES):
                            passed += error[label] * w2[label, unit]
                        hidden[unit] = passed if hidden[unit] > ZERO else ZERO
                        c1[unit] += hidden[unit]
                    for feature in range(FEATURES):
                        value = x[row, feature]
                        for unit in range(HIDDEN):
                            g1[feature, unit] += value * hidden[unit]
                for feature in range(FEATURES):
                    for unit in range(HIDDEN):
                        w1[feature, unit] -= rate * g1[feature, unit]
                for unit in range(HIDDEN):
                    b1[unit] -= rate * c1[unit]
                for label in range(CLASSES):
                    b2[label] -= rate * c2[label]
                    for unit in range(HIDDEN):
                        w2[label, unit] -= rate * g2[label, unit]
        size = FEATURES * HIDDEN
        out[client, :size] = w1.ravel()
        out[client, size : size + HIDDEN] = b1
        size += HIDDEN
        out[client, size : size + CLASSES * HIDDEN] = w2.ravel()
        out[client, size + CLASSES * HIDDEN :] = b2


def deviation(features, labels, orders, weights) -> float:
    """Return the largest difference to the weights that PyTorch trains on the same batches."""
    torch.set_num_threads(1)
    worst = 0.0
    for x, y, order, found in zip(features, labels, orders, weights, strict=True):
        model = torch_loop.module(WORK)
        walk = [torch.from_numpy(epoch.astype(np.int64)) for epoch in order]
        torch_loop.train(WORK, model, torch.from_numpy(x), torch.from_numpy(y), walk)
        first, first_bias, second, second_bias = (part.detach().numpy() for part in model.parameters())
        expected = np.concatenate([first.T.ravel(), first_bias, second.ravel(), second_bias])
        worst = max(worst, float(np.abs(expected - found).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    numba.set_num_threads(asked.threads)
    features, labels = client_rows(WORK, asked.clients)
    (first, first_bias), (second, second_bias) = initial_weights(WORK)
    orders = np.empty((asked.clients, EPOCHS, ROWS), np.int8)
    size = sum(part.size for part in (first, first_bias, second, second_bias))
    weights = np.empty((asked.clients, size), np.float32)
    start = (np.ascontiguousarray(first.T), first_bias, second, second_bias)
    rounds = iter(range(1, asked.rounds + 2))

    def one_round() -> None:
        draw_orders(orders, next(rounds))
        train_all(features, labels, orders, *start, weights)

    seconds = timed(one_round, asked.rounds)
    some = slice(0, 20)
    worst = deviation(features[some], labels[some], orders[some], weights[some])
    if not worst < TOLERANCE:
        raise SystemExit(f"the kernel's weights differ from PyTorch's by {worst:g}: nothing to compare speed with")
    emit(seconds, ["numba", "numpy"], threads=asked.threads, largest_difference_to_pytorch=worst)


if __name__ == "__main__":
    main()
