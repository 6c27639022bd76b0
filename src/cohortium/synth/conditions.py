"""Conditions on patients as people write them: `age > 70 and TP53 = 1`, `wbc >= anc`, `sex = F or ecog < 2`.

    where = parse("age > 70 and TP53 = 1", facts)
    where.holds(rows)                                  # (n,) of bool

A column, one of = != < <= > >= (the last four where there is an order), and a number, a level or another column; `and`
binds closer than `or`; parentheses.
The text is read by this little grammar and nothing else: nothing in it is ever run. A missing value fulfils nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.data.table import parse_number
from cohortium.errors import UsageError
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import Rows

__all__ = ["Condition", "check_grammar", "parse"]

Bools = NDArray[np.bool_]

_MAX_TEXT = 2000
_SHOWN = 12
_MAX_DEPTH = 20
_TOKEN = re.compile(
    r"\s*(?:(?P<sign><=|>=|!=|==|=|<|>)|(?P<bracket>[()])|\"(?P<quoted>[^\"]*)\"|(?P<word>[^\s()<>=!\"]+))"
)
_COMPARE: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64] | float], Bools]] = {
    "=": np.equal, "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater,
    ">=": np.greater_equal,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition that was read. columns: those it looks at."""

    text: str
    columns: tuple[str, ...]
    _test: Callable[[Rows], Bools]

    def holds(self, rows: Rows) -> Bools:
        """Which rows fulfil it."""
        return self._test(rows)


def parse(text: str, facts: Facts) -> Condition:
    """Read a condition. Raises UsageError that names what was found and what was expected."""
    reader = _Reader(text, facts)
    test = reader.whole()
    return Condition(text, tuple(dict.fromkeys(reader.columns)), test)


def check_grammar(text: str) -> None:
    """Read a condition before any column is known. Raises UsageError, as `parse` does for the same text."""
    _Reader(text, None).whole()


class _Reader:
    """The grammar, one method a rule. facts: None where no column is known and every name may be one."""

    def __init__(self, text: str, facts: Facts | None) -> None:
        if len(text) > _MAX_TEXT:
            raise UsageError(f"condition of {len(text)} characters; at most {_MAX_TEXT}")
        self.text, self.facts = text, facts
        self.columns: list[str] = []
        self._tokens = list(_split(text))
        self._at = 0

    def whole(self) -> Callable[[Rows], Bools]:
        test = self.either(0)
        if self.left():
            raise UsageError(f"condition {self.text!r:.80}: expected 'and' or 'or', found {self.peek()!r:.40}")
        return test

    def left(self) -> bool:
        return self._at < len(self._tokens)

    def peek(self) -> str:
        return self._tokens[self._at] if self.left() else "the end"

    def take(self) -> str:
        found = self.peek()
        self._at += 1
        return found

    def either(self, depth: int) -> Callable[[Rows], Bools]:
        tests = [self.both(depth)]
        while self.left() and self.peek().lower() == "or":
            self.take()
            tests.append(self.both(depth))
        return tests[0] if len(tests) == 1 else lambda rows: np.logical_or.reduce([test(rows) for test in tests])

    def both(self, depth: int) -> Callable[[Rows], Bools]:
        tests = [self.one(depth)]
        while self.left() and self.peek().lower() == "and":
            self.take()
            tests.append(self.one(depth))
        return tests[0] if len(tests) == 1 else lambda rows: np.logical_and.reduce([test(rows) for test in tests])

    def one(self, depth: int) -> Callable[[Rows], Bools]:
        if depth > _MAX_DEPTH:
            raise UsageError(f"condition {self.text!r:.80}: more than {_MAX_DEPTH} parentheses within each other")
        if self.peek() == "(":
            self.take()
            inside = self.either(depth + 1)
            if self.take() != ")":
                raise UsageError(f"condition {self.text!r:.80}: a parenthesis is not closed")
            return inside
        return self._comparison()

    def _comparison(self) -> Callable[[Rows], Bools]:
        if not self.left():
            raise UsageError(f"condition {self.text!r:.80}: expected a column, found the end")
        name, sign, value = self.take(), self.take(), self.take()
        if self.facts is not None and name not in self.facts:
            raise UsageError(f"condition {self.text!r:.80}: no column {name!r:.40}; {_instead(name, self.facts)}")
        if sign not in _COMPARE:
            raise UsageError(
                f"condition {self.text!r:.80}: expected one of = != < <= > >= after '{name}', found {sign!r:.40}"
            )
        if self._at > len(self._tokens):
            raise UsageError(f"condition {self.text!r:.80}: expected a value or a column after '{name} {sign}'")
        self.columns.append(name)
        compare = _COMPARE[sign]
        if self.facts is None:
            return lambda rows: compare(rows[name], np.nan)
        facts = self.facts
        if "<" in sign or ">" in sign:
            self._ordered([facts[one] for one in (name, value) if one in facts])
        if value in facts and value not in facts[name].levels:
            self.columns.append(value)
            return lambda rows: _known(rows[name]) & _known(rows[value]) & compare(rows[name], rows[value])
        code = self._code(facts[name], value)
        return lambda rows: _known(rows[name]) & compare(rows[name], code)

    def _ordered(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if not fact.ordered:
                levels = ", ".join(fact.levels[:8])
                raise UsageError(
                    f"condition {self.text!r:.80}: column '{fact.name}' has no order ({levels}); ask by = or !=, or"
                    " declare its kind as 'ordered'"
                )

    def _code(self, fact: Fact, value: str) -> float:
        if fact.levels and value in fact.levels:
            return float(fact.levels.index(value))
        number = parse_number(value)
        if fact.is_number or fact.kind in ("flag", "event"):
            if number is None:
                raise UsageError(
                    f"condition {self.text!r:.80}: column '{fact.name}' needs a number or another column, found"
                    f" {value!r:.40}"
                )
            if fact.kind == "flag" and fact.levels and str(value) not in fact.levels and number not in (0, 1):
                raise UsageError(f"condition {self.text!r:.80}: column '{fact.name}' is 0 or 1, found {value!r:.40}")
            return float(number)
        levels = ", ".join(fact.levels[:8])
        raise UsageError(f"condition {self.text!r:.80}: column '{fact.name}' is one of {levels}; found {value!r:.40}")


def _instead(name: str, facts: Facts) -> str:
    """What may have been meant, else what there is."""
    lower = {one.casefold(): one for one in facts.names}
    if near := difflib.get_close_matches(name.casefold(), lower, n=1, cutoff=0.6):
        return f"did you mean '{lower[near[0]]}'?"
    more = len(facts.names) - _SHOWN
    return f"found: {', '.join(facts.names[:_SHOWN])}" + (f" and {more} more" if more > 0 else "")


def _known(values: NDArray[np.float64]) -> Bools:
    return ~np.isnan(values)


def _split(text: str) -> Sequence[str]:
    at = 0
    found: list[str] = []
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise UsageError(f"condition {text!r:.80}: cannot read {text[at : at + 20]!r}")
        found.append(next(group for group in match.groups() if group is not None))
        at = match.end()
    return found
