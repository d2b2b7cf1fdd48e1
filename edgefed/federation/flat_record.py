"""Weights as a Flower record that is serialised when somebody looks at it, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Array, ArrayRecord

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator, KeysView, ValuesView

    from numpy.typing import NDArray

    from edgefed.learning.model import MLP


class FlatRecord(ArrayRecord):
    """An ArrayRecord of flat weights that serialises its arrays when somebody looks at them, not before.

    Weights that never leave the process are never serialised: whoever knows takes :attr:`flat`, everyone else sees
    an ordinary record, ``state_dict`` names and shapes.

    Parameters
    ----------
    model : MLP
    flat : ndarray [size]
        Not to be written to from now on.
    """

    def __init__(self, model: MLP, flat: NDArray[np.floating]) -> None:
        super().__init__()
        self.model = model
        self.flat: NDArray[np.floating] | None = flat
        self._filled = False

    def _fill(self) -> None:
        if not self._filled and self.flat is not None:
            self._filled = True
            for name, array in self.model.state_dict(self.flat).items():
                super().__setitem__(name, Array(np.ascontiguousarray(array)))

    def __getitem__(self, name: str) -> Array:
        self._fill()
        return super().__getitem__(name)

    def __setitem__(self, name: str, array: Array) -> None:
        self._fill()
        self.flat = None  # from now on the arrays are the truth
        super().__setitem__(name, array)

    def __delitem__(self, name: str) -> None:
        self._fill()
        self.flat = None
        super().__delitem__(name)

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return super().__iter__()

    def __len__(self) -> int:
        self._fill()
        return super().__len__()

    def __contains__(self, name: object) -> bool:
        self._fill()
        return super().__contains__(name)

    def __eq__(self, other: object) -> bool:
        self._fill()
        if isinstance(other, FlatRecord):
            other._fill()
        return bool(super().__eq__(other))

    def __repr__(self) -> str:
        self._fill()
        return super().__repr__()

    def keys(self) -> KeysView[str]:
        """Return the arrays' names."""
        self._fill()
        return super().keys()

    def values(self) -> ValuesView[Array]:
        """Return the arrays."""
        self._fill()
        return super().values()

    def items(self) -> ItemsView[str, Array]:
        """Return names and arrays."""
        self._fill()
        return super().items()

    def deflate(self) -> bytes:
        """Return the bytes of the ordinary record: the header names the class, which a receiver looks up."""
        return ArrayRecord(dict(self.items())).deflate()

    def copy(self) -> FlatRecord:
        """Return a record of the same arrays, lazy as this one is."""
        if self.flat is not None:
            return FlatRecord(self.model, self.flat)
        return super().copy()


def to_record(model: MLP, flat: NDArray[np.floating]) -> ArrayRecord:
    """Return flat weights [size] as named arrays, ``state_dict`` names and shapes."""
    return FlatRecord(model, flat)


def to_flat(model: MLP, record: ArrayRecord) -> NDArray[np.floating]:
    """Return named arrays as flat weights [size].

    Raises
    ------
    ValueError
        When a name or shape is not the model's.
    """
    if isinstance(record, FlatRecord) and record.flat is not None and record.model == model:
        return record.flat
    return model.flat({name: array.numpy() for name, array in record.items()})
