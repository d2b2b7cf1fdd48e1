"""Codecs of updates: fewer bytes for what a client sends, over any leading client dimensions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Reals = NDArray[np.floating]
    Packed = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Codec(ABC):
    """How an update u = y - x [..., size] is sent.

    Parameters
    ----------
    size : int
        Numbers in an update.
    dtype : str
        What an update comes back as.
    share : float
        Of the numbers that ``top-k`` sends.
    """

    size: int
    dtype: str
    share: float = 1.0

    #: Whether it rounds at random, and wants a draw a number.
    draws: ClassVar[bool] = False
    #: Whether what it leaves out is kept and added to the client's next update (error feedback).
    feeds_back: ClassVar[bool] = False

    @abstractmethod
    def encode(self, update: Reals, draws: NDArray[np.float64] | None = None) -> Packed:
        """Return the arrays that are sent, each [..., its own length].

        Parameters
        ----------
        update : ndarray [..., size]
        draws : float64 ndarray [..., size], optional
            Uniform in (0, 1), where the codec draws.
        """

    @abstractmethod
    def decode(self, packed: Mapping[str, NDArray[np.generic]]) -> Reals:
        """Return the update [..., size] that arrays stand for; what is not finite stays so."""

    @abstractmethod
    def layout(self) -> dict[str, tuple[str, int]]:
        """Return each array's dtype and length: what a reply must hold, and nothing else."""

    def problem(self, packed: Mapping[str, NDArray[np.generic]]) -> str:
        """Return in words why one client's arrays cannot be decoded; empty text where they can."""
        found = {name: (array.dtype.name, array.shape) for name, array in packed.items()}
        wanted = {name: (dtype, (length,)) for name, (dtype, length) in self.layout().items()}
        return "" if found == wanted else f"arrays {_words(found)}, expected {_words(wanted)}"


class Float16(Codec):
    """Half precision: 2 bytes a number, 11 bits of it; beyond 65,504 it overflows, and is screened as such."""

    def encode(self, update: Reals, draws: NDArray[np.float64] | None = None) -> Packed:
        """Return ``values`` float16 [..., size]."""
        with np.errstate(over="ignore", under="ignore"):
            return {"values": update.astype(np.float16)}

    def decode(self, packed: Mapping[str, NDArray[np.generic]]) -> Reals:
        """Return the update [..., size]."""
        return np.asarray(packed["values"], self.dtype)

    def layout(self) -> dict[str, tuple[str, int]]:
        """Return each array's dtype and length."""
        return {"values": ("float16", self.size)}


class Int8(Codec):
    """One byte a number and one scale a client, rounded at random so that it is right on average.

    s = max |u| / 127, q = floor(u / s + r) with r ~ U(0, 1); E[s q] = u.

    References
    ----------
    Alistarh, Grubic, Li, Tomioka, Vojnovic (2017), "QSGD: Communication-efficient SGD via gradient quantization and
    encoding", NeurIPS; scaled by the largest number as in its section 4.
    """

    draws = True

    def encode(self, update: Reals, draws: NDArray[np.float64] | None = None) -> Packed:
        """Return ``values`` int8 [..., size] and ``scale`` [..., 1]."""
        assert draws is not None
        scale = np.abs(update).max(-1, keepdims=True) / 127
        with np.errstate(invalid="ignore"):
            steps = np.floor(update / np.where(scale > 0, scale, 1) + draws)
        # A scale that is not finite says by itself that the update was not.
        return {
            "values": np.clip(np.nan_to_num(steps), -127, 127).astype(np.int8),
            "scale": scale.astype(self.dtype),
        }

    def decode(self, packed: Mapping[str, NDArray[np.generic]]) -> Reals:
        """Return the update [..., size]."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(packed["scale"].astype(self.dtype) * packed["values"].astype(self.dtype))

    def layout(self) -> dict[str, tuple[str, int]]:
        """Return each array's dtype and length."""
        return {"values": ("int8", self.size), "scale": (self.dtype, 1)}


class TopK(Codec):
    """The k numbers that are largest in size, and their places; what is left out is added to the next update.

    k = max(1, round(share size)). Ties go to the lower place.

    References
    ----------
    Stich, Cordonnier, Jaggi (2018), "Sparsified SGD with memory", NeurIPS: the memory is the error feedback.
    """

    feeds_back = True

    @property
    def kept(self) -> int:
        """How many numbers are sent."""
        return max(1, round(self.share * self.size))

    @property
    def places(self) -> str:
        """The type of the places: as narrow as the size allows."""
        return "uint16" if self.size <= 2**16 else "uint32"

    def encode(self, update: Reals, draws: NDArray[np.float64] | None = None) -> Packed:
        """Return ``values`` [..., k] and their ``places`` [..., k], ascending."""
        order = np.argsort(-np.abs(update), axis=-1, kind="stable")[..., : self.kept]
        places = np.sort(order, axis=-1)
        values = np.take_along_axis(update, places, -1)
        # An update that is not finite anywhere must be seen as such, wherever the largest numbers are.
        whole = np.isfinite(update).all(-1, keepdims=True)
        return {"values": np.where(whole, values, np.nan).astype(self.dtype), "places": places.astype(self.places)}

    def decode(self, packed: Mapping[str, NDArray[np.generic]]) -> Reals:
        """Return the update [..., size], zeros where nothing was sent."""
        values = np.asarray(packed["values"], self.dtype)
        update = np.zeros((*values.shape[:-1], self.size), self.dtype)
        np.put_along_axis(update, packed["places"].astype(np.int64), values, -1)
        return update

    def layout(self) -> dict[str, tuple[str, int]]:
        """Return each array's dtype and length."""
        return {"values": (self.dtype, self.kept), "places": (self.places, self.kept)}

    def problem(self, packed: Mapping[str, NDArray[np.generic]]) -> str:
        """Return in words why one client's arrays cannot be decoded; empty text where they can."""
        if found := super().problem(packed):
            return found
        places = packed["places"].astype(np.int64)
        if (places >= self.size).any() or (np.diff(places) <= 0).any():
            return f"places that are not ascending below {self.size}"
        return ""


#: Names that the setting ``compression`` takes beside ``none``.
CODECS: dict[str, type[Codec]] = {"float16": Float16, "int8": Int8, "top-k": TopK}


def payload_bytes(layout: Mapping[str, tuple[str, int]]) -> int:
    """Return the bytes of arrays of a layout, without any header."""
    return sum(np.dtype(dtype).itemsize * length for dtype, length in layout.values())


def _words(arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype}[{math.prod(shape)}]" for name, (dtype, shape) in sorted(arrays.items()))
