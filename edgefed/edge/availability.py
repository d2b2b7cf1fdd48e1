"""When each client is there: traces in FedScale's form.

Lai et al. (2022), "FedScale: Benchmarking model and system performance of federated learning at scale", ICML. Its
traces are pickled; here they are the same fields as JSON, since no pickle is ever read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.errors import SettingsError, read_utf8, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_ROUNDED = 64
"""Steps of the last digit by which a sum of times may miss the moment that it stands for: nobody is there then, and a
round would be empty. A stay that is shorter than so many is passed over."""


@dataclass(frozen=True)
class Trace:
    """One client's trace: it comes at ``active[i]``, leaves at ``inactive[i]``, and repeats after ``finish_time`` s."""

    active: NDArray[np.float64]
    inactive: NDArray[np.float64]
    finish_time: float

    def there(self, clock: float) -> bool:
        """Return whether the client is there at a time."""
        now = clock % self.finish_time
        return bool(((self.active <= now) & (now < self.inactive)).any())

    def next_change(self, clock: float) -> float:
        """Return the next time at which the client comes; the clock itself where it is there."""
        if self.there(clock):
            return clock
        begun, now = clock - clock % self.finish_time, clock % self.finish_time
        later = self.active[self.active > now]
        at = float(begun + (later.min() if len(later) else self.finish_time + self.active.min()))
        for _ in range(MOST_ROUNDED):
            if self.there(at):
                break
            at = float(np.nextafter(at, np.inf))
        return at


class Availability:
    """All clients' traces; a fleet of more clients goes through them in turn.

    Parameters
    ----------
    traces : sequence of Trace
    """

    def __init__(self, traces: list[Trace]) -> None:
        self.traces = traces

    def there(self, clients: NDArray[np.int64], clock: float) -> NDArray[np.bool_]:
        """Return who of some clients is there at a time [clients]."""
        now = np.array([trace.there(clock) for trace in self.traces], bool)
        return np.asarray(now[clients % len(self.traces)])

    def first(self, clients: NDArray[np.int64], clock: float) -> float:
        """Return the first time from the clock on at which any of some clients is there."""
        used = np.unique(clients % len(self.traces))
        return float(min(self.traces[place].next_change(clock) for place in used.tolist()))


def read_traces(path: str) -> Availability | None:
    """Return the traces of a JSON file ``{"client": {"active": [s], "inactive": [s], "finish_time": s}, …}``.

    Raises
    ------
    SettingsError
        One line: the file, the client, what was found and what would do.
    """
    if not path:
        return None
    try:
        document = json.loads(read_utf8(Path(path), "availability traces as JSON"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(document, dict) or not document:
        raise SettingsError(f"{path}: no traces; expected an object with one a client, as FedScale's")
    return Availability([_trace(path, name, entry) for name, entry in document.items()])


def _trace(path: str, name: str, entry: Any) -> Trace:
    where = f"{path}: client '{shown(name)}'"
    if not isinstance(entry, dict) or not {"active", "inactive", "finish_time"} <= set(entry):
        raise SettingsError(f"{where}: expected active, inactive and finish_time")
    try:
        active, inactive = (np.array(entry[key], np.float64).reshape(-1) for key in ("active", "inactive"))
        finish = float(entry["finish_time"])
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise SettingsError(f"{where}: expected seconds, as numbers") from None
    fits = len(active) == len(inactive) > 0 and (active < inactive).all() and (inactive[:-1] <= active[1:]).all()
    if not fits or not 0 < finish < np.inf or not np.isfinite([*active, *inactive]).all() or active.min() < 0:
        raise SettingsError(f"{where}: expected as many active as inactive times, in turn and ascending from 0")
    return Trace(active, inactive, max(finish, float(inactive.max())))
