"""Who takes part in a round and how far each gets: selection, drop-out, stragglers, deadline, and what it all costs.

Costs are modelled (see :mod:`edgefed.edge.clock`). Draws are named by seed and round, so engines agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.config import SettingsError
from edgefed.edge.availability import read_traces
from edgefed.edge.clock import Times, joules, round_seconds, times, up_to
from edgefed.edge.epochs import epochs_of
from edgefed.edge.profiles import fleet
from edgefed.edge.selection import SELECTIONS, Choice
from edgefed.federation.clients import CONTROL, SAY, START_LOSS, STATE_ROUND
from edgefed.federation.compression import codec_of
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import ARRAYS, CONFIG, PARTITION_ID, STEPS, ask_for, reply_content
from edgefed.federation.secagg.messages import bytes_of_a_round
from edgefed.federation.traffic import content_bytes
from edgefed.imbalance import REMEDIES
from edgefed.learning.schedule import schedule_of
from edgefed.rng import counter_keys, stream, uniforms

if TYPE_CHECKING:
    from flwr.app import ConfigRecord
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.edge.availability import Availability
    from edgefed.edge.ledger import Ledger
    from edgefed.edge.profiles import Fleet
    from edgefed.learning.model import MLP

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

DROPPED, LATE, SLOW = "dropped out", "late", "straggler"
"""Verdicts of clients that were drawn and whose update does not count."""
EXAMPLE_ROWS = 100
"""Rows that a reply says in the message that stands for all when their transfer is modelled."""


@dataclass(frozen=True)
class Round:
    """A round as it is planned: ``cohort`` are the clients drawn, and ``asked`` those of them that will answer.

    Attributes
    ----------
    cohort : int64 ndarray
        Ascending.
    asked : bool ndarray [cohort]
    epochs : int64 ndarray [cohort]
        Local epochs that each gets done.
    lost : list of str [cohort]
        Why a client does not answer; empty text where it does.
    stopped : float64 ndarray [cohort]
        Share of its round at which a client drops out; 1 where it does not.
    """

    cohort: Ints
    asked: NDArray[np.bool_]
    epochs: Ints
    lost: list[str]
    stopped: Floats

    @property
    def clients(self) -> Ints:
        """Clients that are sent to."""
        return self.cohort[self.asked]

    def of(self, kept: NDArray[np.bool_]) -> Round:
        """Return the round of a part of its cohort [cohort]."""
        lost = [why for why, there in zip(self.lost, kept.tolist(), strict=True) if there]
        return Round(self.cohort[kept], self.asked[kept], self.epochs[kept], lost, self.stopped[kept])


def check_edge(config: FederationConfig) -> None:
    """Refuse devices or availability that cannot be used, before anything is trained or written.

    Raises
    ------
    SettingsError
        One line.
    """
    private = config.differentially_private
    clients = config.num_clients if private else 1
    devices = fleet(config.devices, clients, config.seed, config.device_spread, config.device_profiles)
    if private and devices.battery.any():
        name = devices.names[devices.kind[int(devices.battery.argmax())]]
        raise SettingsError(
            f"privacy={config.privacy} contradicts devices={config.devices}: {name} has a battery, so whom a round "
            "asks would depend on how long clients train"
        )
    read_traces(config.availability)


class Participation:
    """A federation's devices, and what the server remembers of them.

    Parameters
    ----------
    config : FederationConfig
    model : MLP
    rows : int64 ndarray [clients]
        Training rows of each.
    drawn_rows : int64 ndarray [clients]
        Rows that each trains on, where a remedy resamples.
    config_record : ConfigRecord
        What goes with every train message.
    ledger : Ledger
        Written to by :meth:`plan` and :meth:`settle`.
    """

    def __init__(
        self,
        config: FederationConfig,
        model: MLP,
        rows: Ints,
        drawn_rows: Ints,
        config_record: ConfigRecord,
        ledger: Ledger,
    ) -> None:
        self.config = config
        self.model = model
        self.rows = rows
        self.drawn_rows = drawn_rows
        self.ledger = ledger
        self._schedule = schedule_of(config)
        self._settled: tuple[tuple[Ints, Ints, Ints], float, Floats, Floats] | None = None
        self._message = config_record
        self._message["server-round"] = 1

    @cached_property
    def devices(self) -> Fleet:
        """Each client's device."""
        config = self.config
        return fleet(config.devices, len(self.rows), config.seed, config.device_spread, config.device_profiles)

    @cached_property
    def _batteries(self) -> bool:
        """Whether any device has one that could be flat."""
        return bool((self.devices.battery > 0).any())

    @cached_property
    def _traces(self) -> Availability | None:
        return read_traces(self.config.availability)

    @cached_property
    def wire(self) -> tuple[int, int]:
        """Bytes that one client is sent and sends in a round, serialised: one stands for all."""
        from flwr.app import RecordDict

        model, config = self.model, self.config
        weights = np.zeros(model.size, config.dtype)
        down = RecordDict({ARRAYS: to_record(model, weights), CONFIG: self._sent_along()})
        if config.strategy == "scaffold":
            down[CONTROL] = to_record(model, weights + 1)  # Flower names two equal records once
        if config.privacy == "secagg":
            cohort = max(1, round(config.fraction_train * int((self.rows > 0).sum())))
            return bytes_of_a_round(down, model.size, min(config.secagg_neighbors, cohort - 1))
        codec = codec_of(config, model.size)
        packed = None
        if codec is not None:
            packed = {name: np.zeros((1, length), dtype) for name, (dtype, length) in codec.layout().items()}
        columns: dict[str, NDArray[Any]] = {
            PARTITION_ID: np.array([0]),
            "num-examples": np.array([EXAMPLE_ROWS]),
            STEPS: np.array([EXAMPLE_ROWS]),
            "train-loss": np.array([0.0]),
        }
        remedy = REMEDIES[config.imbalance](config)
        if config.keeps_state:
            columns[STATE_ROUND] = np.array([1])
        if remedy.reweighs:
            columns[SAY] = np.array([1.0])
        if remedy.needs_loss or config.strategy == "qfedavg":
            columns[START_LOSS] = np.array([0.0])
        return content_bytes(down), content_bytes(reply_content(model, weights, columns, 0, packed))

    def _sent_along(self) -> ConfigRecord:
        """Return the config of a train message: with what the strategy and a cohort's stragglers add to it."""
        config, message = self.config, self._message.copy()
        if config.strategy == "fedprox":
            message["proximal-mu"] = config.pull  # as Flower's does
        if config.stragglers and config.partial_work == "accept" and config.local_epochs > 1:
            cohort = max(1, round(config.fraction_train * int((self.rows > 0).sum())))
            slow = np.arange(round(config.stragglers * cohort))
            ask_for(message, slow, np.ones_like(slow), config.local_epochs)
        return message

    def summary(self, rounds: int, label_counts: Ints | None) -> dict[str, Any]:
        """Return each client's device and modelled costs, and how often the holders of each class were in a round.

        ``by_class`` [classes] is the mean over a class's rows of the share of rounds in which their client's update
        counted; None where the server does not know who holds what.
        """
        ledger, by_class = self.ledger, None
        if label_counts is not None:
            held = np.maximum(label_counts.sum(0), 1)
            by_class = ((ledger.counted / max(rounds, 1)) @ label_counts / held).tolist()
        return {
            "devices": list(self.devices.names),
            "kind": self.devices.kind.tolist(),
            "busy_seconds": ledger.busy.tolist(),
            "joules": ledger.joules.tolist(),
            "asked": ledger.asked.tolist(),
            "counted": ledger.counted.tolist(),
            "by_class": by_class,
            "message_bytes": dict(zip(("down", "up"), self.wire, strict=True)),
        }

    # ---- before a round
    def plan(self, number: int, size: int, uniform_cohort: Ints) -> Round:
        """Return who takes part in a round.

        Parameters
        ----------
        number : int
            The round's, from 1.
        size : int
            Clients to draw.
        uniform_cohort : int64 ndarray
            What is drawn where everyone is there and the selection is uniform.
        """
        cohort = self._cohort(number, size, uniform_cohort)
        self.ledger.asked[cohort] += 1
        count = len(cohort)
        asked, lost, stopped = np.ones(count, bool), [""] * count, np.ones(count)
        epochs, slow, late = epochs_of(
            self.config, number, count, lambda epochs: self._times(cohort, self._steps(cohort, epochs)).total
        )
        for place in late.tolist():
            asked[place], lost[place] = False, LATE
        if self.config.partial_work == "drop":
            for place in slow.tolist():
                asked[place], lost[place] = False, SLOW
        if self.config.drop_out:
            keys = counter_keys(self.config.seed, "drop-out", number, cohort[:, None], np.arange(2))
            drawn = uniforms(keys)
            for place in np.flatnonzero(drawn[:, 0] < self.config.drop_out).tolist():
                asked[place], lost[place], stopped[place] = False, DROPPED, drawn[place, 1]
        return Round(cohort, asked, epochs, lost, stopped)

    def _cohort(self, number: int, size: int, uniform_cohort: Ints) -> Ints:
        ledger, devices = self.ledger, self.devices
        everyone = self.config.selection == "uniform" and self._traces is None
        if everyone and not self._batteries:  # no look at a whole population, where one device is like another
            return uniform_cohort[self.rows[uniform_cohort] > 0]  # an empty shard has no update to send
        flat = (devices.battery > 0) & (ledger.joules >= devices.battery)
        if everyone and not flat.any():
            return uniform_cohort[self.rows[uniform_cohort] > 0]
        candidates = np.flatnonzero((self.rows > 0) & ~flat)
        if self._traces is not None and len(candidates):
            ledger.clock = max(ledger.clock, self._traces.first(candidates, ledger.clock))
            candidates = candidates[self._traces.there(candidates, ledger.clock)]
        size = min(size, len(candidates))
        if not size:
            return candidates
        everybody = np.arange(len(self.rows))
        whole = self._times(everybody, self._steps(everybody, np.full(len(everybody), self.config.local_epochs))).total
        preferred = self.config.round_deadline or float(np.median(whole[candidates]))
        choice = Choice(candidates, self.rows, whole, preferred, self.config.selection_pool, number)
        rng = stream(self.config.seed, "selection", number)
        return np.sort(SELECTIONS[self.config.selection](choice, size, ledger, rng))

    def _steps(self, which: Ints, epochs: Ints) -> Ints:
        """Return the steps that so many epochs [which] of some clients take."""
        return self._schedule.steps(self.drawn_rows[which], self.rows[which], epochs)

    def _times(self, which: Ints, steps: Ints) -> Times:
        walked = self._schedule.rows_walked(steps, self.drawn_rows[which])
        down, up = self.wire
        return times(self.devices, which, steps=steps, rows=walked, weights=self.model.size, down=down, up=up)

    # ---- after a round
    def settle(self, number: int, plan: Round, ids: Ints, steps: Ints, loss: Floats) -> dict[str, float]:
        """Note what a round cost and who was in it; return its modelled seconds and joules.

        Parameters
        ----------
        number : int
        plan : Round
        ids, steps, loss : ndarray [counted]
            Clients whose updates count, the steps they took and their training loss.
        """
        whole = len(ids) == len(plan.cohort)
        known, did = self._settled, (ids, steps, plan.epochs)
        if whole and known is not None and all(map(np.array_equal, known[0], did)):
            until, busy, drawn = known[1:]  # the same clients did the same: so it goes where everyone is in every round
        else:
            until, busy, drawn = self._cost(plan, ids, steps)
            self._settled = (did, until, busy, drawn) if whole else None
        ledger = self.ledger
        ledger.clock += until
        ledger.busy[plan.cohort] += busy
        ledger.joules[plan.cohort] += drawn
        # A client that says no loss, or diverged, is taken for an ordinary one: chosen neither always nor never.
        told = np.isfinite(loss)
        usual = float(np.median(loss[told])) if told.any() else 0.0
        ledger.loss[ids], ledger.last[ids] = np.where(told, loss, usual), number
        ledger.counted[ids] += 1
        return {"seconds": until, "joules": float(drawn.sum())}

    def _cost(self, plan: Round, ids: Ints, steps: Ints) -> tuple[float, Floats, Floats]:
        """Return how long a round took, and each drawn client's seconds at work and joules [cohort]."""
        counted, taken = np.zeros(len(plan.cohort), bool), np.zeros(len(plan.cohort), np.int64)
        places = np.searchsorted(plan.cohort, ids)
        counted[places], taken[places] = True, steps
        usual = self._steps(plan.cohort, plan.epochs)
        spent = self._times(plan.cohort, np.where(counted & (taken > 0), taken, usual))
        if (plan.stopped < 1).any():
            spent = up_to(spent, plan.stopped)
        total = spent.total
        until = round_seconds(total[counted], total[~counted], self.config.round_deadline)
        if self.config.round_deadline:  # whoever is late stops there
            spent = up_to(spent, np.minimum(1.0, until / np.maximum(total, 1e-12)))
        # Whoever drops out draws until then; the others wait for the round to end.
        drawn = joules(self.devices, plan.cohort, spent, np.where(plan.stopped < 1, spent.total, until))
        return until, spent.total, drawn
