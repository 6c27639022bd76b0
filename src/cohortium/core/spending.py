"""What privacy costs, in words that ledger, node and report share: `MechanismEvent` and `BudgetRecord`.

    event = MechanismEvent.poisson_gaussian(q=0.1, sigma=2.5844719, count=30)    # sigma "2.584471": never flattered
    record.canonical()                                                           # at most 1,024 bytes of JSON
    BudgetRecord.read(raw)                                                       # ValueError for anything else

Epsilons cannot be added up; events can be composed. So records hold the events, as decimal strings that mean the same
everywhere: noise is rounded down and sampling up to six digits after the point. What events cost together is the
accountant's business (`privacy/dp`), whether a site can afford them that of its budget.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Literal, get_args

from cohortium.core.foreign_json import read_json

__all__ = [
    "MAX_RECORD_BYTES",
    "Booked",
    "BudgetRecord",
    "DataVersion",
    "Entry",
    "EventType",
    "MechanismEvent",
    "SpendingState",
    "merged",
]

MAX_RECORD_BYTES = 1024
"""As the contract takes it."""

EventType = Literal["gaussian", "poisson-gaussian", "laplace", "zcdp", "tree"]
SpendingState = Literal["reserved", "spent", "returned"]

_FIELDS: dict[str, tuple[str, ...]] = {
    "gaussian": ("sigma",),
    "poisson-gaussian": ("q", "sigma"),
    "laplace": ("scale",),
    "zcdp": ("rho",),
    "tree": ("sigma", "steps"),
}
_DECIMAL = re.compile(r"\d{1,9}\.\d{1,6}")
_SITE = re.compile(r"[a-z0-9-]{1,32}")
_HANDLE = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[ -~]{0,100}")
_MICRO = 1 << 62
_COUNT = 1 << 40
_EVENTS = 64


@dataclass(frozen=True, kw_only=True, order=True)
class MechanismEvent:
    """`count` uses of one mechanism. Noise is in units of the sensitivity; one patient more or less.

    gaussian: sigma. poisson-gaussian: sigma on a sum over patients each drawn with probability q. laplace: scale.
    zcdp: any mechanism that is rho-zCDP. tree: sigma of a tree aggregation over `steps` disjoint batches.
    Numbers are decimals as text; the constructors by name round them to the safe side.
    """

    type: EventType
    count: int = 1
    q: str = ""
    sigma: str = ""
    scale: str = ""
    rho: str = ""
    steps: int = 0

    def __post_init__(self) -> None:
        fields = _FIELDS.get(self.type)
        if fields is None:
            raise ValueError(f"unknown mechanism {self.type!r:.40}; available: {', '.join(_FIELDS)}")
        _whole(self.count, "count", least=1, most=_COUNT)
        _whole(self.steps, "steps", least=int("steps" in fields), most=_COUNT if "steps" in fields else 0)
        for name in ("q", "sigma", "scale", "rho"):
            text = getattr(self, name)
            if name not in fields:
                if text != "":
                    raise ValueError(f"a {self.type} event has no {name}")
                continue
            if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or _plain(Decimal(text)) != text:
                raise ValueError(f"{name} of a {self.type} event is no decimal with at most six digits after the point")
            if not float(text) > 0 or (name == "q" and float(text) > 1):
                raise ValueError(f"{name} of a {self.type} event must be above 0{' and at most 1' * (name == 'q')}")

    @classmethod
    def gaussian(cls, *, sigma: float, count: int = 1) -> MechanismEvent:
        """Gaussian noise on a whole sum."""
        return cls(type="gaussian", sigma=_rounded("sigma", sigma, ROUND_FLOOR), count=count)

    @classmethod
    def poisson_gaussian(cls, *, q: float, sigma: float, count: int = 1) -> MechanismEvent:
        """Gaussian noise on a sum over patients, each of them drawn anew with probability q."""
        rate = _rounded("q", q, ROUND_CEILING)
        return cls(type="poisson-gaussian", q=rate, sigma=_rounded("sigma", sigma, ROUND_FLOOR), count=count)

    @classmethod
    def laplace(cls, *, scale: float, count: int = 1) -> MechanismEvent:
        """Laplace noise of this scale."""
        return cls(type="laplace", scale=_rounded("scale", scale, ROUND_FLOOR), count=count)

    @classmethod
    def zcdp(cls, *, rho: float, count: int = 1) -> MechanismEvent:
        """Anything that is rho-zero-concentrated private."""
        return cls(type="zcdp", rho=_rounded("rho", rho, ROUND_CEILING), count=count)

    @classmethod
    def tree(cls, *, sigma: float, steps: int, count: int = 1) -> MechanismEvent:
        """Running sums of `steps` batches that share no patient, by a tree of Gaussians."""
        return cls(type="tree", sigma=_rounded("sigma", sigma, ROUND_FLOOR), steps=steps, count=count)

    def times(self, count: int) -> MechanismEvent:
        """The same mechanism, `count` times as often."""
        return replace(self, count=self.count * count)

    def once(self) -> MechanismEvent:
        """The same mechanism, used once."""
        return self if self.count == 1 else replace(self, count=1)

    def facts(self) -> dict[str, Any]:
        """As a record holds it."""
        return {"type": self.type, **{n: getattr(self, n) for n in _FIELDS[self.type]}, "count": self.count}

    @classmethod
    def from_facts(cls, facts: object) -> MechanismEvent:
        """What `facts` gave. Raises ValueError for another type, another field, another form."""
        if not isinstance(facts, dict) or not isinstance(facts.get("type"), str):
            raise ValueError("an event is a table with a type")
        if set(facts) != {"type", "count", *_FIELDS.get(facts["type"], ())}:
            raise ValueError(f"a {facts['type']!r:.40} event does not have these fields")
        return cls(**facts)


def merged(events: Iterable[MechanismEvent]) -> tuple[MechanismEvent, ...]:
    """Equal mechanisms counted together, in a fixed order."""
    counts: dict[MechanismEvent, int] = {}
    for event in events:
        counts[event.once()] = counts.get(event.once(), 0) + event.count
    return tuple(one.times(count) for one, count in sorted(counts.items()))


@dataclass(frozen=True, kw_only=True)
class BudgetRecord:
    """One entry of a site's account, as it stands on the ledger and is signed by the site.

    dataset: random handle of a data version (64 hex digits), no digest of anybody's data. run: the study's name.
    events: of this round. delta: at which both epsilons hold. clip: the bound on one patient's gradient.
    against: whom the epsilon holds against, `everybody`, `colluders` or `alone`. code: what trained.
    eps_run_micro: of this run so far; eps_total_micro: of all runs on these patients so far; cap_micro: the site's own.
    """

    site: str
    dataset: str
    run: str
    round: int
    state: SpendingState
    events: tuple[MechanismEvent, ...]
    delta: str
    clip: str
    accountant: str
    code: str
    eps_run_micro: int
    eps_total_micro: int
    cap_micro: int
    unit: Literal["patient", "site"] = "patient"
    against: Literal["everybody", "colluders", "alone"] = "everybody"
    adjacency: Literal["add-remove-one"] = "add-remove-one"
    v: Literal[1] = 1

    def __post_init__(self) -> None:
        if type(self.v) is not int or self.v != 1:
            raise ValueError(f"a budget record of version 1 was due, got {self.v!r:.40}")
        for name, pattern in (("site", _SITE), ("dataset", _HANDLE), *((name, _TEXT) for name in _TEXTS)):
            value = getattr(self, name)
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise ValueError(f"{name} of a budget record is malformed")
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} of a budget record must be one of: {', '.join(words)}")
        for name in ("round", "eps_run_micro", "eps_total_micro", "cap_micro"):
            _whole(getattr(self, name), name, least=0, most=_MICRO)
        if not isinstance(self.events, tuple) or not 1 <= len(self.events) <= _EVENTS:
            raise ValueError(f"a budget record holds 1 to {_EVENTS} events")
        if not 0 < _number("delta", self.delta) < 1:
            raise ValueError("delta of a budget record must lie between 0 and 1")
        if len(raw := self.canonical()) > MAX_RECORD_BYTES:
            raise ValueError(f"a budget record of {len(raw)} bytes; at most {MAX_RECORD_BYTES} are accepted")

    def canonical(self) -> bytes:
        """JSON with sorted names and no blanks: equal records give equal bytes."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        facts["events"] = [event.facts() for event in self.events]
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()

    @classmethod
    def read(cls, raw: bytes) -> BudgetRecord:
        """The record of some bytes. Raises ValueError unless they are its canonical form."""
        if len(raw) > MAX_RECORD_BYTES:
            raise ValueError(f"a budget record of {len(raw)} bytes; at most {MAX_RECORD_BYTES} are accepted")
        facts = read_json(raw, max_depth=3)
        if not isinstance(facts, dict) or set(facts) != set(cls.__dataclass_fields__):
            raise ValueError("not the fields of a budget record")
        if not isinstance(facts["events"], list):
            raise ValueError("events of a budget record are a list")
        record = cls(**{**facts, "events": tuple(MechanismEvent.from_facts(one) for one in facts["events"])})
        if record.canonical() != raw:
            raise ValueError("a budget record that is not in its canonical form")
        return record


