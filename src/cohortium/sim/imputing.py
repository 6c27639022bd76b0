"""A file with gaps filled by a saved generator, several times: what stands behind `synth impute`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.data.csv_reader import CsvFormat
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.sim.folder import not_over, write_together
from cohortium.sim.synthesis import SavedGenerator, open_generator
from cohortium.synth.rows import Rows, table_of_rows
from cohortium.synth.sampling import broken_by
from cohortium.synth.study import with_derived
from cohortium.synth.uses.impute import fill

__all__ = ["Filled", "impute_file"]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What was written. filled: gaps that were there; left: gaps that no draw could fill, by column.

    broken: patients of all tables whose filled values break a rule of the study, by rule.
    """

    files: tuple[Path, ...]
    n: int
    filled: int
    left: Mapping[str, int]
    broken: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "files": [str(file) for file in self.files],
            "n": self.n,
            "filled": self.filled,
            "left": dict(self.left),
            "broken_rules": dict(self.broken),
        }


def impute_file(folder: Path, table: Path, *, out: Path, sets: int, seed: int) -> Filled:
    """Fill the table `sets` times. Columns the generator does not know are carried over as they are.

    Derived flags are computed anew. Raises UsageError, DataError; nothing is written then.
    """
    files = (out,) if sets == 1 else tuple(out.with_name(f"{out.stem}-{k + 1}{out.suffix}") for k in range(sets))
    not_over(files, table)
    saved = open_generator(folder)
    held = read(table, CsvFormat() if table.suffix == ".csv" else None)
    rows = saved.rows_of(held, file=table)
    tables = fill(saved.generator, saved.state, rows, sets=sets, rng=np.random.default_rng([seed, 17]))
    content = {}
    for file, one in zip(files, tables, strict=True):
        known = table_of_rows(with_derived(one, saved.study)).columns
        columns = {name: known.get(name, values) for name, values in held.columns.items()}
        content[file] = [csv_bytes(Table.from_columns(columns))]
    write_together(content)
    gaps = {name: int(np.isnan(rows[name]).sum()) for name in rows}
    left = {name: int(np.isnan(tables[0][name]).sum()) for name in rows}
    return Filled(
        files=files,
        n=len(rows),
        filled=sum(gaps.values()) - sum(left.values()),
        left={name: count for name, count in left.items() if count},
        broken=_broken(saved, rows, tables),
    )


def _broken(saved: SavedGenerator, rows: Rows, tables: Sequence[Rows]) -> dict[str, int]:
    """By rule, patients of all tables who break it where at least one value was filled."""
    found = {}
    for rule in saved.rules:
        filled = np.logical_or.reduce([np.isnan(rows[name]) for name in rule.columns])
        found[rule.text] = sum(int((filled & broken_by(rule, one)).sum()) for one in tables)
    return {text: count for text, count in found.items() if count}
