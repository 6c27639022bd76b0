"""The local gate: what a site's own table shows before anybody trains on it, and beside the consortium's.

    units    the median of a column lies outside the range the study agreed on, and a known factor would bring it inside
    image    size, blank or saturated pictures, borders brighter than the centre
    copies   records of 64 values or more that are near-copies of one another, inside a part or across two

With `gate = "consortium"` it goes on in the run:

    units, polarity    the own columns beside the sums of all, which the first stage of the program has asked for
    free-rider         the updates of all, where they lie open
    copies             the own records beside the tokens of all, where the study says `copies = true`

All of it is for the site's own eyes: warnings beside the other checks of its data, in its record. Others get one word a
check (`figures.py`), and that with `gate = "consortium"` alone.
"""

from __future__ import annotations

import hmac
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check
from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.data.cohort import Cohort
from cohortium.data.mapping import SiteMapping
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.quality.gate_consortium import compared
from cohortium.quality.gate_copies import CopyTokens, check_copies, found_inside, standardised, tokens
from cohortium.quality.gate_copies_stage import copies_found
from cohortium.quality.gate_free_rider import RiderWatch
from cohortium.quality.gate_images import check_images
from cohortium.quality.repairs import FACTORS
from cohortium.swarm.program import Program

__all__ = ["checks_beside_all", "gate_checks"]

_LEAST_VALUES, _LEAST_RECORDS, _MOST_RECORDS = 64, 5, 3000


def gate_checks(
    schema: CohortSchema,
    table: Table,
    *,
    training: Examples,
    held_out: Examples,
    secret: bytes,
    mapping: SiteMapping | None = None,
) -> tuple[Check, ...]:
    """One site's own findings; none fails. secret: the site's key for its patients."""
    checks = _units(schema, table, mapping or SiteMapping())
    image = training.layout.image
    if image is not None and len(training):
        checks += check_images(_in_unit(training.x), shape=image)
    return (*checks, *_copies(training, held_out, secret=hmac.digest(secret, b"copies inside the site", "sha256")))


def checks_beside_all(
    schema: CohortSchema,
    cohort: Cohort,
    program: Program,
    state: Parameters,
    riders: RiderWatch,
    *,
    memory: Parameters,
) -> tuple[Check, ...]:
    """What the site finds beside the consortium's sums, once they are there, and in the updates it has opened.

    memory: the site's private arrays, in which it remembers copies at other sites.
    """
    units = {column.name: column.unit for column in schema.features}
    return (
        *compared(program, state, cohort.examples("train"), units=units),
        *copies_found(program, state, memory, rows=cohort.places()),
        *riders.checks(program),
    )


def _units(schema: CohortSchema, table: Table, mapping: SiteMapping) -> list[Check]:
    """Columns of which most values lie outside the agreed range, where another unit would explain it."""
    found, looked = [], False
    for column in schema.features:
        said = mapping.columns.get(column.name)
        if column.range is None or (said is not None and said.unit):
            continue
        name = said.column if said is not None else column.name
        if name not in table or table.is_text(name) or table.is_array(name):
            continue
        values = np.asarray(table.column(name), dtype=np.float64)
        values = values[np.isfinite(values) & ~table.missing(name)]
        if len(values) < _LEAST_RECORDS:
            continue
        looked, (low, high), median = True, column.range, float(np.median(values))
        if low <= median <= high:
            continue
        inside = [f for known in FACTORS for f in (known, 1 / known) if low <= median * f <= high]
        if inside:
            factor = f"{inside[0]:g}" if inside[0] >= 1 else f"1/{1 / inside[0]:g}"
            what = f"column '{name}': most values lie outside the agreed range, and times {factor} they would not"
            fix = "compare its unit with the study's, and say it in cohort.toml once a person has confirmed it"
            found.append(Check(id="units", level="warn", found=what, fix=fix))
    if not found and looked:
        found.append(Check(id="units", level="ok", found="the columns' medians lie inside the agreed ranges"))
    return found


def _in_unit(images: NDArray[np.floating]) -> NDArray[np.floating]:
    """Images between 0 and 1, as they may stand in the table up to any number."""
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    return images if low >= 0 and high <= 1 else (images - low) / ((high - low) or 1.0)


def _copies(training: Examples, held_out: Examples, *, secret: bytes) -> list[Check]:
    whole = len(training) + len(held_out)
    if training.layout.n_features < _LEAST_VALUES or not len(training):
        return []
    if whole > _MOST_RECORDS:
        return [Check(id="copies", level="skipped", found=f"not looked for among over {_MOST_RECORDS} records")]
    parts = [np.nan_to_num(one.x.reshape(len(one), -1)) for one in (training, held_out)]
    mean = standardised(np.concatenate(parts)).mean(axis=0)
    own = CopyTokens(**{
        name: tokens(part, mean=mean, secret=secret) for name, part in zip(("training", "held_out"), parts, strict=True)
    })  # fmt: skip
    return [_own_copies(one) for one in check_copies(found_inside(own), where="inside the site")]


def _own_copies(one: Check) -> Check:
    """Also a copy in two parts only warns: a site's second picture of a patient may be meant."""
    return replace(one, level="warn") if one.level == "fail" else one
