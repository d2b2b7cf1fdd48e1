"""One federation as its server sees it, and the grids through which it reaches its clients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from edgefed.edge.ledger import Ledger
from edgefed.federation.compression import codec_of
from edgefed.federation.disclosure import Disclosed
from edgefed.federation.evaluation import by_label_shares
from edgefed.federation.flat_record import to_record
from edgefed.federation.guidance import Guidance
from edgefed.federation.messages import guidance_config
from edgefed.federation.participation import Participation
from edgefed.imbalance import REMEDIES
from edgefed.rng import stream

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from flwr.serverapp.strategy import Strategy
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.edge.codecs import Codec
    from edgefed.federation.evaluation import HeldOut
    from edgefed.federation.participation import Round
    from edgefed.imbalance import Remedy
    from edgefed.learning.model import MLP

Exchange = Callable[[Sequence[tuple[Grid, Sequence[Message]]]], Sequence[Iterable[Message]]]
"""Sends each grid's messages and returns each grid's replies."""


@runtime_checkable
class Stateful(Protocol):
    """What is carried from a round to the next beside the weights: a server optimiser, clients' own arrays."""

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return its arrays by name, as they are now: nobody writes into them later."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned.

        Raises
        ------
        ValueError
            When a name or shape is not its own.
        """
        ...


class CohortView(Grid):
    """A grid that shows exactly one round's cohort, so that the loop and not the strategy draws it.

    Parameters
    ----------
    grid : Grid
    nodes : uint64 ndarray [cohort]
    holders : int
        Clients of the whole federation that hold rows.
    """

    def __init__(self, grid: Grid, nodes: NDArray[np.uint64], holders: int) -> None:
        self._grid = grid
        self._nodes: list[int] = nodes.tolist()
        self.holders = holders

    def get_node_ids(self) -> list[int]:
        """Return the cohort's nodes."""
        return self._nodes

    def set_run(self, run: Any) -> None:
        """Pass on."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """The grid's run."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Pass on."""
        return self._grid.create_message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pass on."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Pass on."""
        return self._grid.send_and_receive(messages, timeout=timeout)


@dataclass(frozen=True)
class ClientRows:
    """What became of each client of a round: arrays with an entry a client."""

    round: int
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    verdicts: list[str]


