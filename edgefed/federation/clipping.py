"""Client-level differential privacy: Flower's clipping strategies on a stack, their noise from named streams.

McMahan, Ramage, Talwar, Zhang (2018), "Learning differentially private recurrent language models", ICLR; Andrew,
Thakkar, McMahan, Ramaswamy (2021), "Differentially private learning with adaptive clipping", NeurIPS.
"""

from __future__ import annotations

import logging
import secrets
from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from flwr.supercore.privacy_accounting import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

from edgefed.config import SettingsError
from edgefed.federation.averaging import StackedUpdates, refuse_names, summed
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import stacked_weights
from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP

    Floats = NDArray[np.float64]

WEIGHTS = "weights"
"""The one array in which weights are handed to Flower's strategies, which take all arrays as one vector."""
RELEASES, NORM, NOISE_SEED = "releases", "clipping-norm", "noise-seed"


class _Seats(FedAvg):
    """Flower's FedAvg for a round of planned size: whom to ask was settled before, so it asks nobody."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return as many messages as the round plans; they go nowhere."""
        return [Message(RecordDict(), 1, MessageType.TRAIN)] * self.size


class _Fixed(DifferentialPrivacyServerSideFixedClipping):
    """Flower's fixed clipping from the average of clipped updates on: it checks, noises and accounts for a round."""

    def release(self, server_round: int, average: Floats, clipped: int) -> Floats:
        """Return the average [size] under noise, once it is in the account."""
        arrays = ArrayRecord({WEIGHTS: Array(average)})
        self.configure_train(server_round, arrays, ConfigRecord(), cast("Grid", None))
        event = self._pop_pending_event(server_round)
        noisy = self._add_noise_to_aggregated_arrays(arrays)
        if self.accountant is not None and event is not None:
            self.accountant.compose(event)  # Flower's own way works epsilon out each time, to log it
        return cast("Floats", noisy[WEIGHTS].numpy())


class _Adaptive(DifferentialPrivacyServerSideAdaptiveClipping):
    """Flower's adaptive clipping from the average of clipped updates on: it moves the norm and adds the noise."""

    def release(self, server_round: int, average: Floats, clipped: int) -> Floats:
        """Return the average [size] under noise; the norm has moved by how many updates were clipped."""
        self._geometric_update(self._noisy_fraction(clipped, self.num_sampled_clients))
        noisy = self._add_noise_to_aggregated_arrays(ArrayRecord({WEIGHTS: Array(average)}))
        return cast("Floats", noisy[WEIGHTS].numpy())


