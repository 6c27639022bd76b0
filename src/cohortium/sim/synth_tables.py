"""What stands behind `synth validate` and `synth bench`: tables in files judged, generators compared."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.foreign_json import read_json
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.study_text import study_of
from cohortium.data.csv_reader import CsvFormat
from cohortium.data.mds_like import GENES, KARYOTYPE, simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.cohorts import schema_of
from cohortium.sim.synthesis import gathered_rows, train
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Facts
from cohortium.synth.generators import GENERATORS
from cohortium.synth.rows import Rows, rows_of_examples, rows_of_table
from cohortium.synth.study import build_generator, facts_of, limits_of, with_derived
from cohortium.synth.validation.anchors import interval, score_all
from cohortium.synth.validation.by_site import judge_by_site
from cohortium.synth.validation.curves import km_gap, log_rank_p, tau_of
from cohortium.synth.validation.document import digest_of
from cohortium.synth.validation.fidelity import classic_pair
from cohortium.synth.validation.judge import LEAST_RESERVE, Judgement, judge
from cohortium.synth.validation.page import ValidationPage
from cohortium.synth.validation.utility import utility

__all__ = ["FEDERATIONS", "SETTINGS", "Bench", "Validated", "bench", "bench_study", "demo_study", "validate_files"]

SETTINGS = ("central", "isolated", "federated")
FEDERATIONS = ("exact",)
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
    tables = {name: _without(table, site_column) for name, table in whole.items()}
    schema = schema_of(study, {"real": tables["real"], **({"holdout": tables["holdout"]} if holdout else {})})
    facts = facts_of(study, schema) if study.synth is not None else Facts.of(schema)
    rows = {name: _rows_of(table, facts, study, name) for name, table in tables.items()}
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


def _without(table: Table, column: str | None) -> Table:
    return Table({name: held for name, held in table.columns.items() if name != column})


def _rows_of(table: Table, facts: Facts, study: Study, name: str) -> Rows:
    try:
        rows = rows_of_table(table, facts)
    except DataError as error:
        raise DataError(f"{name} table: {error}") from None
    return with_derived(rows, study) if study.synth is not None else rows


# --- benchmark -----------------------------------------------------------------------------------------------------


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


@dataclass(kw_only=True)
class Bench:
    """Figures by generator, setting and name, over the seeds. rows: one line per generator, setting and figure."""

    data: str
    seeds: int
    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    equal: dict[str, bool] = field(default_factory=dict)

    def add(self, generator: str, setting: str, values: Mapping[str, float]) -> None:
        """One seed's figures."""
        held = self.figures.setdefault(generator, {}).setdefault(setting, {})
        for name, value in values.items():
            held.setdefault(name, []).append(float(value))

    def document(self) -> dict[str, Any]:
        """For `--json`: `<generator>.<setting>.csf.skill` and so on, means over seeds, intervals beside them."""
        found: dict[str, Any] = {"data": self.data, "seeds": self.seeds}
        for generator, settings in self.figures.items():
            mine: dict[str, Any] = {}
            for setting, values in settings.items():
                tree: dict[str, Any] = {}
                for name, series in values.items():
                    *path, last = name.split(".")
                    place = tree
                    for step in path:
                        place = place.setdefault(step, {})
                    mean, low, high = interval(np.array(series))
                    place[last] = mean
                    place.setdefault("intervals", {})[last] = (low, high)
                mine[setting] = tree
            mine["federated_equals_central"] = self.equal.get(generator)
            found[generator] = mine
        return found

    def rows(self) -> list[tuple[str, ...]]:
        """For people."""
        names = ("csf.skill", "gsf.skill", "classic.csf", "classic.gsf", "survival.km_gap", "seconds")
        lines = []
        for generator, settings in self.figures.items():
            for setting, values in settings.items():
                lines.append((generator, setting, *(_shown(values.get(name)) for name in names)))
        return lines


def _shown(series: Sequence[float] | None) -> str:
    return "" if not series else f"{float(np.mean(series)):.3f}"


def bench(
    data: str,
    *,
    site_column: str | None,
    study: Study | None = None,
    generators: Sequence[str] = ("bn",),
    strategies: Sequence[str] = FEDERATIONS,
    settings: Sequence[str] = SETTINGS,
    seeds: int = 3,
    draws: int = 3,
    say: Callable[[str], None] = lambda text: None,
) -> Bench:
    """Generators by setting on one consortium. data: a file, or `sim` for the simulated one. Raises UsageError."""
    for what, given, known in (("generator", generators, tuple(GENERATORS)), ("setting", settings, SETTINGS),
                               ("strategy", strategies, FEDERATIONS)):  # fmt: skip
        if unknown := [one for one in given if one not in known]:
            raise UsageError(f"unknown {what} '{unknown[0]}'; available: {', '.join(known)}")
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {seeds}")
    found = Bench(data=data, seeds=seeds)
    for seed in range(seeds):
        tables, plan = _world(data, site_column=site_column, study=study, seed=seed)
        for generator in generators:
            changed = plan.synth.model_copy(update={"generator": generator}) if plan.synth else None
            own = plan.model_copy(update={"synth": changed, "model": plan.model.model_copy(update={"name": generator})})
            _one(found, own, tables, generator=generator, settings=settings, draws=draws, seed=seed)
            say(f"seed {seed}: {generator}")
    return found


