"""What stands behind `synth validate`: tables in files judged; and studies of tables nobody has described."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.foreign_json import read_json
from cohortium.core.study import Study
from cohortium.core.study_text import study_of
from cohortium.data.mds_like import GENES, KARYOTYPE
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.cohorts import schema_of
from cohortium.synth.facts import Facts
from cohortium.synth.rows import Rows, rows_of_table
from cohortium.synth.sampling import broken_by
from cohortium.synth.study import facts_of, limits_of, rules_of, with_derived
from cohortium.synth.validation.by_site import judge_by_site
from cohortium.synth.validation.document import digest_of
from cohortium.synth.validation.judge import LEAST_RESERVE, Judgement, judge
from cohortium.synth.validation.page import ValidationPage

__all__ = ["Validated", "bench_study", "demo_study", "rows_of_file", "validate_files", "without_column"]

_HOLDOUT_SHARE = 0.2
_EVENTS = ("os_event", "died", "death", "dead", "event", "status")
_TIMES = ("os_days", "os_weeks", "os_months", "os_years", "os_time", "time", "days", "months", "years", "follow_up")
_UNITS = {"days": "d", "weeks": "weeks", "months": "months", "years": "years"}
_GENE = re.compile(r"^(mut_|cyto_|gene_)|^[A-Z][A-Z0-9]{2,}$")


@dataclass(frozen=True, kw_only=True, eq=False)
class Validated:
    """A judgement and the rows its page needs."""

    judgement: Judgement
    training: Rows
    reserve: Rows
    synthetic: Rows
    name: str
    bench: Mapping[str, Any] | None = None

    def page(self) -> str:
        """The HTML page."""
        return ValidationPage(
            judgement=self.judgement,
            training=self.training,
            reserve=self.reserve,
            synthetic=self.synthetic,
            name=self.name,
            bench=self.bench,
            digests={"SHA-256 of the JSON, without white space": digest_of(self.judgement.document()).hex()},
        ).html()


def validate_files(
    study: Study,
    *,
    real: Path,
    synthetic: Path,
    holdout: Path | None,
    site_column: str | None = None,
    by_site: bool = False,
    bench: Path | None = None,
    seed: int = 0,
    draws: int = 5,
) -> Validated:
    """Judge a synthetic table. site_column: left out of the judgement, synthetic patients have no hospital.

    Without a hold-out a fifth of the real rows stands in, and the page says so. by_site: judge at every hospital, too.
    bench: a file of `synth bench --json`, for the page.
    """
    if by_site and site_column is None:
        raise UsageError("name the column with the hospital: --site-column COLUMN")
    compared = None if bench is None else _document(bench)
    paths = {"real": real, "synthetic": synthetic} | ({} if holdout is None else {"holdout": holdout})
    whole = {name: read(path) for name, path in paths.items()}
    sites = {name: _sites(table, site_column, len(table)) for name, table in whole.items()}
    tables = {name: without_column(table, site_column) for name, table in whole.items()}
    schema = schema_of(study, {"real": tables["real"], **({"holdout": tables["holdout"]} if holdout else {})})
    facts = facts_of(study, schema) if study.synth is not None else Facts.of(schema)
    rows = {
        name: rows_of_file(table, facts, study, name=name, site_column=site_column) for name, table in tables.items()
    }
    notes: list[str] = []
    if holdout is None:
        order = np.random.default_rng([seed, 5]).permutation(len(rows["real"]))
        n_out = max(LEAST_RESERVE, int(_HOLDOUT_SHARE * len(order)))
        rows["holdout"], sites["holdout"] = rows["real"].take(order[:n_out]), sites["real"][order[:n_out]]
        rows["real"], sites["real"] = rows["real"].take(order[n_out:]), sites["real"][order[n_out:]]
        notes.append(
            "No held-out table was given: a fifth of the real rows stands in. If the generator has seen them, fidelity"
            " is flattered and the privacy figures cannot tell copies from likeness."
        )
    for rule in rules_of(study, facts) if study.synth is not None else ():
        if (count := int(broken_by(rule, rows["synthetic"]).sum())) > 0:
            n = len(rows["synthetic"])
            notes.append(f"{count:,} of {n:,} synthetic patients break the study's rule '{rule.text}'.")
    found = judge(
        rows["real"],
        rows["holdout"],
        rows["synthetic"],
        seed=seed,
        draws=draws,
        limits=limits_of(study) if study.synth is not None else None,
        notes=notes,
    )
    if by_site:
        parts = {name: {str(site): rows[name].take(sites[name] == site) for site in np.unique(sites["real"])}
                 for name in ("real", "holdout")}  # fmt: skip
        found = replace(found, by_site=judge_by_site(parts["real"], parts["holdout"], rows["synthetic"], seed=seed))
    return Validated(
        judgement=found,
        training=rows["real"],
        reserve=rows["holdout"],
        synthetic=rows["synthetic"],
        name=study.name,
        bench=compared,
    )


def _sites(table: Table, column: str | None, n: int) -> NDArray[np.str_]:
    """Every row's hospital, where the table names it."""
    if column is None or column not in table:
        return np.full(n, "")
    return np.asarray([str(one) for one in table.column(column).tolist()], dtype=np.str_)


