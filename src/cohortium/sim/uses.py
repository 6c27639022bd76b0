"""Uses of a saved generator on files of real patients: what stands behind `synth use augment|balance|control-arm`.

The files stay where they are; only figures, curves and drawn patients come out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cohortium.data.csv_reader import CsvFormat
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.readers import read
from cohortium.errors import DataError, UsageError
from cohortium.sim.folder import not_over, write_whole
from cohortium.sim.synthesis import SavedGenerator, open_generator
from cohortium.synth.conditions import parse
from cohortium.synth.rows import Rows, table_of_rows
from cohortium.synth.study import with_derived
from cohortium.synth.uses.augment import FACTORS, Augmented, augment
from cohortium.synth.uses.balance import BalancedTable, balance
from cohortium.synth.uses.control_arm import ControlArm, control_arm
from cohortium.synth.validation.distances import same_patients

__all__ = ["augment_files", "balance_files", "control_arm_files"]


def augment_files(folder: Path, *, real: Path, holdout: Path, most: int, seed: int) -> Augmented:
    """The learning curve of the real rows with up to `most` times as many synthetic ones."""
    saved = open_generator(folder)
    factors = [factor for factor in FACTORS if factor <= most]
    rows, held_out = _apart(saved, real, holdout)
    return augment(
        saved.generator, saved.state, rows, held_out,
        factors=factors, rules=saved.rules, seed=seed,
    )  # fmt: skip


def balance_files(
    folder: Path, *, real: Path, holdout: Path, where: str, share: float, seed: int, out: Path | None
) -> BalancedTable:
    """The judgement of a larger group; out: where the drawn patients, and they alone, are written."""
    for source in (real, holdout):
        not_over([out], source)
    saved = open_generator(folder)
    rows, held_out = _apart(saved, real, holdout)
    found = balance(
        saved.generator, saved.state, rows, held_out,
        where=where, share=share, rules=saved.rules, seed=seed,
    )  # fmt: skip
    if out is not None:
        drawn = found.rows.take(np.arange(len(rows), len(found.rows)))
        write_whole(out, [csv_bytes(table_of_rows(with_derived(drawn, saved.study)))])
    return found


def control_arm_files(
    folder: Path, *, treated: Path, eligible: str, untreated: str, match: list[str], sets: int, seed: int,
    where: str = "",
) -> ControlArm:  # fmt: skip
    """The synthetic arm beside the treated patients of a file.

    where: only those patients of the file who fulfil it. Raises UsageError where it looks beyond baseline.
    """
    saved = open_generator(folder)
    rows, left_out = _rows(saved, treated), 0
    if where:
        condition = parse(where, saved.facts)
        if late := [n for n in condition.columns if not saved.facts[n].baseline or saved.facts[n].group == "outcome"]:
            raise UsageError(f"column '{late[0]}' is known only after baseline; patients must not be picked by it")
        kept = condition.holds(rows)
        rows, left_out = rows.take(kept), int((~kept).sum())
    found = control_arm(
        saved.generator, saved.state, rows, n_real=saved.n_real, eligible=eligible,
        untreated=untreated, match=match or None, rules=saved.rules, sets=sets, seed=seed,
    )  # fmt: skip
    if not left_out:
        return found
    note = f"{left_out} of {left_out + len(rows)} patients of '{treated}' do not fulfil '{where}' and are left out"
    return replace(found, notes=(note, *found.notes))


def _apart(saved: SavedGenerator, real: Path, holdout: Path) -> tuple[Rows, Rows]:
    """The rows of both files, which must not be the same patients."""
    rows, held_out = _rows(saved, real), _rows(saved, holdout)
    if same_patients(held_out, rows):
        raise DataError(
            f"table '{holdout}': half or more of its rows also stand in '{real}'; give patients nobody has learned from"
        )
    return rows, held_out


def _rows(saved: SavedGenerator, path: Path) -> Rows:
    rows = saved.rows_of(read(path, CsvFormat() if path.suffix == ".csv" else None), file=path)
    time = rows[saved.facts.time] if saved.facts.time else np.zeros(len(rows))
    if (missing := int(np.isnan(time).sum())) > 0:
        shown = str(missing) if missing >= 5 else "<5"
        raise DataError(f"table '{path}': {shown} patients without a follow-up time; leave them out")
    return rows