@dataclass(frozen=True, kw_only=True)
class Booked:
    """A budget record as a ledger holds it: whose, and the bytes nobody has read yet. dataset: 64 hex digits."""

    run: int
    round: int
    site: str
    dataset: str
    record: bytes
    eps_micro: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a site's own book: what a run has reserved or spent on a data version.

    run: which one, in which consortium. round: 0 stands for the whole plan of the run. name: the study's.
    """

    dataset: str
    run: str
    round: int
    state: SpendingState
    events: tuple[MechanismEvent, ...]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class DataVersion:
    """One version of a site's patients. handle: random, 64 hex digits, all that others ever see of it.

    commitment: salted digest of the table, to know it again. patients: their keyed hashes; None where rows carry no
    patient key, because then nobody can tell whether two tables share a patient.
    """

    handle: str
    commitment: bytes
    patients: frozenset[bytes] | None = None

    def may_share_patients(self, other: DataVersion) -> bool:
        """False only where both know their patients and have none in common."""
        return self.patients is None or other.patients is None or bool(self.patients & other.patients)


_TEXTS = ("run", "delta", "clip", "accountant", "code")
_WORDS = {
    "state": get_args(SpendingState),
    "unit": ("patient", "site"),
    "against": ("everybody", "colluders", "alone"),
    "adjacency": ("add-remove-one",),
}


def _whole(value: object, name: str, *, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} of a budget record is no number") from None


def _rounded(name: str, value: float, rounding: str) -> str:
    """Six digits after the point, to the safe side; the float is taken as it is printed, so that 0.1 stays 0.1."""
    try:
        return _plain(Decimal(str(value)).quantize(Decimal("1e-6"), rounding=rounding))
    except InvalidOperation:
        raise ValueError(f"{name} must be a finite number, got {value}") from None


def _plain(value: Decimal) -> str:
    """Without trailing zeros, but with one digit after the point."""
    whole, _, rest = f"{value:f}".partition(".")
    return f"{whole}.{rest.rstrip('0') or '0'}"
