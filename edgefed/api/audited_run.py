"""One run audited: what its global model and single updates tell of who was in the training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgefed.analysis.membership import Attack, View, confidence
from edgefed.api.assembly import data_of, in_process
from edgefed.api.influence import influence
from edgefed.api.who_took_part import first_round, took_part
from edgefed.config import SettingsError
from edgefed.engines.grid import InProcessGrid
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.query import query
from edgefed.federation.updates import updates
from edgefed.learning.training import torch_threads
from edgefed.private import without_privacy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Audited:
    """What one run was found to tell.

    Attributes
    ----------
    attacks : dict of str to Attack
        By :data:`~edgefed.names.ATTACKS`.
    classes : sequence of str
    rarest : int
        The class of the fewest training rows, before any remedy draws from them.
    influence : dict of str to float
    cautions : list of str
        What the figures cannot tell, whatever they are.
    """

    attacks: dict[str, Attack]
    classes: Sequence[str]
    rarest: int
    influence: dict[str, float]
    cautions: list[str]


def audited(run: Run, trainer: Engine, *, tuned: bool = False) -> Audited:
    """Attack one run.

    Members are the rows that training drew at clients that took part; outsiders those that no client trains on: the
    server's test and validation rows, and what clients hold out. Updates are those of the first round, of whom it asked
    and for as many epochs as it did, and of a round that would follow the last. Where clients carry something of
    their own from round to round (SCAFFOLD, top-k), the folder does not hold it: only the first round is made again.

    Parameters
    ----------
    run : Run
    trainer : Engine
    tuned : bool
        Whether the run was chosen by its validation rows: those are then no outsiders. Neutral: it was not.

    Raises
    ------
    SettingsError
        In one line: rows lie on devices or are others, the model diverged, or nobody knows who took part.
    """
    found = _Ready.of(run, trainer, tuned=tuned)
    attacks = {"global": Attack([found.view(found.final, np.concatenate(list(found.trained.values())))])}
    if not found.config.keeps_state:
        own, others = found.views(found.after_the_last(trainer))
        attacks |= {"update": Attack(own), "whose": Attack(others)}
    attacks["first-update"] = Attack(found.views(found.of_the_first(trainer))[0])
    return Audited(
        attacks=attacks,
        classes=found.data.dataset.class_names,
        rarest=rarest(found.data),
        influence=influence(found.clients, found.federation.guidance),
        cautions=found.cautions(),
    )


def rarest(data: FederatedData) -> int:
    """Return the class of the fewest training rows, of those that have any; of several the last in the tail's order."""
    rows = data.class_counts.sum(0)
    order = [*data.split.order[::-1], *range(len(rows))]
    return min(np.flatnonzero(rows).tolist(), key=lambda label: (rows[label], order.index(label)))


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
    first: tuple[Ints, Ints]
    """Clients whose updates counted in the first round, ascending, and the epochs that each got done."""
    tuned: bool

    @classmethod
    def of(cls, run: Run, trainer: Engine, *, tuned: bool = False) -> _Ready:
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
        rows, took = clients.trained_on(federation.guidance), took_part(run, federation.rows)
        if not took:
            raise SettingsError(f"{run.folder or 'the run'}: no client's update counted in any round: nothing to audit")
        everything = HeldOut(data.dataset.features, data.dataset.labels)
        return cls(
            config=config,
            data=data,
            federation=federation,
            final=federation.model.flat(run.weights).astype(config.dtype),
            initial=federation.weights,
            trained={client: rows.rows(client) for client in took if rows.sizes[client]},
            # As the server would scale them, who does not know a client's own scale.
            features=torch.from_numpy(everything.ready(federation.guidance, config.standardize)),
            first=first_round(run, config, federation),
            tuned=tuned,
        )

    @property
    def clients(self) -> Clients:
        return _clients(self.federation)

    @property
    def outsiders(self) -> Ints:
        """Rows that no client trains on, and that chose nothing."""
        shards, chose = self.data.shards, self.data.split.validation[: None if self.tuned else 0]
        return np.setdiff1d(np.arange(len(shards.labels)), np.concatenate([shards.train.indices, chose]))

    def view(self, weights: NDArray[np.floating], members: Ints, others: Ints | None = None) -> View:
        """Return what a model shows of its members and of other rows (the outsiders, where none are given)."""
        others = self.outsiders if others is None else others
        rows = np.concatenate([members, others])
        model, labels = self.federation.model, self.data.dataset.labels[rows]
        with torch.no_grad(), torch_threads(1):
            layers = model.unpack(torch.from_numpy(weights).double())
            logits = model.forward(layers, self.features[rows])[0].numpy()
        return View(rows, labels, confidence(logits, labels), np.arange(len(rows)) < len(members))

    def after_the_last(self, trainer: Engine) -> Sent:
        """Return what clients would send in one more round, all their epochs done."""
        return self._sent(trainer, self.final, self.config.num_server_rounds + 1, np.array(sorted(self.trained)))

    def of_the_first(self, trainer: Engine) -> Sent:
        """Return what the first round's clients sent in it, to the bit."""
        clients, epochs = self.first
        there = np.isin(clients, list(self.trained))
        return self._sent(trainer, self.initial, 1, clients[there], epochs[there])

    def _sent(
        self, trainer: Engine, weights: NDArray[np.floating], number: int, clients: Ints, epochs: Ints | None = None
    ) -> Sent:
        few = np.linspace(0, len(clients) - 1, min(MOST_UPDATES, len(clients))).round().astype(int)
        self.federation.set_weights(weights)
        answered, stack = updates(
            self.federation, trainer.exchange, clients[few], number, None if epochs is None else epochs[few]
        )
        return Sent(weights, answered, stack)

    def views(self, sent: Sent) -> tuple[list[View], list[View]]:
        """Return what clients' updates show of their own rows beside the outsiders, and beside each other's rows.

        Of the latter it is by how much the update is surer of a row than the weights that it began with: those have
        learned other clients' rows too.
        """
        if not len(sent.clients):
            return [], []
        every = np.concatenate([self.trained[client] for client in sent.clients.tolist()])
        before = np.zeros(len(self.data.dataset.labels))
        before[every] = self.view(sent.began, every, every[:0]).scores
        beside, among = [], []
        for client, weights in zip(sent.clients.tolist(), sent.stack, strict=True):
            own = self.trained[client]
            beside.append(self.view(weights, own))
            seen = self.view(weights, own, np.setdiff1d(every, own))
            among.append(replace(seen, scores=seen.scores - before[seen.rows]))
        return beside, among

    def cautions(self) -> list[str]:
        """Return what the figures cannot tell, a sentence each."""
        said = []
        if self.tuned:
            said.append(
                "Learning rates were chosen by the validation rows, which are no outsiders here: test rows, and what "
                "clients hold out, are."
            )
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
        if len(self.first[0]) < len(self.trained):
            said.append(
                "First updates are of clients whose updates counted in the first round, not of all that took part."
            )
        if len(self.trained) > MOST_UPDATES:
            said.append(f"Updates of {MOST_UPDATES} of {len(self.trained)} clients are attacked.")
        return said


@dataclass(frozen=True)
class Sent:
    """Updates of a round: the weights that it ``began`` with, ``clients`` [sent] and their ``stack`` [sent, size]."""

    began: NDArray[np.floating]
    clients: Ints
    stack: NDArray[np.floating]


def _clients(federation: Federation) -> Clients:
    assert isinstance(federation.grid, InProcessGrid)
    return federation.grid.clients
