"""`Parameters`: the one currency that learners, strategies and sites exchange.

An immutable, ordered mapping from names to arrays. It knows its flat vector and its digest, and
nothing of torch, rounds or sites. What a digest covers is written in `payload.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.core import payload

__all__ = ["Parameters"]


class Parameters(Mapping[str, NDArray[np.generic]]):
    """Named arrays in a fixed order; read-only, little-endian, C-contiguous.

    Names are 1 to 200 characters and unique; dtypes are those of `payload.DTYPES`.
    Raises ValueError when a name or dtype is not allowed.
    """

    def __init__(self, arrays: Mapping[str, object] | Iterable[tuple[str, object]] = ()) -> None:
        items = arrays.items() if isinstance(arrays, Mapping) else arrays
        held: dict[str, NDArray[np.generic]] = {}
        for name, value in items:
            payload.check_name(name)
            if name in held:
                raise ValueError(f"parameters hold two arrays named {name!r}")
            held[name] = _freeze(name, value)
        self._arrays = held

    @classmethod
    def owning(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Parameters:
        """Large arrays made a moment ago, taken over without a copy; their maker writes them no more."""
        made = cls()
        for name, array in arrays.items():
            payload.check_name(name)
            made._arrays[name] = _take(name, array)
        return made

    @classmethod
    def over(cls, arrays: Iterable[tuple[str, NDArray[np.generic]]]) -> Parameters:
        """Read-only arrays over memory that nobody writes any more, such as a payload's body, taken without a copy.

        One that is not aligned is copied: sums over it would add in another order. ValueError for a repeated name.
        """
        made = cls()
        for name, array in arrays:
            payload.check_name(name)
            if name in made._arrays:
                raise ValueError(f"parameters hold two arrays named {name!r}")
            whole = array.flags.aligned and array.flags.c_contiguous and not array.flags.writeable
            known = whole and payload.dtype_code(array.dtype) is not None
            little = array.dtype == array.dtype.newbyteorder("<")
            made._arrays[name] = array if known and little else _freeze(name, array)
        return made

    @classmethod
    def _sharing(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Parameters:
        """Arrays of other parameters under other names: they are read-only already."""
        made = cls()
        for name in arrays:
            payload.check_name(name)
        made._arrays = dict(arrays)
        return made

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parameters) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in self._arrays.items())
        return f"Parameters({shapes})"

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over names, dtypes, shapes and values (32 bytes); equal content, equal digest."""
        return payload.digest(payload.header(self._arrays), self._arrays.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(array.nbytes for array in self._arrays.values())

    def vector(self) -> NDArray[np.float64]:
        """All arrays flattened behind one another, float64, shape (d,)."""
        if not self._arrays:
            return np.zeros(0)
        return np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in self._arrays.values()])

    def with_vector(self, vector: NDArray[np.floating]) -> Parameters:
        """The same names, shapes and dtypes filled from a flat vector of shape (d,)."""
        expected = sum(array.size for array in self._arrays.values())
        if vector.shape != (expected,):
            raise ValueError(f"vector has shape {vector.shape}, expected ({expected},)")
        filled: dict[str, object] = {}
        at = 0
        for name, array in self._arrays.items():
            filled[name] = vector[at : at + array.size].reshape(array.shape).astype(array.dtype)
            at += array.size
        return Parameters(filled)

    def map(self, change: Callable[[NDArray[np.generic]], object]) -> Parameters:
        """A new set with `change` applied to every array."""
        return Parameters({name: change(array) for name, array in self._arrays.items()})

    def like(self, other: Parameters) -> bool:
        """Whether names, dtypes and shapes (not values) are the same, in the same order."""
        return payload.layout(self._arrays) == payload.layout(other._arrays)

    def under(self, prefix: str) -> Parameters:
        """The arrays whose names start with `prefix/`, with the prefix removed."""
        start = f"{prefix}/"
        return self._sharing({n[len(start) :]: a for n, a in self._arrays.items() if n.startswith(start)})

    def prefixed(self, prefix: str) -> Parameters:
        """The same arrays with `prefix/` put before every name."""
        return self._sharing({f"{prefix}/{name}": array for name, array in self._arrays.items()})

    def __or__(self, other: Parameters) -> Parameters:
        """Both sets; arrays of `other` win and keep the place of those they replace."""
        return self._sharing({**self._arrays, **other._arrays})

    def without(self, names: Iterable[str]) -> Parameters:
        """All arrays but those named."""
        left_out = set(names)
        return self._sharing({name: array for name, array in self._arrays.items() if name not in left_out})


def _freeze(name: str, value: object) -> NDArray[np.generic]:
    array = np.asarray(value)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if payload.dtype_code(array.dtype) is None:
        raise ValueError(f"array {name!r} has dtype {array.dtype}; allowed: {', '.join(payload.DTYPES)}")
    array = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C", copy=True)
    array.flags.writeable = False
    return array


def _take(name: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array itself, read-only from now on, if nothing but it has its memory; else a copy."""
    whole = array if array.base is None else array.base
    alone = isinstance(whole, np.ndarray) and whole.flags.owndata and whole.size == array.size
    little = array.dtype.newbyteorder("<") == array.dtype and payload.dtype_code(array.dtype) is not None
    if not (alone and little and array.flags.c_contiguous):
        return _freeze(name, array)
    whole.flags.writeable = array.flags.writeable = False
    return array
