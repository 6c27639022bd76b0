"""Names to things, resolved when used: `"fedavg": "cohortium.strategies.fedavg:FedAvg"`.

A registry never imports what it lists until somebody asks, so the command line stays light. Third
parties add entries by entry points of the group `cohortium.<kind>`; they cannot replace ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from cohortium.errors import UsageError

__all__ = ["Registry"]


class Registry(Mapping[str, str]):
    """One kind of thing ("strategy", "model", ...) by name. Values are `module:attribute` targets."""

    def __init__(self, kind: str, own: Mapping[str, str], *, group: str = "") -> None:
        self.kind = kind
        self._own = dict(own)
        self._group = group

    def _all(self) -> dict[str, str]:
        return {**(_added(self._group) if self._group else {}), **self._own}

    def __getitem__(self, name: str) -> str:
        return self._own[name] if name in self._own else self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def resolve(self, name: str) -> Any:
        """The object behind a name. Raises UsageError with what is available and the nearest name."""
        if name not in self:
            known = self._all()
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"unknown {self.kind} {name!r}; available: {', '.join(sorted(known))}{guess}")
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)


@cache
def _added(group: str) -> Mapping[str, str]:
    """What third parties add: asked once, for the metadata of every installed package are read to answer."""
    return {one.name: one.value for one in entry_points(group=group)}
