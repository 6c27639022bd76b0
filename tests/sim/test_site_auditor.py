"""A site audits its own part of a run; it says nothing where no model came of it."""

import numpy as np

from cohortium.core.study import Study
from cohortium.privacy.leakage.site_audit import Claim
from cohortium.sim.plain import learn
from cohortium.sim.site_auditor import SiteAuditor, affordable, claim_of, thresholds_of


def auditor_of(study, work, held_out):
    rng = np.random.default_rng(0)
    return SiteAuditor(study, work.program, held_out=held_out, shuffled=rng.permutation)


def test_a_trained_site_gets_two_verdicts_and_keeps_the_figures(study, works_of, rows):
    works = works_of(study)
    auditor = auditor_of(study, works["porto"], rows[2].test)
    state = learn(works["porto"].program, list(works.values()))
    said = auditor.close(works["porto"], state)
    assert [one.tier for one in said] == [0, 1]
    assert {one.verdict for one in said} <= {1, 2, 3}
    assert all(len(one.digest) == 32 for one in said)
    assert len(auditor.inside) == len(rows[2].training)
    assert len(auditor.outside) == len(rows[2].test)
    assert np.median(auditor.control[0]) < np.median(auditor.control[1])
    assert auditor.close(works["porto"], state)[0].digest == said[0].digest


def test_before_a_model_there_is_nothing_to_say(study, works_of, rows):
    work = works_of(study)["porto"]
    auditor = auditor_of(study, work, rows[2].test)
    assert auditor.close(work, work.start()) == ()
    assert auditor.audit is None


def test_a_watch_in_the_work_sees_every_update_of_the_model(study, works_of, rows):
    auditor = auditor_of(study, works_of(study)["porto"], rows[2].test)
    works = works_of(study, watch=auditor.watch)
    learn(works["porto"].program, [works["porto"]])
    assert auditor.watch.found
    assert auditor.watch.inversion.n_recovered == 0


def test_the_studys_words_reach_the_audit(works_of, make_study):
    study = make_study(privacy={"audit": {"max_auc": 0.7, "max_tpr": 0.1}})
    assert (thresholds_of(study).auc, thresholds_of(study).tpr) == (0.7, 0.1)
    assert claim_of(works_of(study)["porto"].program) == Claim()
    assert isinstance(study, Study)


def test_nobody_held_out_is_inconclusive_and_no_crash(study, works_of, rows):
    works = works_of(study)
    nobody = rows[2].test.take(np.zeros(0, dtype=np.int64))
    auditor = auditor_of(study, works["porto"], nobody)
    said = auditor.close(works["porto"], learn(works["porto"].program, list(works.values())))
    assert [one.verdict for one in said] == [1, 3]


def test_of_a_large_model_as_many_patients_are_looked_at_as_cost_a_hundredth_of_its_training():
    def looked_at(n_parameters, *, rounds, n=1000, learns_by="weights"):
        return affordable(n_parameters, n_trained=n, rounds=rounds, learns_by=learns_by)

    assert looked_at(2_700_000, rounds=20) == 300
    assert looked_at(2_700_000, rounds=2) == 100, "never too few to say anything"
    assert looked_at(2_700_000, rounds=500) == 1_000
    assert looked_at(50_000, rounds=2) == looked_at(2_700_000, rounds=2, learns_by="sums") == 1_000