def _world(data: str, *, site_column: str | None, study: Study | None, seed: int) -> tuple[Mapping[str, Table], Study]:
    if data == "sim":
        table = simulate(seed=seed).table
        return take(table, by_column(table, "site"), without=["site"]), demo_study(seed=seed)
    path = Path(data)
    if site_column is None:
        raise UsageError("name the column with the hospital: --site-column COLUMN")
    if not path.is_file():
        raise UsageError(f"data file '{path}' does not exist")
    table = read(path, CsvFormat() if path.suffix == ".csv" else None)
    plan = study or bench_study(table, site_column=site_column, name=path.stem.replace(" ", "-"), seed=seed)
    return take(table, by_column(table, site_column), without=[site_column]), plan.with_seed(seed)


def _one(
    found: Bench,
    study: Study,
    tables: Mapping[str, Table],
    *,
    generator: str,
    settings: Sequence[str],
    draws: int,
    seed: int,
) -> None:
    chance = Chance(seed, secrets_from_system=False)
    gathered, facts = gathered_rows(study, tables, chance=chance)
    model = build_generator(study, gathered.schema)
    fitted = train(study, tables) if "federated" in settings else None
    parts = {one.site: (one.training, one.test) for one in gathered.rows()}
    training = {site: rows_of_examples(pair[0], facts) for site, pair in parts.items()}
    reserve = _stacked([rows_of_examples(pair[1], facts) for pair in parts.values()])
    pooled = _stacked(list(training.values()))
    if fitted is not None:
        fitted.ledger.close()
    states: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    began = time.process_time()
    central = fit_by_sums(model, [pooled])
    seconds["central"] = time.process_time() - began
    if "central" in settings:
        states["central"] = central
    if fitted is not None:
        states["federated"] = fitted.saved.state
        equal = fitted.saved.state.digest == central.digest
        found.equal[generator] = found.equal.get(generator, True) and equal
    if "isolated" in settings:
        for site, rows in training.items():
            if len(rows) >= LEAST_RESERVE:
                states[f"isolated {site}"] = fit_by_sums(model, [rows])
    drawn = {  # the same stream for all, so that equal states give equal patients
        name: model.sample(state, len(pooled), rng=np.random.default_rng([seed, 11])) for name, state in states.items()
    }
    scores = score_all(pooled, reserve, drawn, draws=draws, seed=seed)
    isolated: list[dict[str, float]] = []
    for name, rows in drawn.items():
        values = _figures(scores[name], pooled, reserve, rows)
        if name in seconds:
            values["seconds"] = seconds[name]
        if name.startswith("isolated "):
            isolated.append(values)
            found.add(generator, name.replace(" ", ":"), values)
        else:
            found.add(generator, name, values)
    if isolated:
        found.add(
            generator, "isolated", {key: float(np.nanmean([one[key] for one in isolated])) for key in isolated[0]}
        )


def _figures(scored: Mapping[str, Any], pooled: Rows, reserve: Rows, rows: Rows) -> dict[str, float]:
    facts = pooled.facts
    values: dict[str, float] = {}
    for key, one in scored.items():
        for name in ("score", "floor", "ceiling", "skill"):
            values[f"{key}.{name}"] = interval(getattr(one, name))[0]
    values["classic.csf"], values["classic.gsf"] = classic_pair(pooled, rows)
    values["c2st"] = 1.0 - 0.5 * interval(scored["csf"].parts["indistinguishability"])[0]
    if facts.time:
        out, made = ((one[facts.time], one[facts.event]) for one in (reserve, rows))
        values["survival.km_gap"] = km_gap((pooled[facts.time], pooled[facts.event]), made, tau_of(pooled[facts.time]))
        values["survival.logrank_p"] = log_rank_p(out, made)
        found = utility(pooled, rows, reserve)
        for name, measure in (("c_index_tstr", found.c_synthetic), ("c_index_real", found.c_real)):
            values[f"survival.{name}"] = float("nan") if measure.value is None else measure.value
    return values


def _stacked(parts: Sequence[Rows]) -> Rows:
    facts = parts[0].facts
    return Rows(facts, {name: np.concatenate([part[name] for part in parts]) for name in facts.names})