def _document(path: Path) -> Mapping[str, Any]:
    """The bench document in a file. Raises UsageError or DataError."""
    try:
        content = read_json(path.read_bytes(), max_depth=12)
    except OSError as error:
        raise UsageError(f"cannot read benchmark '{path}': {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"benchmark '{path}' is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"benchmark '{path}' is not what cohortium synth bench --json writes")
    return content


def without_column(table: Table, column: str | None) -> Table:
    """A table less one column, where it has it."""
    return Table({name: held for name, held in table.columns.items() if name != column})


def _site_hint(facts: Facts, table: Table, *, site_column: str | None) -> str:
    """What to add where the one column a table lacks may be the hospital's, which was not named; else empty."""
    lacking = [name for name in facts.names if name not in table]
    may_be = site_column is None and len(lacking) == 1
    return f"if it names the hospital, add --site-column {lacking[0]}" if may_be else ""


def rows_of_file(table: Table, facts: Facts, study: Study, *, name: str, site_column: str | None) -> Rows:
    """The patients of a table, its derived columns computed anew. name: which table. Raises DataError."""
    try:
        rows = rows_of_table(table, facts)
    except DataError as error:
        raise DataError(f"{name} table: {error}", hint=_site_hint(facts, table, site_column=site_column)) from None
    return with_derived(rows, study) if study.synth is not None else rows


# --- studies -----------------------------------------------------------------------------------------------------


def demo_study(*, seed: int = 0, masked: bool = True) -> Study:
    """The study of the simulated consortium."""
    return study_of(
        {
            "study": {
                "name": "mds-like",
                "outcome": {"time": "os_years", "event": "died", "unit": "years"},
                "exclude": ["karyotype_risk", "who_class", "risk_score"],
            },
            "synth": {"genes": [*GENES, *KARYOTYPE], "rules": ["wbc >= anc"]},
            "privacy": {"secure_aggregation": masked},
            "evaluation": {"seed": seed},
        }
    )


def bench_study(table: Table, *, site_column: str, name: str, seed: int) -> Study:
    """A study for a table nobody has described: survival and genes by the names of the columns."""
    events = [one for one in _EVENTS if one in table]
    times = [one for one in _TIMES if one in table]
    if not events or not times:
        raise UsageError(
            f"no survival outcome found by name; expected one of {', '.join(_TIMES)} and one of {', '.join(_EVENTS)}",
            hint="give a study with [synth] by --study",
        )
    time = times[0]
    unit = next((unit for word, unit in _UNITS.items() if word in time), "d")
    exclude = [one for one in table.names if one != site_column and _is_later(one, time, events[0])]
    flags = [one for one in table.names if _GENE.search(one) and not table.is_text(one) and _is_common_flag(table, one)]
    rare = [one for one in table.names if _GENE.search(one) and one not in flags and one not in (time, events[0])]
    return study_of(
        {
            "study": {"name": name, "outcome": {"time": time, "event": events[0], "unit": unit},
                      "exclude": sorted({*exclude, *rare} - {time, events[0], site_column})},
            "synth": {"genes": [one for one in flags if one not in exclude]},
            "evaluation": {"seed": seed},
        }
    )  # fmt: skip


def _is_later(name: str, time: str, event: str) -> bool:
    """A second outcome, or a column that names a place rather than a patient."""
    stem = name.rsplit("_", 1)[0]
    return name not in (time, event) and (
        (name.endswith(("_days", "_years", "_months", "_event")) and stem in ("efs", "aml", "pfs", "rfs", "ttp"))
        or name in ("center", "centre", "hospital", "site", "trial")
    )


def _is_common_flag(table: Table, name: str) -> bool:
    values = table.column(name)
    there = values[~np.isnan(values)]
    return bool(len(there)) and set(np.unique(there).tolist()) == {0.0, 1.0} and float(there.mean()) >= 0.015
