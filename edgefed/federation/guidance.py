"""What the server tells every client with the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Guidance:
    """What the server learned in the query round and tells every client with the weights.

    Attributes
    ----------
    mean, scale : float64 ndarray [features]
        A client trains on (x - mean) / scale, an empty cell counting as the mean.
    class_counts : float64 ndarray [classes] or None
        Sum over clients; None where no remedy asks for it.
    """

    mean: Floats
    scale: Floats
    class_counts: Floats | None = None

    def arrays(self) -> dict[str, Floats]:
        """Return it as arrays by name."""
        found = {"mean": self.mean, "scale": self.scale}
        return found if self.class_counts is None else found | {"class-counts": self.class_counts}

    @classmethod
    def of(cls, arrays: Mapping[str, Floats], like: Guidance) -> Guidance:
        """Return what :meth:`arrays` gave.

        Raises
        ------
        ValueError
            When a name or shape is not that of ``like``.
        """
        wanted = like.arrays()
        if {name: array.shape for name, array in arrays.items()} != {n: array.shape for n, array in wanted.items()}:
            raise ValueError(f"its guidance is not one of {len(like.mean)} features")
        return cls(arrays["mean"], arrays["scale"], arrays.get("class-counts"))

    def key(self) -> bytes:
        """Return bytes that are equal where the guidance is."""
        counts = b"" if self.class_counts is None else self.class_counts.tobytes()
        return self.mean.tobytes() + self.scale.tobytes() + counts
