"""A run that spends, exported and checked by somebody who has nothing but the file."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.core.spending import BudgetRecord
from cohortium.core.study_text import study_of
from cohortium.data.table import Table
from cohortium.errors import VerificationFailed
from cohortium.ledger.archive import verify
from cohortium.privacy.dp.terms import audit_terms
from cohortium.sim.accounts import accounts_of, check_budgets
from cohortium.sim.officer_export import export_page
from cohortium.sim.protection import spending_of
from cohortium.sim.simulate import run_simulation
from cohortium.sim.swarm import Setting, run_swarm

pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
pytestmark = pytest.mark.timeout(300)  # two private runs of eight hospitals are 15 CPU seconds


@pytest.fixture
def export(tmp_path, make_study, works_of, purses_of, chance):
    """A ledger on which three sites have spent; porto ran out of budget."""

    def make(liar=""):
        study = make_study(strategy={"name": "fedavg", "rounds": 5, "min_sites": 2})
        works = works_of(study)
        budgets = purses_of(works, cap={"bonn": 3.0, "lund": 3.0, "porto": 0.6})

        def purse(site, consortium):
            made = budgets(site, consortium)
            if site == liar:
                honest = made._compose
                made._compose = lambda events, delta: 0.5 * honest(events, delta=delta)
            return made

        found = run_swarm(Setting(study=study, works=works, chance=chance, budgets=purse, promised_micro=3_000_000))
        path = tmp_path / "ledger.jsonl"
        found.ledger.export(path)
        found.ledger.close()
        return path

    return make


def test_totals_are_rebuilt_from_the_file_alone(export) -> None:
    found = check_budgets(export())
    assert found.faults == ()
    by_site = {one.site: one for one in found.statements}
    assert sorted(by_site) == ["bonn", "lund", "porto"]
    assert by_site["porto"].total <= 0.6 < by_site["bonn"].total
    assert by_site["bonn"].runs[0].n_rounds == 5
    document = json.loads(json.dumps(found.document()))
    assert document["verified"] is True
    assert document["sites"]["porto"]["cap"] == 0.6
    assert any(line.startswith("porto: epsilon 0.") and " of 0.6 at delta 1e-05" in line for line in found.sentences())
    found.refuse_faults()


def test_a_site_that_halves_its_epsilons_is_named(export) -> None:
    found = check_budgets(export(liar="lund"))
    assert {fault.partition(":")[0] for fault in found.faults} == {"lund"}
    with pytest.raises(VerificationFailed, match=r"lund: run 1, round 4: the run's epsilon is .* \(and \d+ more\)"):
        found.refuse_faults()


def test_a_run_without_noise_says_so(finished) -> None:
    found = check_budgets(finished[1] / "ledger.jsonl")
    assert found.statements == ()
    assert "no site has booked any spending" in found.sentences()[0]


# --- an audit of the data with noise, then a training with noise: one account


BAD = "cc"


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Eight hospitals, one with reversed labels, both parts with noise: (record, folder)."""
    tables = {}
    for number, site in enumerate(("aa", "bb", BAD, "dd", "ee", "ff", "gg", "hh")):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(200, 3))
        y = (x @ [1.5, -1.0, 0.5] + rng.logistic(size=200) * 0.7 > 0).astype(float)
        columns = {"x": x[:, 0], "y": x[:, 1], "z": x[:, 2], "sick": 1 - y if site == BAD else y}
        tables[site] = Table.from_columns(columns)
    study = study_of({
        "study": {"name": "both", "outcome": "sick"},
        "model": {"name": "logistic"},
        "strategy": {"name": "fedavg", "rounds": 2},
        "cohort": {"scale": "public", "fill": "none", "ranges": {"*": [-4.0, 4.0]}},
        "privacy": {"secure_aggregation": True, "dp": {"epsilon": 8.0, "sample_rate": 0.2}},
        "quality": {"detector": "out-of-bag", "dp": {"epsilon": 6.0}},
        "evaluation": {"per_site": False, "leave_one_out": False},
    })  # fmt: skip
    out = tmp_path_factory.mktemp("both") / "run"
    return run_simulation(study, tables, out=out).record, out


def events_of(path, site):
    """What a site has spent by a chain, read without the code that makes statements."""
    booked = verify(path, evm=False).privacy.booked
    told = {(one.run, one.round): BudgetRecord.read(one.record) for one in booked if one.site == site}
    return [event for record in told.values() if record.state == "spent" for event in record.events]