@dataclass(eq=False)
class Federation:
    """One federation as its server sees it.

    Parameters
    ----------
    config : FederationConfig
    grid : Grid
    strategy : Strategy
    model : MLP
    validation, test : HeldOut
        Rows that the server holds.
    label_counts : int64 ndarray [clients, classes], optional
        Each client's labels where the server knows them (a simulation does): basis of ``clients_test`` when clients
        hold nothing out.
    applied : callable, optional
        Returns, from the guidance, what the remedy did on each client, where the server can know (a simulation).
    on_round : callable, optional
        Called after each round with the federation.
    carried : mapping of str to Stateful, optional
        Whatever else goes from a round to the next, by the name that its arrays have in a checkpoint (a prefix of
        theirs). A strategy that is :class:`Stateful` is ``server``.
    before_round : callable, optional
        Called before each round with the federation: devices come and go.
    opening : callable, optional
        Under secure aggregation, called with a round's number and the clients whose vectors it would sum before any
        mask is taken off; returns whether it may. Neutral: it may.
    told : dict of str to str
        Settings that every client is told with each message. Neutral: none, as clients know the run's.
    categorical : tuple of int
        For each feature the number of the categorical column that it is an indicator of, -1 where of none. Neutral:
        there is no such column.
    """

    config: FederationConfig
    grid: Grid
    strategy: Strategy
    model: MLP
    validation: HeldOut
    test: HeldOut
    label_counts: NDArray[np.int64] | None = None
    applied: Callable[[Guidance], dict[str, list[Any]]] | None = None
    on_round: Callable[[Federation], None] | None = None
    carried: dict[str, Stateful] = field(default_factory=dict)
    before_round: Callable[[Federation], None] | None = None
    opening: Callable[[int, Collection[int]], bool] | None = None
    told: dict[str, str] = field(default_factory=dict)
    categorical: tuple[int, ...] = ()

    round: int = 0
    weights: NDArray[np.floating] = field(init=False)
    guidance: Guidance = field(init=False)
    nodes: NDArray[np.uint64] = field(init=False)
    rows: NDArray[np.int64] = field(init=False)
    held_out: NDArray[np.int64] = field(init=False)
    present: NDArray[np.bool_] | None = None
    """Which clients are connected [clients]; None where none can be gone."""
    unheard: frozenset[int] = frozenset()
    """Nodes that are to be asked again how many rows they hold: their answer was late, or they were lost before it."""
    history: list[dict[str, Any]] = field(default_factory=list)
    clients: list[ClientRows] = field(default_factory=list)
    client_updates: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    query_bytes: tuple[int, int] = (0, 0)
    dual: NDArray[np.float64] = field(init=False)
    """What the server keeps of each client between rounds [clients], where the remedy does."""
    ledger: Ledger = field(init=False)
    """What it all cost so far, modelled, and what the server remembers of each client."""
    disclosed: Disclosed = field(default_factory=Disclosed)
    """What has left the clients so far."""
    explanation_bytes: tuple[int, int] = (0, 0)
    _arrays: ArrayRecord = field(init=False)
    _config: ConfigRecord = field(init=False)

    def __post_init__(self) -> None:
        initial = self.model.initial(self.config.init_stream)
        self.set_weights(initial.astype(self.config.dtype))
        self.ledger = Ledger(self.config.num_clients)
        self.carried = {"ledger": self.ledger, "disclosed": self.disclosed, **self.carried}
        if isinstance(self.strategy, Stateful):
            self.carried["server"] = self.strategy

    def set_weights(self, weights: NDArray[np.floating]) -> None:
        """Set the global weights [size]."""
        self.weights = weights
        self._arrays = to_record(self.model, weights)

    @cached_property
    def remedy(self) -> Remedy:
        """The remedy for imbalance that the settings name."""
        return REMEDIES[self.config.imbalance](self.config)

    @cached_property
    def participation(self) -> Participation:
        """Who takes part in a round; known once the clients are."""
        message = guidance_config(self.guidance, self.told)
        return Participation(self.config, self.model, self.rows, self.drawn_rows, message, self.ledger)

    @property
    def drawn_rows(self) -> NDArray[np.int64]:
        """Rows that each client trains on [clients]: its own, or what a remedy drew where the server can know."""
        if self.applied is None or not self.remedy.resamples:
            return self.rows
        found = self.applied(self.guidance)
        return np.add(found["drawn"], found["made"], dtype=np.int64)

    @cached_property
    def codec(self) -> Codec | None:
        """What unpacks the clients' updates; None where they send their weights as they are."""
        return codec_of(self.config, self.model.size)

    @cached_property
    def update_bytes(self) -> int:
        """Bytes of the numbers in one client's update."""
        if self.codec is None:
            return self.model.size * np.dtype(self.config.dtype).itemsize
        return sum(np.dtype(dtype).itemsize * length for dtype, length in self.codec.layout().values())

    @property
    def done(self) -> bool:
        """Whether every round has been run."""
        return self.round >= self.config.num_server_rounds

    @property
    def tests_now(self) -> bool:
        """Whether the round that was run last ends with an evaluation."""
        return self.round % self.config.evaluate_every == 0 or self.done

    # ---- what goes from a round to the next
    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that the next round depends on beside the settings and the data, by name.

        ``guidance/NAME``: the scaler and the classes' totals, of the clients that the run began with.
        ``round`` []: the last one that was run, which is also the place in every random stream (they are named by
        seed, purpose, round and client); ``model/NAME``: the weights, ``state_dict`` names and shapes; ``dual``
        [clients]; ``PREFIX/NAME``: what is :attr:`carried`, such as ``server/…``, a server optimiser's own.
        """
        found: dict[str, NDArray[Any]] = {"round": np.array(self.round)}
        found |= {f"guidance/{name}": array for name, array in self.guidance.arrays().items()}
        found |= {f"model/{name}": array for name, array in self.model.state_dict(self.weights).items()}
        if self.remedy.needs_loss:
            found["dual"] = self.dual
        for prefix, owner in self.carried.items():
            found |= {f"{prefix}/{name}": array for name, array in owner.state().items()}
        return found

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned: the next round is the one that would have followed.

        Raises
        ------
        KeyError, ValueError
            When a name is missing or extra, or a shape is not this federation's.
        """
        left = dict(state)
        weights = self.model.flat(_taken(left, "model"))
        number = int(left.pop("round"))
        guidance = Guidance.of(_taken(left, "guidance"), like=self.guidance)
        dual = left.pop("dual") if self.remedy.needs_loss else self.dual
        parts = [(owner, _taken(left, prefix)) for prefix, owner in self.carried.items()]
        if left:
            raise ValueError(f"{next(iter(left))} is nothing that this federation carries")
        if dual.shape != self.dual.shape:
            raise ValueError(f"dual: expected shape {self.dual.shape}, found {dual.shape}")
        for owner, part in parts:
            owner.restore(part)
        self.guidance = guidance
        self._config = guidance_config(guidance, self.told)
        vars(self).pop("participation", None)  # made with the guidance that was asked for anew
        self.dual = dual
        self.set_weights(weights.astype(self.config.dtype))
        self.round = number

    @cached_property
    def holders(self) -> int:
        """Number of clients that hold rows."""
        return int((self.rows > 0).sum())

    @property
    def prediction_shift(self) -> NDArray[np.float64]:
        """What the remedy adds to the logits when predicting [classes]."""
        return self.remedy.prediction_shift(self.guidance.class_counts, self.model.classes)

    def plan(self, round_number: int) -> Round:
        """Return who takes part in a round, and how far each gets; devices that are gone do not."""
        size = max(1, round(self.config.fraction_train * len(self.nodes)))
        plan = self.participation.plan(round_number, size, self.cohort(round_number))
        return plan if self.present is None else plan.of(self.present[plan.cohort])

    @property
    def testers(self) -> NDArray[np.int64]:
        """Clients that hold rows out, and can be reached."""
        if self.present is None:
            return self._testers
        return np.flatnonzero((self.held_out > 0) & (self.rows > 0) & self.present)

    @cached_property
    def _testers(self) -> NDArray[np.int64]:
        """Clients that hold rows out: in a simulation nobody comes or goes, and a population is looked through once."""
        return np.flatnonzero((self.held_out > 0) & (self.rows > 0))

    def cohort(self, round_number: int) -> NDArray[np.int64]:
        """Return the partition ids that ``selection=uniform`` draws for a round, ascending; at least one."""
        clients = len(self.nodes)
        size = max(1, round(self.config.fraction_train * clients))
        if size == clients:
            return np.arange(clients)
        rng = stream(self.config.seed, "cohort", round_number)
        return np.sort(rng.choice(clients, size, replace=False, shuffle=False))


def _taken(state: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Take the arrays under a prefix out of a state."""
    names = [name for name in state if name.startswith(f"{prefix}/")]
    return {name.removeprefix(f"{prefix}/"): state.pop(name) for name in names}


def clients_test(federation: Federation) -> dict[str, Any] | None:
    """Return how the final model serves each client (see ``basis``), or None where nobody knows."""
    last = federation.history[-1]
    if "clients_test" in last:
        return {name: value for name, value in last["clients_test"].items() if name != "confusion"}
    if federation.label_counts is None or "test" not in last:
        return None
    return by_label_shares(last["test"]["recall"], federation.label_counts)
