"""Engines: what answers the messages of a federation inside one process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgefed.engines.grid import Engine
    from edgefed.learning.training import Execution

ENGINES = {
    "batched": "all clients of a round, and of all federations in lockstep, train as one stack of matrices",
    "ray": "the batched engine with its cohorts dealt out to Ray workers, on one machine or a cluster (RAY_ADDRESS)",
    "sequential": "the ClientApp, message by message: the reference that the batched engine is tested against",
}


def make_engine(
    name: str, execution: Execution | None = None, threads: int | None = None, device: str = "cpu"
) -> Engine:
    """Return the engine of that name.

    Parameters
    ----------
    name : str
        A key of :data:`ENGINES`.
    execution : Execution, optional
        What training is shared out by: that of a run that is gone on with. Neutral: what fits this machine.
    threads : int, optional
        How many chunks of a cohort the batched engine trains at once, where other processes have the other cores.
        Neutral: one a core.
    device : str
        The setting of that name of what it is to train.

    Raises
    ------
    SettingsError
        For a name that is none, and for Ray's workers on a GPU: they train on the cluster's processors.
    """
    from edgefed.config import SettingsError, unknown
    from edgefed.engines.batched import BatchedEngine
    from edgefed.engines.ray import RayEngine
    from edgefed.engines.sequential import SequentialEngine

    engines: dict[str, Callable[[Execution | None], Engine]] = {
        "batched": partial(BatchedEngine, threads=threads),
        "ray": RayEngine,
        "sequential": SequentialEngine,
    }
    if name not in engines:
        raise SettingsError(unknown("engine", name, engines))
    if name == "ray" and device != "cpu":
        raise SettingsError(f"device={device}: Ray's workers train on processors; device=cpu, or --engine batched")
    return engines[name](execution)
