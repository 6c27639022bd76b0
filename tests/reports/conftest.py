"""Records for the tests of the page: a small invented one, and one from four real hospitals."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from cohortium.core.check import Check
from cohortium.reports.measure import Measure
from cohortium.reports.record import (
    Flow,
    LedgerRecord,
    ModelRecord,
    Results,
    RoundRecord,
    RunRecord,
    SharedFigures,
    Span,
    Timings,
)


def _heart_run():
    spec = importlib.util.spec_from_file_location("heart_run", Path(__file__).with_name("heart_run.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def heart_record():
    """A whole record from heart_uci; skipped where the shared data are absent."""
    module = _heart_run()
    if not (module.DATA / "heart_uci.parquet").exists():
        pytest.skip(f"heart_uci.parquet is not in {module.DATA} (set COHORTIUM_DATA)")
    return module.build(draws=200)


def measure(value, n=100):
    return Measure(value=value, low=value - 0.05, high=value + 0.05, n=n, method="test")


@pytest.fixture
def small_record():
    """Two sites, two rounds, no comparison: the least a finished run has to say."""
    both = ("bonn", "porto")
    return RunRecord(
        status="complete",
        outcome="binary",
        name="two-sites",
        sites=both,
        included=(both, both),
        model=ModelRecord(name="logistic", digest="ab" * 32),
        ledger=LedgerRecord(engine="memory", height=9, head="cd" * 32),
        seed=7,
        versions={"cohortium": "0.1.0"},
        seconds=1.25,
        test=Results(
            swarm={"auroc": measure(0.8), "auroc_within": Measure(value=None, n=7)},
            single={"bonn": {"auroc": measure(0.7)}, "porto": {"auroc": measure(0.75)}},
            per_site={s: {"swarm": {"auroc": measure(0.82)}, "own": {"auroc": measure(0.7)}} for s in both},
        ),
        rounds=tuple(
            RoundRecord(
                round=i,
                leader=both[i % 2],
                contributors=both,
                merge=f"{i:064x}",
                n_attested=2,
                metrics={"auroc": 0.7 + i / 100, "loss": float("nan")},
            )
            for i in (1, 2)
        ),
        flow={s: Flow(read=300, train=200, calibration=40, test=60, positive=120) for s in both},
        checks=(Check(id="L5", level="warn", found="bonn is recognisable from its columns", fix="harmonise"),),
        timings=Timings(rounds=(0.5, 0.6), spans=(Span(site="bonn", round=1, stage="train", start_s=0.0, end_s=0.4),)),
    )


@pytest.fixture
def deployed_record(small_record):
    """A run between hospitals, as bonn has it: figures of its own patients, and what the others told."""
    told = {"auroc": Measure(value=0.812, low=0.762, high=0.862, n=None, method="as the site told it")}
    own = {"auroc": Measure(value=0.7, n=None, method="as the site told it")}
    return replace(
        small_record,
        sites=("bonn", "lund", "porto"),
        included=(("bonn", "lund", "porto"),) * 2,
        test=replace(small_record.test, per_site={"bonn": small_record.test.per_site["bonn"]}),
        flow={"bonn": small_record.flow["bonn"]} if "bonn" in small_record.flow else small_record.flow,
        randomness="operating system",
        shared={
            "bonn": SharedFigures(swarm=told, own=own),
            "lund": SharedFigures(swarm=told, own=own),
            "porto": SharedFigures(missing="left the run (train, silent)"),
        },
    )


@pytest.fixture
def generator_record(small_record):
    """A run that learned a generator of synthetic patients: nothing was predicted, so nothing was measured."""
    return replace(
        small_record,
        study={"synth": {"generator": "bn"}},
        model=replace(small_record.model, name="bn", strategy="exact"),
        test=Results(),
        rounds=tuple(replace(one, metrics={}) for one in small_record.rounds),
        checks=(Check(id="validation", level="warn", found="fidelity pass, utility pass, privacy warn"),),
    )
