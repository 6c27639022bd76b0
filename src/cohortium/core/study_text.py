"""From TOML text to a `Study`, or to another plan: all problems at once, with lines and a guess at what was meant.

tomllib tells no positions for valid files, so a small scanner maps dotted keys to lines; keys of an
inline table point to the line the table starts on. A text may come from a peer: what would keep the parser busy for
hours (a key of thousands of parts) or exhaust the stack (thousands of brackets) is refused before it is parsed, and
every pattern here takes time in proportion to the text.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from cohortium.core.study import Study
from cohortium.errors import Problem, StudyError

__all__ = ["MAX_STUDY_BYTES", "key_lines", "parse_plan", "parse_study", "study_of"]

MAX_STUDY_BYTES = 1 << 20

P = TypeVar("P", bound=BaseModel)

_MOST_PARTS, _MOST_DEPTH, _MOST_PROBLEMS = 16, 32, 100
_TABLE = re.compile(r"\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_SIGN = re.compile(r"""\"{3}|'{3}|["'#\[\]{}]""")
_OPAQUE = re.compile(
    r""""{3}(?:\\.|[^\\])*?(?:"{3}|\Z)|'{3}.*?(?:'{3}|\Z)|"(?:\\.|[^"\\\n])*+"?|'[^'\n]*+'?|#[^\n]*""", re.DOTALL
)
_LONG_KEY = re.compile(rf"(?<![ \t])(?:[ \t]*+\.[ \t]*+[A-Za-z0-9_-]++){{{_MOST_PARTS}}}")


def parse_study(text: str, *, path: str = "study.toml") -> Study:
    """The study a TOML text describes. Raises StudyError with every problem, in file order."""
    return parse_plan(text, Study, path=path)


def parse_plan(text: str, plan: type[P], *, path: str) -> P:
    """What a TOML text says in the terms of a frozen model. Raises StudyError with every problem and its line."""
    if len(text.encode()) > MAX_STUDY_BYTES:
        raise StudyError([Problem("", f"the file is larger than {MAX_STUDY_BYTES} bytes")], path=path)
    if trouble := _unreadable(text):
        raise StudyError([Problem("", trouble)], path=path)
    try:
        content = tomllib.loads(text)
    except ValueError as error:  # tomllib's own, or a number of thousands of digits
        line = re.search(r"at line (\d+)", str(error))
        raise StudyError([Problem("", f"not valid TOML: {error}", int(line[1]) if line else None)], path=path) from None
    return _checked(content, plan, lines=key_lines(text), path=path)


def _unreadable(text: str) -> str:
    """What would keep a parser busy or exhaust its stack, strings and comments apart; empty where nothing does."""
    bare = _OPAQUE.sub(lambda found: "" if found[0][0] == "#" else "s", text)
    if _LONG_KEY.search(bare):
        return f"a key has more than {_MOST_PARTS} parts"
    steps = (1 if sign in "[{" else -1 for sign in bare if sign in "[]{}")
    if any(depth > _MOST_DEPTH for depth in accumulate(steps)):
        return f"nested deeper than {_MOST_DEPTH}"
    return ""


def study_of(content: Mapping[str, Any], *, lines: Mapping[str, int] | None = None, path: str = "study") -> Study:
    """The study that sections and keys describe. Raises StudyError with every problem; lines: of the keys in a file."""
    return _checked(content, Study, lines=lines or {}, path=path)


def _checked(content: Mapping[str, Any], plan: type[P], *, lines: Mapping[str, int], path: str) -> P:
    try:
        return plan.model_validate(dict(content))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=True)
        problems = {_problem(dict(one), lines, plan): None for one in found[:_MOST_PROBLEMS]}
        ordered = sorted(problems, key=lambda p: (p.line if p.line is not None else 0, p.key))
        raise StudyError(ordered, path=path) from None


def key_lines(text: str) -> dict[str, int]:
    """Dotted key -> line number (from 1) of every table header and key of a valid TOML text."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in _logical_lines(text):
        if header := _TABLE.match(line.strip()):
            table = ".".join(_parts(header[1]))
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            parts = ([table] if table else []) + _parts(key[1])
            lines.setdefault(".".join(parts), number)
    return lines


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that can start a key: those inside a multi-line string or array are passed over."""
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        plain = not quote and depth == 0
        if plain:
            yield number, line
        at = len(line) if plain and _TABLE.match(line.strip()) else 0
        while at < len(line):
            if quote:
                end = line.find(quote, at)
                at = len(line) if end < 0 else end + len(quote)
                quote = quote if end < 0 else ""
                continue
            sign = _SIGN.search(line, at)
            if sign is None or sign[0] == "#":
                break
            at = sign.end()
            if len(sign[0]) == 3:
                quote = sign[0]
            elif sign[0] in "\"'":
                end = line.find(sign[0], at)
                at = len(line) if end < 0 else end + 1
            else:
                depth += 1 if sign[0] in "[{" else -1


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(dotted)]


def _problem(found: Mapping[str, Any], lines: Mapping[str, int], plan: type[BaseModel]) -> Problem:
    where = [str(part) for part in found["loc"]]
    kind, key = str(found["type"]), _file_key(where)
    if kind == "missing":
        parent = key.rpartition(".")[0]
        return Problem(key, "is missing", _line(parent, lines))
    if kind == "extra_forbidden":
        known = _known_keys(plan, where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.6)
        guess = f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(known))}"
        return Problem(key, f"unknown key '{where[-1]}'{guess}", _line(key, lines))
    if key == "study.outcome" and kind in ("string_type", "model_type", "dataclass_type"):
        wanted = "must be a column name or { time = ..., event = ... }"
        return Problem(key, f"{wanted}, got {found['input']!r:.60}", _line(key, lines))
    message = str(found["msg"]).removeprefix("Value error, ")
    if kind != "value_error":
        message = f"{message[0].lower()}{message[1:]}, got {found['input']!r:.60}"
    return Problem(key, message, _line(key, lines))


def _file_key(where: list[str]) -> str:
    """The key as it stands in the file: pydantic names the branch of a union, the file does not."""
    branches = {"SurvivalOutcome", "str", "constrained-str", "function-after[_one_way_to_choose(), StudyPlan]"}
    return ".".join(part for part in where if part not in branches and not part.startswith("constrained-"))


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key)


def _known_keys(plan: type[BaseModel], where: list[str]) -> list[str]:
    for part in where:
        field = plan.model_fields.get(part)
        inside = (field.annotation, *get_args(field.annotation)) if field is not None else ()  # a plan, or one or none
        plans = [one for one in inside if isinstance(one, type) and issubclass(one, BaseModel)]
        if not plans:
            return []
        plan = plans[0]
    return list(plan.model_fields)
