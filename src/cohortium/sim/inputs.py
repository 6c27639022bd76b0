"""From paths to a checked study and the sites' tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cohortium.assembly import check_study
from cohortium.core.study import Study
from cohortium.core.study_text import MAX_STUDY_BYTES, key_lines, parse_study
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, Problem, StudyError, UsageError
from cohortium.sim.own_code import check_code, find_code, load_code

__all__ = ["placed", "read_sites", "read_study"]

_NO_FILE = StudyError([]).path
_NAMED = re.compile(r"^([a-z0-9-]{1,32})=(.+)$")


def read_study(path: Path, *, n_sites: int | None = None, to_pin: bool = False) -> Study:
    """The study in a TOML file, whole and possible; code of its own is checked against `code_digest` and loaded.

    to_pin: that its columns are not declared is no problem, since they will be.

    Raises StudyError with every problem and its line, UsageError for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_STUDY_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read study '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise StudyError([Problem("", "the file is not UTF-8 text")], path=str(path)) from None
    study = parse_study(text, path=str(path))
    problems = [p for p in check_study(study, n_sites=n_sites) if not (to_pin and p.key == "cohort.columns")]
    code = None
    try:
        code = find_code(study, path.parent)
        check_code(study, code)
    except StudyError as error:
        problems += error.problems
    if problems:
        raise StudyError(_located(problems, text), path=str(path))
    if code is not None:
        try:
            load_code(code)
        except StudyError as error:
            raise StudyError(_located(error.problems, text), path=str(path)) from None
    return study


@contextmanager
def placed(path: Path | None) -> Iterator[None]:
    """Give what is refused only after the data have been seen the study's file and the lines of its keys.

    Also data that do not have what a key asks for; sentences about the data alone stay as they are.
    path: None where the study was guessed and no file holds it.
    """
    try:
        yield
    except StudyError as error:
        if path is None or error.path != _NO_FILE:  # of another file, or placed already
            raise
        problems = _located(error.problems, path.read_text(encoding="utf-8-sig"))
        raise StudyError(problems, path=str(path), hint=error.hint) from None
    except DataError as error:
        if path is None or not any(problem.key for problem in error.problems):
            raise
        problems = _located(error.problems, path.read_text(encoding="utf-8-sig"))
        sentences = [str(StudyError([one], path=str(path))) if one.key else one.message for one in problems]
        raise DataError("\n".join(sentences), hint=error.hint) from None


def _located(problems: Sequence[Problem], text: str) -> list[Problem]:
    """The same problems with the line each key stands on, in file order."""
    lines = key_lines(text)
    found = [Problem(p.key, p.message, p.line or _line(p.key, lines)) for p in problems]
    return sorted(found, key=lambda p: p.line or 0)


def read_sites(data: Sequence[str], *, site_column: str | None) -> Mapping[str, Table]:
    """One table per site from `FILE` with a site column, or from several `NAME=FILE`."""
    if not data:
        raise UsageError("no data named; give --data FILE --site-column COLUMN, or --data NAME=FILE for every site")
    if site_column is not None:
        if len(data) != 1:
            raise UsageError(f"--site-column needs exactly one --data FILE, got {len(data)}")
        table = _table(Path(data[0]))
        if not len(table):
            raise DataError(f"{data[0]}: no patient below the header; expected one row per patient")
        return take(table, by_column(table, site_column), without=[site_column])
    tables: dict[str, Table] = {}
    for one in data:
        named = _NAMED.match(one)
        if named is None:
            raise UsageError(
                f"--data {one!r} names no site; write NAME=FILE (name of a-z, 0-9, -), or add --site-column COLUMN"
            )
        if named[1] in tables:
            raise UsageError(f"--data names site '{named[1]}' twice")
        tables[named[1]] = _table(Path(named[2]))
    return tables


def _table(path: Path) -> Table:
    if not path.is_file():
        raise UsageError(f"data file '{path}' does not exist")
    return read(path)


def _line(key: str, lines: Mapping[str, int]) -> int | None:
    key = key.partition("[")[0]  # of a list all entries stand below one key
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key)
