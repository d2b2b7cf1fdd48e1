"""What clients compute: the same lines for a device's one shard and for a simulator's million."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgefed.data.partition import Partition
from edgefed.federation.client_state import ClientState
from edgefed.federation.components import DTYPES, device_of, model_of
from edgefed.federation.moments import CLIENTS_BLOCK, moments_of, scale_of
from edgefed.imbalance import REMEDIES
from edgefed.imbalance.remedy import Draw
from edgefed.learning.cohort import Cohort
from edgefed.learning.local_update import Hyper, gradient_weight
from edgefed.learning.metrics import log_softmax
from edgefed.rng import counter_keys, stream, uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.data.shards import Shards
    from edgefed.federation.guidance import Guidance
    from edgefed.federation.secagg.participant import Participant
    from edgefed.learning.model import MLP

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Names of a reply's metrics: a client's training rows; its weight in the average where that is another; the loss of
#: the weights that the round began with; the last round that its own state is from.
ROWS, SAY, START_LOSS, STATE_ROUND = "num-examples", "aggregation-weight", "start-loss", "state-round"

#: The array record that carries SCAFFOLD's control variate to the clients, and a client's own between rounds.
CONTROL, BEFORE = "control", "control-before"


@dataclass(eq=False)
class Clients:
    """One federation's clients, or the one client of a device, and the settings they train by."""

    config: FederationConfig
    shards: Shards
    state: ClientState = field(init=False)
    participants: dict[int, Participant] = field(default_factory=dict, repr=False)
    """Under secure aggregation, each client's secrets of the round by position: never in a checkpoint."""
    _prepared: tuple[bytes, Cohort] | None = field(default=None, repr=False)
    _chosen: tuple[Cohort, Ints, Cohort] | None = field(default=None, repr=False)
    _draws: list[Draw] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.state = ClientState(len(self.shards))

    @cached_property
    def model(self) -> MLP:
        """The architecture that every client trains."""
        return model_of(self.config, self.shards.features.shape[1], self.shards.num_classes)

    @cached_property
    def device(self) -> torch.device:
        """Where the clients train.

        Raises
        ------
        SettingsError
            For ``device=cuda`` on a machine without one.
        """
        return device_of(self.config)

    # ---- query
    def statistics(self, *, moments: bool, class_counts: bool) -> dict[str, NDArray[np.generic]]:
        """Return each client's additive statistics of its training rows, a client a row.

        ``num-examples`` and ``num-held-out`` [clients]; with ``moments`` also ``feature-count``, ``feature-mean``
        and ``feature-m2`` [clients, features] (m2: the sum of squared deviations; empty cells left out), with
        ``class_counts`` also ``class-counts`` [clients, classes], under Laplace noise where the remedy says so.
        """
        train = self.shards.train
        found: dict[str, NDArray[np.generic]] = {
            "num-examples": train.sizes,
            "num-held-out": self.shards.held_out.sizes,
        }
        if moments:
            count, mean, m2 = moments_of(self.shards.features, train)
            found |= {"feature-count": count, "feature-mean": mean, "feature-m2": m2}
        if class_counts:
            found["class-counts"] = self._told_counts()
        return found

    def _told_counts(self) -> NDArray[np.generic]:
        """Return what each client says of its class counts [clients, classes].

        The Laplace mechanism of scale 1 / epsilon a count (Dwork et al. 2006): adding or removing a row changes one
        count by one. The noise is named by the seed, so that a simulation repeats; whoever knows the seed can take it
        off again.
        """
        counts = self.shards.train.class_counts(self.shards.labels, self.shards.num_classes)
        if not REMEDIES[self.config.imbalance](self.config).tells_noisy_counts:
            return counts
        classes = np.arange(self.shards.num_classes)
        draws = uniforms(counter_keys(self.config.seed, "noisy-counts", 0, self.shards.ids[:, None], classes)) - 0.5
        noise = -np.sign(draws) * np.log1p(-2 * np.abs(draws)) / self.config.histogram_epsilon
        return np.asarray(counts + noise)

    # ---- train
    def everyone(self, guidance: Guidance) -> Cohort:
        """Return all clients ready to train under this guidance: drawn, standardised rows and each one's numbers.

        Made once and kept until the guidance changes; weights and rounds are placeholders.
        """
        key = guidance.key()
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = (key, self._prepare(guidance))
        return self._prepared[1]

    def _prepare(self, guidance: Guidance) -> Cohort:
        config, shards, train = self.config, self.shards, self.shards.train
        dtype = DTYPES[config.dtype]
        features = self.standardized(train, guidance, train)
        labels = shards.labels[train.indices]
        starts, drawn = train.offsets[:-1], train.sizes
        remedy = REMEDIES[config.imbalance](config)
        if remedy.resamples:
            features, labels, drawn = self._resampled(features, labels)
            starts = np.concatenate([[0], np.cumsum(drawn)[:-1]])
        local = train.class_counts(shards.labels, shards.num_classes)
        total = guidance.class_counts
        # A shard of one class is walked through as it is: drawing anew would only repeat and leave out its rows.
        balance = np.where(((local > 0).sum(1) > 1)[:, None], local, 0) if remedy.balances_batches else None

        count = len(shards)

        # What all have alike lies in memory once: a cohort out of a million clients is not fetched from all over it.
        def column(value: float) -> torch.Tensor:
            return torch.full((1, 1, 1), value, dtype=dtype, device=self.device).expand(count, 1, 1)

        def by_class(values: Floats) -> torch.Tensor:
            if count and (values == values[0]).all():
                values = values[:1]
            return torch.from_numpy(values).to(self.device, dtype).unsqueeze(1).expand(count, 1, -1)

        return Cohort(
            params=torch.zeros((), dtype=dtype, device=self.device).expand(count, self.model.size),
            features=torch.from_numpy(features).to(self.device, dtype),
            targets=torch.nn.functional.one_hot(torch.from_numpy(labels), shards.num_classes).to(self.device, dtype),
            starts=starts,
            drawn_rows=drawn,
            shard_rows=train.sizes,
            seeds=np.broadcast_to(np.int64(config.seed), count),
            rounds=np.broadcast_to(np.int64(0), count),
            ids=shards.ids,
            hyper=Hyper(
                learning_rate=column(config.learning_rate),
                momentum=column(config.momentum),
                weight_decay=column(config.weight_decay),
                proximal_mu=column(config.pull),
                focal_gamma=column(remedy.focusing()),
                class_weights=by_class(remedy.class_weights(local, total)),
                logit_scale=by_class(remedy.logit_scale(local, total)),
                logit_shift=by_class(remedy.logit_shift(local, total)),
                margin=by_class(remedy.margin(local, total)),
            ),
            balance=balance,
            jitter=np.full(count, remedy.jitter()) if remedy.jitter() else None,
            mixup=np.full(count, remedy.mixup()) if remedy.mixup() else None,
        )

    def _resampled(self, features: Floats, labels: Ints) -> tuple[Floats, Ints, Ints]:
        """Draw each client's rows by the remedy, from its own named stream."""
        remedy = REMEDIES[self.config.imbalance](self.config)
        offsets = self.shards.train.offsets
        new_features, new_labels, drawn = [], [], np.zeros(len(self.shards), np.int64)
        self._draws = []
        for client, identity in enumerate(self.shards.ids):
            rows = slice(offsets[client], offsets[client + 1])
            shard_x, shard_y = features[rows], labels[rows]
            draw = remedy.draw(shard_x, shard_y, stream(self.config.seed, "resampling", 0, int(identity)))
            self._draws.append(draw)
            new_features.append(shard_x[draw.rows])
            new_labels.append(shard_y[draw.rows])
            if draw.made_features is not None and draw.made_labels is not None:
                new_features.append(draw.made_features)
                new_labels.append(draw.made_labels)
            drawn[client] = len(draw.rows) + (0 if draw.made_labels is None else len(draw.made_labels))
        return np.concatenate(new_features), np.concatenate(new_labels), drawn

    def chosen(self, guidance: Guidance, which: Ints) -> Cohort:
        """Return some clients (positions) ready to train; all of them without a copy."""
        everyone = self.everyone(guidance)
        if len(which) == len(everyone) and np.array_equal(which, np.arange(len(which))):
            return everyone
        # Where some shards are empty, the others come back round after round.
        if self._chosen is None or self._chosen[0] is not everyone or not np.array_equal(self._chosen[1], which):
            self._chosen = (everyone, which, everyone.take(which))
        return self._chosen[2]

    def cohort(self, guidance: Guidance, which: Ints, params: torch.Tensor, round_number: int) -> Cohort:
        """Return some clients (positions) as a cohort that starts a round from ``params`` [size]."""
        chosen = self.chosen(guidance, which)
        return replace(
            chosen,
            params=params.expand(len(chosen), -1),
            rounds=np.full(len(chosen), round_number, np.int64),
        )

    # ---- what is kept between rounds
    def take_back(self, which: Ints, counted: Ints | None) -> None:
        """Undo the last move of control variates whose update did not count: the server's did not move with them.

        ``counted`` [which] is the round of each one's last update that counted; -1: all did. None: all of all.
        """
        if counted is None or CONTROL not in self.state.arrays:
            return
        ahead = (counted >= 0) & (self.state.seen[which] > counted)
        self.state.put(CONTROL, which[ahead], self.state.rows(BEFORE, which[ahead], self.model.size, self.config.dtype))
        self.state.seen[which[ahead]] = counted[ahead]

    def correction(self, which: Ints, control: torch.Tensor | None) -> torch.Tensor | None:
        """Return what SCAFFOLD adds to some clients' gradients, c - c_k [which, size]; None without it.

        ``control`` [size] is the server's control variate c.
        """
        if control is None:
            return None
        own = self.state.rows(CONTROL, which, self.model.size, self.config.dtype)
        return control - torch.from_numpy(own).to(control)

    def remember(
        self,
        which: Ints,
        start: torch.Tensor,
        control: torch.Tensor | None,
        trained: NDArray[np.floating],
        steps: Ints,
        round_number: int,
    ) -> None:
        """Move some clients' control variates after a round: c_k <- c_k - c + (x - y_k) / (eta K).

        Parameters
        ----------
        which : int64 ndarray [which]
            Positions.
        start, control : Tensor [size]
            The weights that the round began with, and the server's control variate; None without SCAFFOLD.
        trained : ndarray [which, size]
            Weights y_k as the server is told them: where updates are compressed, what it unpacks.
        steps : int64 ndarray [which]
        round_number : int
        """
        if control is None:
            return
        own = self.state.rows(CONTROL, which, self.model.size, self.config.dtype)
        length = self.config.learning_rate * gradient_weight(steps, self.config)
        x, c = start.cpu().numpy().astype(np.float64), control.cpu().numpy().astype(np.float64)
        moved = (own - c + (x - trained) / length[:, None]).astype(own.dtype)
        # A diverged round is forgotten: the server refuses it, and its variate would spoil every later one.
        whole = np.isfinite(moved).all(-1, keepdims=True)
        self.state.put(BEFORE, which, own)
        self.state.put(CONTROL, which, np.where(whole, moved, own))
        self.state.seen[which] = round_number

    def asked_for(self, guidance: Guidance, which: Ints, params: torch.Tensor) -> dict[str, NDArray[np.generic]]:
        """Return what the remedy asks of some clients' train replies beyond their weights, rows, steps and loss.

        ``aggregation-weight`` [chosen], the client's say in the average, where the remedy reweighs; ``start-loss``
        [chosen], the mean log-loss of the weights that the round began with on its training rows; ``state-round``
        [chosen], the last round that a client's own state is from (0: it has none), where it keeps any.
        """
        remedy = REMEDIES[self.config.imbalance](self.config)
        sent: dict[str, NDArray[np.generic]] = {}
        if self.config.keeps_state:
            sent[STATE_ROUND] = self.state.seen[which]
        if remedy.reweighs:
            local = self.shards.train.take(which).class_counts(self.shards.labels, self.shards.num_classes)
            sent[SAY] = remedy.say(local, guidance.class_counts)
        if remedy.needs_loss or self.config.strategy == "qfedavg":
            no_shift = np.zeros(self.shards.num_classes)
            # In blocks, as the moments are: rows in float64 of all clients at once would set the peak of memory.
            parts = np.array_split(which, max(1, -(-len(which) // CLIENTS_BLOCK)))
            rows = self.shards.train
            losses = [self._scored(rows.take(part), guidance, part, params.double(), no_shift)[1] for part in parts]
            loss = np.concatenate(losses)
            # A product of matrices is not the same to the last bit for one client's rows and for all clients'.
            sent[START_LOSS] = loss.astype(np.float32).astype(np.float64)
        return sent

    def trained_on(self, guidance: Guidance) -> Partition:
        """Return the rows that each client's training draws: what undersampling leaves out, no model has seen."""
        train = self.shards.train
        if REMEDIES[self.config.imbalance].resamples:
            self.everyone(guidance)  # the draws come with the rows
        if self._draws is None:
            return train
        kept = [train.rows(client)[np.unique(draw.rows)] for client, draw in enumerate(self._draws)]
        return Partition(np.cumsum([0, *map(len, kept)]), np.concatenate(kept))

    def applied(self, guidance: Guidance) -> dict[str, list[Any]]:
        """Return what the remedy did on each client: rows ``drawn`` and ``made``, and ``why`` where not as asked.

        ``why`` holds, for each client, (class, reason) pairs; class -1 stands for the whole shard.
        """
        local = self.shards.train.class_counts(self.shards.labels, self.shards.num_classes)
        idle = REMEDIES[self.config.imbalance](self.config).idle_because(local)
        if REMEDIES[self.config.imbalance].resamples:
            self.everyone(guidance)  # the draws come with the rows
        draws = self._draws or [Draw(np.arange(size)) for size in self.shards.train.sizes]
        return {
            "drawn": [len(draw.rows) for draw in draws],
            "made": [0 if draw.made_labels is None else len(draw.made_labels) for draw in draws],
            "why": [[(-1, reason)] if reason else list(draw.notes) for reason, draw in zip(idle, draws, strict=True)],
        }

    # ---- evaluate
    def evaluate(self, guidance: Guidance, which: Ints, params: torch.Tensor) -> dict[str, NDArray[np.generic]]:
        """Return each chosen client's measures on the rows that it never trains on.

        ``num-examples`` [chosen], ``loss`` (mean log-loss) [chosen], ``confusion`` [chosen, classes * classes].
        """
        held, classes = self.shards.held_out.take(which), self.shards.num_classes
        remedy = REMEDIES[self.config.imbalance](self.config)
        shift = remedy.prediction_shift(guidance.class_counts, classes)
        predicted, loss = self._scored(held, guidance, which, params, shift)
        owner = np.repeat(np.arange(len(which)), held.sizes)
        flat = (owner * classes + self.shards.labels[held.indices]) * classes + predicted
        return {
            "num-examples": held.sizes,
            "loss": loss,
            "confusion": np.bincount(flat, minlength=len(which) * classes**2).reshape(len(which), classes**2),
        }

    def _scored(
        self, rows: Partition, guidance: Guidance, which: Ints, params: torch.Tensor, shift: Floats
    ) -> tuple[Ints, Floats]:
        """Return the predicted class of each row, and the mean log-loss of each chosen client's rows [chosen]."""
        features = self.standardized(rows, guidance, self.shards.train.take(which))
        with torch.no_grad():
            layers = self.model.unpack(params)
            logits = self.model.forward(layers, torch.from_numpy(features).to(params))[0].double().cpu().numpy() + shift
        labels = self.shards.labels[rows.indices]
        # A model that diverged is undecided about such rows, and its loss shows infinity.
        decided = np.asarray(np.isfinite(logits).all(-1))
        logits = np.where(decided[:, None], logits, 0.0)
        loss = np.where(decided, -log_softmax(logits)[np.arange(len(labels)), labels], np.inf)
        owner = np.repeat(np.arange(len(which)), rows.sizes)
        mean = np.bincount(owner, loss, minlength=len(which)) / np.maximum(rows.sizes, 1)
        return logits.argmax(1), mean

    # ---- features
    def standardized(self, rows: Partition, guidance: Guidance, train: Partition) -> Floats:
        """Return the features of a partition's rows, in its order, standardised in float64."""
        features = self.shards.features[rows.indices].astype(np.float64)
        empty = np.isnan(features)
        if empty.any():
            features = np.where(empty, guidance.mean, features)
        if self.config.standardize == "none":
            return features
        if self.config.standardize != "local":
            return (features - guidance.mean) / guidance.scale
        count, mean, m2 = moments_of(
            np.where(np.isnan(self.shards.features), guidance.mean, self.shards.features), train
        )
        scale = scale_of(count, mean, m2)
        owner = np.repeat(np.arange(len(rows)), rows.sizes)
        return np.asarray((features - mean[owner]) / scale[owner])