@pytest.mark.slow
def test_audit_and_training_are_one_account_and_its_parts_are_shown(audited):
    record, out = audited
    assert record.quality.left_out == (BAD,)
    assert [one.site for one in record.privacy.spending] == sorted(record.sites)
    by_site = {one.site: one for one in record.privacy.spending}
    gone = by_site.pop(BAD)
    for site, one in by_site.items():
        parts = {part.what: part.epsilon for part in one.parts}
        assert (one.rounds, list(parts)) == (2, ["audit of the data", "training"])
        assert max(parts.values()) < one.total < sum(parts.values()), "parts compose, they do not add up"
        assert 10.0 < one.total <= one.cap, "a simulation's cap leaves room for both"
        assert one.colluders == one.total
        first, second = (events_of(out / name, site) for name in ("audit-1.jsonl", "ledger.jsonl"))
        assert (len(first), len(second)) == (3, 2)
    assert one.total == pytest.approx(composed([*first, *second], one.delta), rel=0.005)
    assert parts["training"] == pytest.approx(composed(second, one.delta), rel=0.005)
    assert (gone.rounds, [part.what for part in gone.parts]) == (0, ["audit of the data"])
    spent = composed(events_of(out / "audit-1.jsonl", BAD), gone.delta)
    assert gone.total == gone.parts[0].epsilon == pytest.approx(spent, rel=0.005)
    assert 5.9 < gone.total <= 6.0


def composed(events, delta):
    """Epsilon of all these events, by an accountant of our own making."""
    from dp_accounting import GaussianDpEvent, LaplaceDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    found = PLDAccountant(value_discretization_interval=1e-3)
    for one in events:
        if one.type == "laplace":
            found.compose(LaplaceDpEvent(float(one.scale)), one.count)
        else:
            noise = GaussianDpEvent(float(one.sigma))
            found.compose(noise if one.type == "gaussian" else PoissonSampledDpEvent(float(one.q), noise), one.count)
    return found.get_epsilon(delta)


@pytest.mark.slow
def test_the_officers_page_shows_the_sum_the_parts_and_the_site_that_is_gone(audited, tmp_path):
    record, out = audited
    export_page(out, tmp_path / "officer.html")
    page = (tmp_path / "officer.html").read_text(encoding="utf-8")
    for words in ("Of it audit of the data", "Of it training", "budget audit-1.jsonl ledger.jsonl"):
        assert words in page
    gone = next(one for one in record.privacy.spending if one.site == BAD)
    assert re.search(rf"{BAD}: epsilon {gone.total:.4f} of [^<]*; audit-1.jsonl {gone.total:.4f} in 3 rounds<", page)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.slow
def test_a_training_that_has_booked_nothing_is_not_said_to_have_cost_what_the_audit_did(audited, private):
    record, out = audited
    audit, training = (verify(out / name, evm=False) for name in ("audit-1.jsonl", "ledger.jsonl"))
    silent = replace(training, privacy=replace(training.privacy, booked=(), committed={}))
    terms = audit_terms(6.0, 1e-5, n_sites=8)
    program = SimpleNamespace(privacy=replace(terms, n_sites=7) if private else None)
    found = {one.site: one for one in spending_of(program, silent, audits=[(terms, audit)])}
    assert found.keys() == set(record.sites)
    for one in found.values():
        assert (one.rounds, [part.what for part in one.parts]) == (0, ["audit of the data"])
        assert one.total == one.parts[0].epsilon == pytest.approx(6.0, abs=0.1)


@pytest.mark.slow
def test_a_training_that_forgets_the_audit_is_a_fault(audited, tmp_path):
    _, out = audited
    both = check_budgets(out / "ledger.jsonl", before=[out / "audit-1.jsonl"])
    assert both.faults == ()
    document = both.document()
    assert [one["file"] for one in document["before"]] == ["audit-1.jsonl"]
    found = [verify(out / name, evm=False) for name in ("audit-1.jsonl", "ledger.jsonl")]
    forgetful = replace(
        found[1], privacy=replace(found[1].privacy, booked=tuple(map(_forgetful, found[1].privacy.booked)))
    )
    faults = {one.site: one.faults for one in accounts_of([found[0], forgetful])}
    assert "the record says" in faults["aa"][0]
    assert faults[BAD] == ()
    assert accounts_of([forgetful])[0].faults == (), "alone it cannot be seen"


def _forgetful(booked):
    record = BudgetRecord.read(booked.record)
    told = replace(record, eps_total_micro=record.eps_run_micro)
    return replace(booked, record=told.canonical())