class ClippedAverage(StackedUpdates):
    """Average of clipped updates with noise on it, over all clients that the round drew.

    With m the round's planned size, S the clients that answered, C the clipping norm and z the noise multiplier,

        theta <- theta + 1/m (sum_{k in S} Delta_k min(1, C / |Delta_k|) + N(0, z^2 C^2 I))

    The divisor m is the number drawn, ``max(1, round(fraction-train x num-clients))``, whoever holds rows, answers or
    is refused: a client that does not answer counts as an update of zero. So one client, there or not, moves the sum by
    C at most, and nothing but the noisy sum depends on it. A round that asked somebody always gets its noise, even
    where nobody answered; one that asked nobody releases nothing. Every client has the same say. float64 throughout.
    The noise is on the average before theta is added, whose rounding it would else be lost in.

    Attributes
    ----------
    noise_seed : int
        Names the noise: ``seed``, so that a simulation repeats, until :meth:`hide_noise`.
    """

    flower: _Fixed | _Adaptive

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(model, config)
        self.releases = 0
        self.noise_seed = config.seed
        self.flower = self._of_flower()

    def hide_noise(self) -> None:
        """Name the noise by a number that this process alone knows, drawn from the operating system.

        Where clients are real: they are told ``seed``, and would take noise off that it names; and runs of one number
        would share their noise, so that the difference of two has none.
        """
        self.noise_seed = secrets.randbits(63)

    @property
    def noise_is_hidden(self) -> bool:
        """Whether nobody who knows the settings can take the noise off."""
        return self.noise_seed != self.config.seed

    @abstractmethod
    def _of_flower(self) -> _Fixed | _Adaptive:
        """Return Flower's strategy as it is before the next round."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the noisy average of the clipped updates, and enter it in the account."""
        start, norm = self._start.astype(np.float64), self.flower.clipping_norm
        updates = stacked_weights(self.model, replies).astype(np.float64)
        updates -= start
        lengths = np.sqrt(np.einsum("kp,kp->k", updates, updates))
        factors = np.minimum(1.0, norm / np.maximum(lengths, np.finfo(np.float64).tiny))
        average = summed(factors / self.config.cohort_size, updates)
        with _without_its_log(), drawn_from(self.noise_seed, server_round):
            noisy = self.flower.release(server_round, average, int((lengths > norm).sum()))
        self.releases += 1
        return to_record(self.model, (start + noisy).astype(self._start.dtype)), MetricRecord()

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return how many noisy averages were released, the next round's clipping norm, and what names the noise."""
        return {
            RELEASES: np.array(self.releases),
            NORM: np.array(self.flower.clipping_norm),
            NOISE_SEED: np.array(self.noise_seed),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned: Flower's strategy is made anew and the account replayed."""
        refuse_names(state, (RELEASES, NORM, NOISE_SEED))
        if len(state) != 3 or any(array.shape != () for array in state.values()):
            raise ValueError("no account of what was released")
        self.noise_seed = int(state[NOISE_SEED])
        self.releases = int(state[RELEASES])
        self.flower = self._of_flower()
        self.flower.clipping_norm = float(state[NORM])

    @property
    def epsilon(self) -> float | None:
        """Epsilon at the settings' delta of all that was released; None where nothing accounts for it."""
        return None


def check_accountant(config: FederationConfig) -> None:
    """Refuse privacy that is to be accounted for where the package that does it is not installed.

    Raises
    ------
    SettingsError
    """
    if config.privacy == "dp-fixed":
        _accountant(config)


def _accountant(config: FederationConfig) -> RdpAccountant:
    told = PrivacyConfig(
        target_delta=config.delta,
        population_size=config.num_clients,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        # Whom a round draws follows from the seed, which is no secret: drawing is given no credit.
        sampling_method=SamplingMethod.NO_AMPLIFICATION,
    )
    try:
        return RdpAccountant(told)
    except ImportError:
        raise SettingsError(
            "privacy=dp-fixed: dp-accounting, which counts what is released, is not installed; "
            "pip install 'edgefed[privacy]' has it"
        ) from None


class FixedClipping(ClippedAverage):
    """Updates are clipped to ``clipping-norm``, and Flower's accountant counts each release (see ClippedAverage)."""

    def _of_flower(self) -> _Fixed:
        config = self.config
        self.accountant = _accountant(config)
        if self.releases:
            event = GaussianPrivacyEvent(config.noise_multiplier, config.cohort_size, config.num_clients)
            self.accountant.compose(event, self.releases)
        seats = config.cohort_size
        return _Fixed(_Seats(seats), config.noise_multiplier, config.clipping_norm, seats, accountant=self.accountant)

    @property
    def epsilon(self) -> float | None:
        """Epsilon at the settings' delta of all that was released."""
        return self.accountant.get_epsilon(self.config.delta)


class AdaptiveClipping(ClippedAverage):
    """Updates are clipped to a norm that follows their median (Andrew et al. 2021); nothing accounts for it.

    With b the share of updates that were clipped, under noise, and gamma = 1/2 its target,

        C <- C exp(0.2 (b - gamma))

    Flower 1.41 moves C the other way (it takes the share of clipped updates for the paper's share of those that were
    not), so that it runs away from the median; and it scales the noise by the norm after the move. The first is set
    right here, by the sign of its rate; the second is one more reason to print no epsilon.
    """

    def _of_flower(self) -> _Adaptive:
        config = self.config
        seats = config.cohort_size
        strategy = _Adaptive(_Seats(seats), config.noise_multiplier, seats, config.clipping_norm)
        strategy.clip_norm_lr = -strategy.clip_norm_lr
        return strategy


@contextmanager
def drawn_from(seed: int, round_number: int) -> Iterator[None]:
    """Have NumPy's global generator, which Flower draws noise from, at a named place, and put it back after."""
    before = np.random.get_state()  # noqa: NPY002 (what Flower draws from)
    words = stream(seed, "privacy-noise", round_number).integers(0, 2**32, 624, np.uint32)
    np.random.seed(words)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@contextmanager
def _without_its_log() -> Iterator[None]:
    """Leave out what Flower logs of a round: a line a client that says nothing but the clipping norm."""
    log = logging.getLogger("flwr")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
