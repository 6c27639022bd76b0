"""Simulated sites pay for audit and training from one book each."""

import pytest

from cohortium.core.examples import Layout
from cohortium.core.randomness import Chance
from cohortium.core.spending import Entry, merged
from cohortium.core.study_text import study_of
from cohortium.sim.auditing import audit_program, audit_study, noisy_detector_of
from cohortium.sim.purses import PatientSet, Purses

pytest.importorskip("dp_accounting")

SITES = tuple(f"site-{k}" for k in range(8))
STUDY = study_of({
    "study": {"name": "audited", "outcome": "sick"},
    "model": {"name": "logistic"},
    "cohort": {"scale": "public", "fill": "none", "ranges": {"*": [0, 1]}},
    "quality": {"detector": "out-of-bag", "dp": {"epsilon": 2.0}},
})  # fmt: skip


def program():
    layout = Layout(features=("x",), outcome="binary", classes=("0", "1"))
    detector = noisy_detector_of(STUDY)
    chance = Chance(1, secrets_from_system=False)
    return audit_program(audit_study(STUDY), layout, sites=SITES, detector=detector, chance=chance)


def purses(**facts):
    patients = {site: PatientSet(table=site.encode(), n=50) for site in SITES}
    return Purses(patients=patients, chance=Chance(1, secrets_from_system=False), **facts)


def test_an_audit_has_the_noise_that_the_study_asks_for_it_and_not_that_of_the_training():
    asked = audit_study(STUDY)
    assert (asked.privacy.dp.mode, asked.privacy.dp.epsilon, asked.model.name) == ("distributed", 2.0, "out-of-bag")
    assert audit_study(STUDY.with_plans(quality=STUDY.quality.model_copy(update={"dp": None}))).privacy.dp is None


def test_all_can_pay_or_the_first_that_cannot_is_named():
    assert purses().short_of(audit_study(STUDY), program()) == ""
    short = purses(cap=1.5).short_of(audit_study(STUDY), program())
    assert short.startswith("site-0: these patients would have cost epsilon 2.00 at delta 1e-05 over all studies")


def test_a_second_audit_is_paid_from_the_same_book():
    books, made = purses(cap=2.01), program()
    assert books.short_of(audit_study(STUDY), made) == ""
    purse = books.of(audit_study(STUDY), made, "site-3", b"")
    for run in (1, 2, 3):
        purse.reserve(run, 1, made.start())
        assert purse.settle(run, 1)
    assert books.short_of(audit_study(STUDY), made).startswith("site-3: ")
    books.close()


def test_an_audit_that_a_resumed_run_repeats_is_paid_once_and_the_training_still_pays_with_it(tmp_path):
    made, asked = program(), audit_study(STUDY)

    def audited():
        """A run's books after its audit, which ends as it did before the run was interrupted."""
        books = purses(cap=2.01, home=tmp_path)
        audit = books.for_audit()
        assert audit.short_of(asked, made) == ""
        purse = audit.of(asked, made, "site-3", b"audit")
        assert purse.admit(1) == ""
        records = [record for round in (1, 2, 3) for record in (*purse.reserve(1, round, made.start()),
                                                                *purse.settle(1, round))]  # fmt: skip
        books.keep(audit)
        return books, records

    books, first = audited()
    books.close()
    books, again = audited()
    assert again == first
    assert len(first) == 6
    held = [entry for entry in books._book("site-3").entries() if entry.round]
    assert [(entry.round, entry.state) for entry in held] == [(1, "spent"), (2, "spent"), (3, "spent")]
    assert len(books._book("site-3").versions()) == 1
    why = books.of(asked, made, "site-3", b"training").afford()
    assert why.startswith("these patients would have cost epsilon "), "what the audit has cost is not forgotten"
    books.close()


def test_the_default_cap_is_the_same_after_a_resume_and_still_leaves_room_for_other_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("cohortium.sim.purses._DEFAULT_CAP", 1.0)
    made, asked = program(), audit_study(STUDY)

    def spent(books, consortium):
        plan = {"dataset": "0" * 64, "round": 1, "state": "spent", "events": merged(made.planned_events())}
        books._book("site-3").write(Entry(run=f"{consortium.hex()}/1", **plan))

    def cap(books, consortium):
        return books.of(asked, made, "site-3", consortium)._caps.total

    books = purses(home=tmp_path)
    assert cap(books, b"training") == 2.0
    spent(books, b"audit")
    before = cap(books, b"training")
    assert before > 2.0
    spent(books, b"training")
    books.close()
    resumed = purses(home=tmp_path)
    assert cap(resumed, b"training") == before
    assert cap(resumed, b"another run") > before
    resumed.close()
