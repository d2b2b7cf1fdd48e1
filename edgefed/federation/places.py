"""Which place in a federation each node's key is for: what a server knows, and a device cannot change.

A device says itself which partition id it has. Flower knows a node by its key, and a deployment which device has that
key: the server's process keeps the map from one to the other in a file, and the ServerApp reads it.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgefed.runs import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("flwr")

FILE = "EDGEFED_PLACES"
"""The variable by which a server's process names the file to the ServerApp that it starts."""


class Places:
    """The map from node ids to partition ids, as it is now.

    Parameters
    ----------
    path : Path, optional
        Its file. Neutral: none, and nothing is known.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._stamp = 0
        self._known: dict[int, int] = {}

    @classmethod
    def of_server(cls) -> Places:
        """Return the map that the server's process keeps; one that knows nothing where there is no such process."""
        named = os.environ.get(FILE, "")
        return cls(Path(named) if named else None)

    def read(self) -> Mapping[int, int] | None:
        """Return partition ids by node id; None where nothing is known of any node."""
        if self.path is None:
            return None
        try:
            if (stamp := self.path.stat().st_mtime_ns) != self._stamp:
                found = json.loads(self.path.read_text(encoding="utf-8"))
                self._known = {int(node): int(place) for node, place in found["places"].items()}
                self._stamp = stamp
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read (%s): nobody new takes part", self.path, error)
        return self._known

    def write(self, known: Mapping[int, int]) -> None:
        """Replace the map, at once for whoever reads it."""
        if self.path is not None:
            write_json(self.path, {"format": 1, "places": {str(node): place for node, place in known.items()}})
