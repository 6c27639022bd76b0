"""The audit before a training: a site with reversed labels is found, named, and mended or left out."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.core.spending import BudgetRecord
from cohortium.core.study import QualityPlan
from cohortium.core.study_text import study_of
from cohortium.errors import StudyError
from cohortium.ledger.archive import verify
from cohortium.privacy.dp.accounting import epsilon
from cohortium.reports.measure import Measure
from cohortium.reports.quality_sections import QualitySections
from cohortium.reports.record import Results
from cohortium.sim.auditing import audit_study
from cohortium.sim.comparison import SiteRows, train_plainly
from cohortium.sim.purses import PatientSet, Purses
from cohortium.sim.quality import screen_sites, with_effects, without_suspects

SITES = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")
LAYOUT = Layout(features=("x", "y", "z"), outcome="binary", classes=("0", "1"))
CHANCE = Chance(3, secrets_from_system=False)


def study(**quality):
    return study_of({
        "study": {"name": "audited", "outcome": "sick"},
        "model": {"name": "logistic", "l2": 0.1},
        "privacy": {"secure_aggregation": False},
        "quality": {"detector": "out-of-bag", "halves": 6, "passes": 1, "repairs": ["label-polarity"], **quality},
    })  # fmt: skip


def rows(*, reverse=()):
    made = []
    for number, site in enumerate(SITES):
        rng = np.random.default_rng(number)

        def part(n, rng=rng, site=site):
            x = rng.normal(size=(n, 3))
            y = (x @ [1.5, -1.0, 0.5] + rng.logistic(size=n) * 0.7 > 0).astype(float)
            return Examples(layout=LAYOUT, x=x, y=1 - y if site in reverse else y)

        made.append(SiteRows(site=site, training=part(30), calibration=part(5), test=part(15)))
    return made


@pytest.fixture(scope="module")
def mended():
    said = []
    found = screen_sites(study(on_harm="repair"), rows(reverse=("cc",)), chance=CHANCE, say=said.append)
    return found, said


def test_the_reversed_site_is_named_and_no_other(mended):
    found, said = mended
    record = found.record
    assert record.status == "decided"
    assert {site: one.verdict for site, one in record.sites.items() if one.verdict != "keep"} == {"cc": "repair"}
    assert record.sites["cc"].repair == "label-polarity"
    assert record.sites["cc"].reason.startswith("labels look reversed: the model of the other 7 sites contradicts")
    assert (record.sites["cc"].votes, record.sites["aa"].votes) == (7, 0)
    assert record.again["cc"].verdict == "keep"
    assert record.repaired == {"cc": "label-polarity"}
    assert any(line.startswith("cc: labels look reversed") for line in said)
    assert said[1:3] == ["audit: 10 exchanges", "audit: 20 exchanges"]


def test_repaired_rows_train_and_are_tested_with_the_labels_they_should_have(mended):
    found, _ = mended
    right = {one.site: one for one in rows()}
    assert found.changed
    assert found.record.left_out == ()
    for one in found.rows:
        np.testing.assert_array_equal(one.training.y, right[one.site].training.y)
        np.testing.assert_array_equal(one.test.y, right[one.site].test.y)
    came = {one.site: one for one in found.as_they_came}
    np.testing.assert_array_equal(came["cc"].training.y, 1 - right["cc"].training.y)
    np.testing.assert_array_equal(came["cc"].test.y, right["cc"].test.y)


def test_both_audits_are_runs_on_ledgers_that_hold(mended, tmp_path):
    found, _ = mended
    assert len(found.runs) == 2
    for number, run in enumerate(found.runs):
        path = tmp_path / f"{number}.jsonl"
        run.ledger.export(path)
        (one,) = verify(path, evm=False).runs
        assert (one.state, one.study) == ("finished", audit_study(study(on_harm="repair")).digest)
    exchanges = sum(run.outcome.rounds for run in found.runs)
    assert found.record.cost.model_transfers == exchanges * len(SITES)


def test_the_effect_compares_two_models_on_the_same_patients(mended):
    found, _ = mended
    under = Results(swarm={"auroc": Measure(value=0.9, n=120), "brier": Measure(value=0.1, n=120)})
    effects = with_effects(study(), found, under, chance=CHANCE, engine="auto").effects
    assert [one.name for one in effects] == ["auroc", "brier"]
    assert 0.5 < effects[0].without.value < 1.0
    assert effects[0].without.n == 120


def test_the_difference_has_an_interval_where_the_model_under_the_verdicts_is_at_hand(mended):
    found, _ = mended
    model = train_plainly(study(), found.rows, chance=CHANCE)
    under = Results(swarm={"auroc": Measure(value=0.9, n=120), "brier": Measure(value=0.1, n=120)})
    first, second = with_effects(study(), found, under, chance=CHANCE, engine="auto", model=model).effects
    assert first.difference.low <= first.difference.value <= first.difference.high
    assert second.difference.high < 0, "one site of eight blurs the risks, if not their order"
    page = QualitySections(replace(found.record, effects=(first, second))).effects()
    assert " to " in page.rows[0][3]


def test_in_quarantine_a_site_does_not_train():
    found = screen_sites(study(repairs=[]), rows(reverse=("cc",)), chance=CHANCE)
    assert found.record.left_out == ("cc",)
    assert [one.site for one in found.rows] == [site for site in SITES if site != "cc"]
    assert found.changed


def test_few_sites_are_audited_by_agreement():
    asked = study(detector="agreement", on_harm="repair")
    found = screen_sites(asked, rows(reverse=("bb",))[:4], chance=CHANCE)
    assert found.record.repaired == {"bb": "label-polarity"}
    assert {one.verdict for one in found.record.again.values()} == {"keep"}
    assert found.runs == ()
    assert found.record.cost.model_transfers == 24  # two audits, every model to three others


def test_the_published_control_travels_from_a_dirty_start_and_counts_its_cost():
    asked = study(detector="travelling", cycles=2, learning_rate=0.001)
    whole = rows(reverse=("cc",))
    found = screen_sites(asked, whole, chance=CHANCE)
    batches = sum(len(one.training) // 5 for one in whole)
    assert found.runs == ()
    assert set(found.record.sites) == set(SITES)
    assert found.record.cost.model_transfers >= 2 * batches * len(SITES)
    assert found.record.cost.training_steps_ratio >= 1.0
    assert found.record.status == "decided"


def test_an_unknown_anchor_is_named():
    with pytest.raises(StudyError, match="unknown site 'zz'"):
        screen_sites(study(anchors=["zz"]), rows(), chance=CHANCE)


def test_a_report_changes_nothing():
    found = screen_sites(study(on_harm="report"), rows(reverse=("cc",)), chance=CHANCE)
    assert found.record.sites["cc"].verdict == "repair"
    assert not found.changed
    assert with_effects(study(), found, Results(), chance=CHANCE, engine="auto").effects == ()


def test_without_a_detector_nothing_is_audited():
    whole = rows(reverse=("cc",))
    found = screen_sites(study(detector="none"), whole, chance=CHANCE)
    assert found.record is None
    assert with_effects(study(), found, Results(), chance=CHANCE, engine="auto") is None
    assert found.rows == whole
    assert not found.changed


def test_another_outcome_is_refused():
    counted = Layout(features=("x",), outcome="count")
    one = Examples(layout=counted, x=np.zeros((4, 1)), y=np.arange(4.0))
    with pytest.raises(StudyError, match="judges labels of 0 and 1"):
        screen_sites(study(), [SiteRows(site="aa", training=one, calibration=one, test=one)] * 8, chance=CHANCE)


def test_suspects_are_left_out_with_all_rows_of_their_patient():
    patient = np.array([0, 0, 1, 2])
    held = Examples(layout=LAYOUT, x=np.arange(12.0).reshape(4, 3), y=np.zeros(4), patient=patient)
    one = SiteRows(site="aa", training=held, calibration=held, test=held)
    kept = without_suspects(one, np.array([0.99, 0.5, 0.2, *[0.0] * 6]), convict=0.95)
    assert kept.training.patient.tolist() == [1, 2]
    assert kept.test is one.test
    assert without_suspects(one, np.zeros(9), convict=0.95) is one


# --- under differential privacy

PRIVATE = {"dp": {"epsilon": 6.0}, "repairs": QualityPlan().repairs, "passes": 2, "halves": 8}
PUBLIC = {"scale": "public", "fill": "none", "ranges": {"*": [-4.0, 4.0]}}


def private(**quality):
    plain = study(**{**PRIVATE, **quality})
    return plain.with_plans(
        cohort=plain.cohort.model_copy(update=PUBLIC),
        privacy=plain.privacy.model_copy(update={"secure_aggregation": True}),
    )


def purses(made, *, cap=None):
    sets = {one.site: PatientSet(table=one.site.encode(), n=50) for one in made}
    return Purses(patients=sets, chance=CHANCE, cap=cap)


@pytest.fixture(scope="module")
def large():
    found = []
    for one in rows(reverse=("cc",)):
        rng = np.random.default_rng(len(found))
        x = rng.normal(size=(120, 3))
        y = (x @ [1.5, -1.0, 0.5] + rng.logistic(size=120) * 0.7 > 0).astype(float)
        more = Examples(layout=LAYOUT, x=x, y=1 - y if one.site == "cc" else y)
        found.append(replace(one, training=more))
    return found


def test_an_audit_under_noise_leaves_the_reversed_site_out_and_books_what_it_cost(large):
    books = purses(large)
    found = screen_sites(private(), large, chance=CHANCE, purses=books)
    assert found.record.status == "decided"
    assert found.record.left_out == ("cc",)
    assert found.record.sites["cc"].reason == (
        "labels contradict the model of the other 7 sites by more than the noise allows"
    )
    assert found.record.sites["cc"].votes == 7
    (said,) = found.promises
    assert said.startswith("the audit of the sites' data: simulated differential privacy, no guarantee for anybody")
    assert "epsilon 6 at delta 1e-05 for one patient, mode distributed" in said
    (run,) = found.runs
    spent = [event for event in run.events if event.name == "Spent"]
    told = [BudgetRecord.read(bytes(event.args["record"])) for event in spent if event.args["site"] == "aa"]
    costs = [record.events for record in told if record.state == "spent"]
    assert [events[0].type for events in costs] == ["gaussian", "gaussian", "laplace"]
    assert 5.9 < epsilon([one for events in costs for one in events], delta=1e-5) <= 6.0


def test_an_audit_that_a_site_cannot_pay_is_skipped_by_name(large):
    said = []
    found = screen_sites(private(), large, chance=CHANCE, say=said.append, purses=purses(large, cap=5.0))
    assert found.record.status == "inconclusive"
    assert found.runs == ()
    assert found.promises == ()
    assert "the audit is skipped: aa: these patients would have cost epsilon 6" in said[1]
    assert found.record.why.startswith("the audit was skipped: aa: ")
    assert [one.site for one in found.rows] == list(SITES)
