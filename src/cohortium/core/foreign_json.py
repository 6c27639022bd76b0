"""JSON from outside: no repeated names, no NaN, no depth that could exhaust the stack.

The depth is checked before parsing because a library may raise Python's recursion limit (py-evm does),
after which deeply nested JSON crashes the process instead of raising an error.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, NoReturn

__all__ = ["read_json"]

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or one that never ends: left unmatched, the latter would be searched anew from every quote in it."""


def read_json(text: bytes, *, max_depth: int) -> Any:
    """The value of a JSON text. Raises ValueError saying what is wrong with it."""
    steps = (1 if sign in b"[{" else -1 for sign in _STRINGS.sub(b"", text) if sign in b"[]{}")
    if any(depth > max_depth for depth in accumulate(steps)):
        raise ValueError(f"nested deeper than {max_depth}")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is repeated")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
