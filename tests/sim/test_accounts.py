"""A run that spends, exported and checked by somebody who has nothing but the file."""

import json

import pytest

from cohortium.errors import VerificationFailed
from cohortium.sim.accounts import check_budgets
from cohortium.sim.swarm import Setting, run_swarm

pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")


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
