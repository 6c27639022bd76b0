"""The contract by name: its functions and events, and the code that a consortium agrees on.

    consortium().interface.encode_call("commit", (run, round, digest, weight, eps)) -> bytes

Compiled form and source are `contracts/`; how single values are written is `abi.py`; what the
functions do is `contracts/Consortium.vy` and `rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cohortium.core.identity import keccak
from cohortium.errors import FrameError
from cohortium.ledger.abi import decode, encode, event_topic, selector
from cohortium.ledger.contracts import artefact

__all__ = ["Contract", "Event", "Function", "Interface", "consortium"]


@dataclass(frozen=True)
class Function:
    """One function of the contract; `view` functions change nothing."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    view: bool

    @property
    def signature(self) -> str:
        """Name and types, as hashed for the selector."""
        return f"{self.name}({','.join(self.inputs)})"


@dataclass(frozen=True)
class Event:
    """One event of the contract: argument names and types in order, and which of them are topics."""

    name: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    indexed: tuple[bool, ...]

    @property
    def signature(self) -> str:
        """Name and types, as hashed for the topic."""
        return f"{self.name}({','.join(self.types)})"

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Arguments by name. Raises FrameError unless topics and data fit."""
        in_topics = [kind for kind, indexed in zip(self.types, self.indexed, strict=True) if indexed]
        in_data = [kind for kind, indexed in zip(self.types, self.indexed, strict=True) if not indexed]
        if len(topics) != len(in_topics) + 1:
            raise FrameError(f"event {self.name}: {len(topics)} topics, expected {len(in_topics) + 1}")
        fixed = iter([decode([kind], topic)[0] for kind, topic in zip(in_topics, topics[1:], strict=True)])
        free = iter(decode(in_data, data))
        return {
            name: next(fixed) if indexed else next(free) for name, indexed in zip(self.names, self.indexed, strict=True)
        }


class Interface:
    """A contract's functions and events, from the ABI in JSON form that a compiler writes."""

    def __init__(self, abi: Iterable[Mapping[str, Any]]) -> None:
        self.functions: dict[str, Function] = {}
        self.events: dict[str, Event] = {}
        self.constructor: tuple[str, ...] = ()
        for item in abi:
            if item["type"] == "constructor":
                self.constructor = _types(item["inputs"])
            elif item["type"] == "function":
                view = item["stateMutability"] in ("view", "pure")
                self.functions[item["name"]] = Function(
                    item["name"], _types(item["inputs"]), _types(item["outputs"]), view
                )
            elif item["type"] == "event":
                self.events[item["name"]] = Event(
                    item["name"],
                    tuple(part["name"] for part in item["inputs"]),
                    _types(item["inputs"]),
                    tuple(bool(part["indexed"]) for part in item["inputs"]),
                )
        self._by_selector = {selector(f.signature): f for f in self.functions.values()}
        self._selectors = {f.name: code for code, f in self._by_selector.items()}
        self._by_topic = {event_topic(e.signature): e for e in self.events.values()}

    def function(self, name: str) -> Function:
        """The function of this name. Raises ValueError for an unknown one."""
        if name not in self.functions:
            raise ValueError(f"the contract has no function {name!r}")
        return self.functions[name]

    def encode_call(self, name: str, args: Sequence[object]) -> bytes:
        """Selector and arguments. Raises ValueError when they do not fit the function."""
        function = self.function(name)
        try:
            return self._selectors[name] + encode(function.inputs, args)
        except ValueError as error:
            raise ValueError(f"{function.signature}: {error}") from None

    def encode_constructor(self, args: Sequence[object]) -> bytes:
        """The constructor's arguments, as they follow the code in a deployment."""
        return encode(self.constructor, args)

    def decode_call(self, data: bytes) -> tuple[str, tuple[Any, ...]]:
        """Function name and arguments of a call. Raises FrameError."""
        function = self._by_selector.get(data[:4])
        if function is None:
            raise FrameError(f"no function of the contract has the selector 0x{data[:4].hex()}")
        return function.name, decode(function.inputs, data[4:])

    def decode_result(self, name: str, data: bytes) -> tuple[Any, ...]:
        """What a function returned. Raises FrameError."""
        return decode(self.function(name).outputs, data)

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]]:
        """Event name and arguments by name. Raises FrameError."""
        event = self._by_topic.get(topics[0]) if topics else None
        if event is None:
            raise FrameError("a log that is no event of the contract")
        return event.name, event.decode(topics, data)


@dataclass(frozen=True)
class Contract:
    """The shipped contract. code: what a deployment sends before the constructor's arguments."""

    interface: Interface
    code: bytes
    runtime: bytes

    @property
    def code_hash(self) -> bytes:
        """Keccak-256 of the creation bytecode (32 bytes): what a consortium agrees on."""
        return keccak(self.code)


@lru_cache(maxsize=1)
def consortium() -> Contract:
    """The contract of this release."""
    shipped = artefact()
    return Contract(Interface(shipped.abi), shipped.bytecode, shipped.runtime)


def _types(parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(
        f"({','.join(_types(part['components']))}){part['type'][5:]}"
        if part["type"].startswith("tuple")
        else str(part["type"])
        for part in parts
    )
