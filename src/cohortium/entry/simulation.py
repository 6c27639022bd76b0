"""`co.simulate`: a whole swarm from Python objects, in a notebook or a script.

    result = co.simulate(sites={"porto": a, "bonn": b}, outcome="label", model="logistic")
    result.report("report.html")

Works where an event loop is already running, because the nodes live on a loop of their own in a thread
of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cohortium.assembly import check_study
from cohortium.core.study import Study
from cohortium.core.study_text import study_of
from cohortium.data.table import Table
from cohortium.entry.own_thread import in_own_thread
from cohortium.errors import StudyError, UsageError
from cohortium.sim.inputs import read_study
from cohortium.sim.simulate import Options, Result, run_simulation

__all__ = ["simulate"]


def simulate(
    *,
    sites: Mapping[str, object],
    study: Study | str | Path | None = None,
    outcome: str | Mapping[str, str] | None = None,
    model: str = "logistic",
    strategy: str = "auto",
    rounds: int = 20,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    seed: int = 0,
    ledger: str = "memory",
    engine: str = "auto",
    out: str | Path | None = None,
    replace: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Result:
    """Train a swarm of `sites` and compare it with every site's own model and with pooled data.

    sites: name -> table (a dict of columns, a data frame, anything with `__array__` or the data frame
    protocols). study: a study or its file; else one is made of the keywords. options: of the model.
    out: folder for `run.json`, `report.html`, `model.safetensors`, `ledger.jsonl`; replace: overwrite a run that is
    there, instead of refusing. say: gets a line a round.
    Raises StudyError, DataError, UsageError before anything trains; RunFailed when the run fails.
    """
    plan = _plan(study, outcome, model, strategy, rounds, features, exclude, seed, options)
    problems = check_study(plan, n_sites=len(sites))
    if problems:
        raise StudyError(problems)
    tables = {site: data if isinstance(data, Table) else Table.from_any(data) for site, data in sites.items()}

    def run() -> Result:
        return run_simulation(
            plan,
            tables,
            out=None if out is None else Path(out),
            options=Options(ledger=ledger, engine=engine, replace=replace),
            screen=say or _silent,
            warn=say or _silent,
        )

    return in_own_thread(run)


def _silent(_: str) -> None:
    """Nobody listens."""


def _plan(
    study: Study | str | Path | None,
    outcome: str | Mapping[str, str] | None,
    model: str,
    strategy: str,
    rounds: int,
    features: Sequence[str] | None,
    exclude: Sequence[str],
    seed: int,
    options: Mapping[str, Any],
) -> Study:
    if isinstance(study, Study):
        return study
    if study is not None:
        return read_study(Path(study))
    if outcome is None:
        raise UsageError("name the outcome column, or give a study")
    content: dict[str, Any] = {
        "study": {
            "name": "simulation",
            "outcome": outcome if isinstance(outcome, str) else dict(outcome),
            "exclude": list(exclude),
            **({} if features is None else {"features": list(features)}),
        },
        "model": {"name": model, **{option: _named(option, value) for option, value in options.items()}},
        "strategy": {"name": strategy, "rounds": rounds},
        "evaluation": {"seed": seed},
    }
    return study_of(content)


def _named(option: str, value: Any) -> Any:
    """A function or class as `module:name`, since a study is text that sites agree on; anything else as it is."""
    if not callable(value):
        return value
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    if not name or getattr(sys.modules.get(module), name, None) is not value:
        raise UsageError(f"{option}: a study names functions by module and name; define it at the top of a file")
    return f"{module}:{name}"
