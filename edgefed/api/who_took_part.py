"""Whose updates counted in a run that is done: in its first round, and in any."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from edgefed.config import SettingsError
from edgefed.edge.ledger import Ledger
from edgefed.federation.messages import guidance_config
from edgefed.federation.participation import Participation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.federation.federation import Federation
    from edgefed.runs import Run

    Ints = NDArray[np.int64]


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
    known = counted(run)
    if known is None:
        raise SettingsError(
            f"{run.folder or 'the run'}: not every client took part, and no clients.csv says who did; run it with --out"
        )
    return sorted({client for _, client in known} & set(holders.tolist()))


def first_round(run: Run, config: FederationConfig, federation: Federation) -> tuple[Ints, Ints]:
    """Return the clients whose updates counted in the first round, ascending, and the local epochs of each.

    Planned anew from the settings, as the round was; replies that were refused are in ``clients.csv``, and where there
    is none they are refused again.
    """
    message = guidance_config(federation.guidance, federation.told)
    ledger = Ledger(config.num_clients)
    asking = Participation(config, federation.model, federation.rows, federation.drawn_rows, message, ledger)
    plan = asking.plan(1, max(1, round(config.fraction_train * config.num_clients)), federation.cohort(1))
    clients, epochs = plan.clients, plan.epochs[plan.asked]
    known = counted(run)
    if known is None:
        return clients, epochs
    there = np.isin(clients, [client for number, client in known if number == 1])
    return clients[there], epochs[there]


def counted(run: Run) -> list[tuple[int, int]] | None:
    """Return (round, client) of each update that counted, from ``clients.csv``; None where there is none."""
    table = run.folder / "clients.csv" if run.folder is not None else None
    if table is None or not table.is_file():
        return None
    with table.open(encoding="utf-8", newline="") as lines:
        return [
            (int(row["round"]), int(row["client"])) for row in csv.DictReader(lines) if row["verdict"].startswith("ok")
        ]
