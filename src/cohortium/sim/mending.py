"""A named repair, applied by a hospital to its own table: a new file beside the old one, which stays as it is.

    label-polarity         the two values of the outcome exchanged
    units:COLUMN:x10       the column times the factor; /10: divided by it
    columns:A:B            the two columns exchanged

The same repairs that an audit names on numbers (`quality.repairs`), here on the columns of the file. Missing values
stay missing. Images and codes of categories are mended where they are kept.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from cohortium.core.study import Study
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.quality.repairs import FACTORS
from cohortium.sim.folder import write_whole

__all__ = ["mend_file", "mend_table"]

_UNITS = re.compile(r"units:(?P<column>.+):(?P<way>[x/])(?P<factor>[0-9.]+)")
_FACTORS = tuple(f"{factor:g}" for factor in FACTORS)


def mend_file(study: Study, repair: str, source: Path, target: Path) -> Table:
    """Write the repaired table, a CSV file only its owner reads. Raises UsageError, DataError before it writes."""
    if target.exists():
        raise UsageError(f"'{target}' exists; a repair writes a new file and overwrites none")
    if target.suffix.lower() != ".csv":
        raise UsageError(f"'{target}': a repaired table is written as .csv")
    mended = mend_table(read(source), repair, study=study)
    write_whole(target, [csv_bytes(mended)])
    target.chmod(0o600)  # patients
    return mended


def mend_table(table: Table, repair: str, *, study: Study) -> Table:
    """The repaired table. Raises UsageError for a repair that does not fit it, naming what was found."""
    if repair == "label-polarity":
        return _turned(table, study)
    if found := _UNITS.fullmatch(repair):
        return _scaled(table, found["column"], found["way"], found["factor"])
    kind, _, pair = repair.partition(":")
    if kind == "columns":
        return _exchanged(table, pair)
    takes = "label-polarity, units:COLUMN:x10 or /10, columns:A:B"
    raise UsageError(f"repair '{repair}' cannot be applied to a table of columns; here: {takes}")


def _turned(table: Table, study: Study) -> Table:
    name = study.study.outcome
    if not isinstance(name, str):
        raise UsageError("repair 'label-polarity' needs an outcome of two values, not a survival outcome")
    _check(table, name)
    column, missing = table.column(name), table.missing(name)
    values = np.unique(column[~missing])
    if len(values) != 2:
        raise UsageError(f"repair 'label-polarity' needs an outcome of two values; '{name}' has {len(values)}")
    turned = np.where(column == values[0], values[1], values[0])
    return table.with_column(name, np.where(missing, column, turned))


def _scaled(table: Table, name: str, way: str, factor: str) -> Table:
    if factor not in _FACTORS:
        raise UsageError(f"no unit has the factor {factor}; known: {', '.join(_FACTORS)}")
    _check(table, name)
    if table.is_text(name) or table.is_array(name):
        raise UsageError(f"column '{name}' holds no numbers; a unit needs some")
    values = np.asarray(table.column(name), dtype=np.float64)
    return table.with_column(name, values * float(factor) if way == "x" else values / float(factor))


def _exchanged(table: Table, pair: str) -> Table:
    for at in [i for i, sign in enumerate(pair) if sign == ":"]:
        first, second = pair[:at], pair[at + 1 :]
        if first in table and second in table:
            return table.with_column(first, table.column(second)).with_column(second, table.column(first))
    raise UsageError(f"repair 'columns:{pair}' needs two columns of the table: {', '.join(table.names)}")


def _check(table: Table, name: str) -> None:
    if name not in table:
        raise UsageError(f"the table has no column '{name}'; it has: {', '.join(table.names)}")
