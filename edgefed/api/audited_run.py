"""One run audited: what its global model and single updates tell of who was in the training rows."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.analysis.membership import Attack, View, confidence, given_threshold
from edgefed.api.assembly import data_of, in_process
from edgefed.api.influence import influence
from edgefed.config import SettingsError
from edgefed.engines.grid import InProcessGrid
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.query import query
from edgefed.federation.updates import updates
from edgefed.learning.training import torch_threads
from edgefed.private import without_privacy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.analysis.statistics import Interval
    from edgefed.config import FederationConfig
    from edgefed.data.shards import FederatedData
    from edgefed.engines.grid import Engine
    from edgefed.federation.clients import Clients
    from edgefed.federation.federation import Federation
    from edgefed.runs import Run

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MOST_UPDATES = 50
"""Clients whose updates are attacked, at most: of more, evenly spaced ones."""


def audited(run: Run, trainer: Engine) -> dict[str, Any]:
    """Return ``attacks`` on a run, by :data:`~edgefed.names.ATTACKS`, ``influence`` and ``cautions``.

    Members are the rows that training drew at clients that took part; outsiders those that no client trains on: the
    server's test and validation rows, and what clients hold out. Updates are those of the first round, as they were,
    and of a round that would follow the last. Where clients carry something of their own from round to round (SCAFFOLD,
    top-k), the folder does not hold it, and only the first round's can be made again.

    Raises
    ------
    SettingsError
        In one line: rows lie on devices or are others, the model diverged, or nobody knows who took part.
    """
    found = _Ready.of(run, trainer)
    attacks = {"global": Attack([found.view(found.final, np.concatenate(list(found.trained.values())))])}
    if not found.config.keeps_state:
        own, others = found.views(trainer, found.final, found.config.num_server_rounds + 1)
        attacks |= {"update": Attack(own), "whose": Attack(others)}
    attacks["first-update"] = Attack(found.views(trainer, found.initial, 1)[0])
    names = found.data.dataset.class_names
    return {
        "attacks": {kind: _figures(attack, names) for kind, attack in attacks.items()},
        "influence": influence(found.clients, found.federation.guidance),
        "cautions": found.cautions(attacks),
    }


def check_finite(run: Run) -> None:
    """Refuse a model that diverged.

    Raises
    ------
    SettingsError
    """
    if not all(np.isfinite(array).all() for array in run.weights.values()):
        raise SettingsError(f"{run.folder or 'the run'}: its model diverged (weights that are not finite)")


@dataclass(frozen=True)
class _Ready:
    """A run whose rows are here: its clients, queried again, and which rows each of them trained on."""

    config: FederationConfig
    data: FederatedData
    federation: Federation
    final: NDArray[np.floating]
    initial: NDArray[np.floating]
    trained: dict[int, Ints]
    features: torch.Tensor

    @classmethod
    def of(cls, run: Run, trainer: Engine) -> _Ready:
        check_finite(run)
        elsewhere = "audit a simulation under the same settings: edgefed run"
        if run.config.dataset == "devices":
            raise SettingsError(
                f"{run.folder or 'the run'}: its rows lie on devices, where no server can compare them with the model; "
                + elsewhere
            )
        config, data = data_of(run, elsewhere)
        # What secure aggregation masks is looked at before it is masked.
        clear = without_privacy(config) if config.privacy == "secagg" else config
        federation = in_process(clear, data, trainer)
        query([federation], trainer.exchange, [range(config.num_clients)])
        clients = _clients(federation)
        rows = clients.trained_on(federation.guidance)
        everything = HeldOut(data.dataset.features, data.dataset.labels)
        return cls(
            config=config,
            data=data,
            federation=federation,
            final=federation.model.flat(run.weights).astype(config.dtype),
            initial=federation.weights,
            trained={client: rows.rows(client) for client in took_part(run, federation.rows) if rows.sizes[client]},
            # As the server would scale them, who does not know a client's own scale.
            features=torch.from_numpy(everything.ready(federation.guidance, config.standardize)),
        )

    @property
    def clients(self) -> Clients:
        return _clients(self.federation)

    @property
    def outsiders(self) -> Ints:
        shards = self.data.shards
        return np.setdiff1d(np.arange(len(shards.labels)), shards.train.indices)

    def view(self, weights: NDArray[np.floating], members: Ints, others: Ints | None = None) -> View:
        """Return what a model shows of its members and of other rows (the outsiders, where none are given)."""
        others = self.outsiders if others is None else others
        rows = np.concatenate([members, others])
        model, labels = self.federation.model, self.data.dataset.labels[rows]
        with torch.no_grad(), torch_threads(1):
            layers = model.unpack(torch.from_numpy(weights).double())
            logits = model.forward(layers, self.features[rows])[0].numpy()
        return View(rows, labels, confidence(logits, labels), np.arange(len(rows)) < len(members))

    def views(self, trainer: Engine, weights: NDArray[np.floating], round_number: int) -> tuple[list[View], list[View]]:
        """Return what clients' updates show of their own rows beside the outsiders, and beside each other's rows.

        Of the latter it is by how much the update is surer of a row than the weights that it began with: those have
        learned other clients' rows too.
        """
        self.federation.set_weights(weights)
        clients = np.array(sorted(self.trained))
        asked = clients[
            np.unique(np.linspace(0, len(clients) - 1, min(MOST_UPDATES, len(clients))).round().astype(int))
        ]
        answered, stack = updates(self.federation, trainer.exchange, asked, round_number)
        every = np.concatenate([self.trained[client] for client in asked.tolist()])
        before = np.zeros(len(self.data.dataset.labels))
        before[every] = self.view(weights, every, every[:0]).scores
        beside, among = [], []
        for client, sent in zip(answered.tolist(), stack, strict=True):
            own = self.trained[client]
            beside.append(self.view(sent, own))
            seen = self.view(sent, own, np.setdiff1d(every, own))
            among.append(replace(seen, scores=seen.scores - before[seen.rows]))
        return beside, among

    def cautions(self, attacks: dict[str, Attack]) -> list[str]:
        """Return what the figures cannot tell, a sentence each."""
        said = []
        found = attacks["global"]
        if left := found.asked - found.members:
            said.append(f"{left} members of classes with fewer than two outsiders are left out.")
        if self.config.differentially_private:
            said.append(
                f"privacy={self.config.privacy} adds its noise to the sum: who sees the model meets it, but the server "
                "sees updates as they are attacked here."
            )
        if self.config.privacy == "secagg":
            said.append("privacy=secagg keeps from the server the updates that are attacked here: it sees their sum.")
        if self.config.partition == "natural":
            said.append(
                "Clients are the data's own: an update may favour rows that are like its client's, whether it was "
                "trained on them or not, and what is read in it is then not membership alone."
            )
        if self.config.standardize == "local":
            said.append(
                "Clients scale by their own rows; the attacker, who does not know those scales, by all clients'."
            )
        if self.config.keeps_state:
            said.append("What clients carry from round to round is not kept: only first updates can be made again.")
        if len(self.trained) > MOST_UPDATES:
            said.append(f"Updates of {MOST_UPDATES} of {len(self.trained)} clients are attacked.")
        return said


def _clients(federation: Federation) -> Clients:
    assert isinstance(federation.grid, InProcessGrid)
    return federation.grid.clients


def took_part(run: Run, rows: Ints) -> list[int]:
    """Return the clients whose updates counted in at least one round; ``rows`` [clients] are what each holds.

    Raises
    ------
    SettingsError
        Where not all took part and the run has no folder that says who did.
    """
    holders = np.flatnonzero(rows)
    if any(row["clients"] >= len(holders) for row in run.rounds):
        return [int(client) for client in holders]
    table = run.folder / "clients.csv" if run.folder is not None else None
    if table is None or not table.is_file():
        raise SettingsError(
            f"{run.folder or 'the run'}: not every client took part, and no clients.csv says who did; run it with --out"
        )
    with table.open(encoding="utf-8", newline="") as lines:
        counted = {int(row["client"]) for row in csv.DictReader(lines) if row["verdict"].startswith("ok")}
    return sorted(counted & set(holders.tolist()))


def _figures(attack: Attack, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    interval = attack.auc()
    rate, false = attack.true_positives()
    low, high = given_threshold(rate, attack.members)
    classes = attack.by_class()
    rarest = min(classes, key=lambda row: row["members"])["interval"] if classes else interval
    return {
        "auc": _interval(interval),
        "rarest_auc": _interval(rarest),
        "pooled_auc": {"mean": attack.pooled_auc()},
        "tpr": {"mean": rate, "low": low, "high": high},
        "false_positives": false,
        "chance": attack.chance(),
        "members": attack.members,
        "outsiders": attack.outsiders,
        "left_out": attack.asked - attack.members,
        "resolution": attack.resolution,
        "classes": [
            {
                "class": names[row["label"]],
                "members": row["members"],
                "outsiders": row["outsiders"],
                "auc": row["auc"],
                "low": row["interval"].low,
                "high": row["interval"].high,
            }
            for row in classes
        ],
        "roc": attack.curve(),
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}
