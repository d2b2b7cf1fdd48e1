"""Model, data and training, as Flower's PyTorch quickstart has them."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def model() -> nn.Module:
    """Return an MLP 4-16-3."""
    return nn.Sequential(OrderedDict([("fc1", nn.Linear(4, 16)), ("relu", nn.ReLU()), ("fc2", nn.Linear(16, 3))]))


def loaders(partition_id: int, num_partitions: int) -> tuple[DataLoader, DataLoader]:
    """Return a node's training and test rows of iris."""
    x, y = load_iris(return_X_y=True)
    x = StandardScaler().fit_transform(x).astype(np.float32)
    rows = np.random.default_rng(0).permutation(len(y))[partition_id::num_partitions]
    train, test = rows[: int(0.8 * len(rows))], rows[int(0.8 * len(rows)) :]

    def loader(chosen: np.ndarray, shuffle: bool) -> DataLoader:
        return DataLoader(
            TensorDataset(torch.tensor(x[chosen]), torch.tensor(y[chosen])), batch_size=10, shuffle=shuffle
        )

    return loader(train, True), loader(test, False)


def train(net: nn.Module, rows: DataLoader, epochs: int = 5) -> float:
    """Train by SGD; return the last epoch's mean loss."""
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for _ in range(epochs):
        total = 0.0
        for x, y in rows:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / len(rows)


def test(net: nn.Module, rows: DataLoader) -> tuple[float, float]:
    """Return loss and accuracy."""
    criterion = nn.CrossEntropyLoss()
    net.eval()
    right, total = 0, 0.0
    with torch.no_grad():
        for x, y in rows:
            logits = net(x)
            total += criterion(logits, y).item()
            right += int((logits.argmax(1) == y).sum())
    return total / len(rows), right / len(rows.dataset)
