"""A plain PyTorch loop: one model, a fresh optimiser for each client, nothing federated."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

import torch
from torch import nn
from workload import WORKLOADS, Workload, add_options, client_rows, emit, initial_weights, timed

if TYPE_CHECKING:
    from collections.abc import Callable


def module(work: Workload) -> nn.Sequential:
    """Return the workload's network with the workload's initial weights."""
    layers: list[nn.Module] = []
    for weight, bias in initial_weights(work):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(work: Workload, model: nn.Module, x: torch.Tensor, y: torch.Tensor, orders: list[torch.Tensor]) -> None:
    """Train a model on one client's rows, walking through them in the orders given."""
    optimizer = torch.optim.SGD(model.parameters(), lr=work.rate)
    for order in orders:
        for batch in order.split(work.batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    asked = parser.parse_args()
    work = WORKLOADS[asked.workload]
    features, labels = map(torch.from_numpy, client_rows(work, asked.clients))
    model = module(work)
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def some_clients(count: int) -> None:
        for x, y in zip(features[:count], labels[:count], strict=True):
            model.load_state_dict(start)
            train(work, model, x, y, [torch.randperm(work.rows) for _ in range(work.epochs)])

    threads, tried = best_threads(lambda: some_clients(min(asked.clients, 10)))
    torch.set_num_threads(threads)
    seconds = timed(lambda: some_clients(asked.clients), asked.rounds)
    emit(seconds, ["torch"], threads=threads, seconds_by_threads=tried)


def best_threads(sample: Callable[[], object]) -> tuple[int, dict[int, float]]:
    """Return the number of threads, one or all, under which a sample of clients takes the least, and the seconds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    tried = {}
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        sample()
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            sample()
            seconds.append(time.perf_counter() - begun)
        tried[threads] = min(seconds)
    return min(tried, key=tried.__getitem__), tried


if __name__ == "__main__":
    main()
