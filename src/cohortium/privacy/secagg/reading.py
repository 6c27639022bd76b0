"""Keys and shares of an attempt as they were read: each payload once, though every step needs all of them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from cohortium.core.exchange import Received
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.messages import Keys, Shares

__all__ = ["Reader"]

_Read = TypeVar("_Read", Keys, Shares)


class Reader:
    """Remembers what came of a payload while the same object is asked about for the same context."""

    def __init__(self) -> None:
        self._ctx = b""
        self._keys: dict[str, tuple[Parameters, Keys]] = {}
        self._shares: dict[str, tuple[Parameters, Shares]] = {}

    def keys(self, binding: Binding, received: Received) -> dict[str, Keys]:
        """Keys of all of U. Raises PeerError while one is missing, FrameError for what is not as agreed."""
        self._begin(binding)
        return _all(self._keys, _complete(binding, received, "keys"), binding, Keys.from_parameters)

    def shares(self, binding: Binding, received: Received) -> dict[str, Shares]:
        """What all of U dealt. Raises PeerError while one is missing, FrameError for what is not as agreed."""
        self._begin(binding)
        return _all(self._shares, _complete(binding, received, "shares"), binding, Shares.from_parameters)

    def _begin(self, binding: Binding) -> None:
        if binding.digest != self._ctx:
            self._ctx, self._keys, self._shares = binding.digest, {}, {}


def _all(
    read: dict[str, tuple[Parameters, _Read]],
    held: Mapping[str, Parameters],
    binding: Binding,
    parse: Callable[..., _Read],
) -> dict[str, _Read]:
    for site in binding.sites:
        if site not in read or read[site][0] is not held[site]:
            read[site] = (held[site], parse(held[site], binding, site=site))
    return {site: read[site][1] for site in binding.sites}


def _complete(binding: Binding, received: Received, step: str) -> Mapping[str, Parameters]:
    held = received.get(step, {})
    if missing := [site for site in binding.sites if site not in held]:
        raise PeerError(f"step '{step}' is not complete: missing {', '.join(missing)}")
    return held
