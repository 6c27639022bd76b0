"""Elimination: only after a quarantine, only when the trial shows a gain, never at a subgroup's cost."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.quality.study import check_quality
from cohortium.reports.quality import AuditCost, QualityRecord, SiteVerdict, TrialRecord
from cohortium.reports.quality_sections import QualitySections
from cohortium.sim.comparison import SiteRows
from cohortium.sim.elimination import eliminated, trusted_rows, try_without
from cohortium.sim.quality import screen_sites

SITES = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")
LAYOUT = Layout(features=("x", "y", "z"), outcome="binary", classes=("0", "1"))


def study(**quality):
    return study_of({
        "study": {"name": "audited", "outcome": "sick"},
        "model": {"name": "logistic", "l2": 0.1},
        "privacy": {"secure_aggregation": False},
        "quality": {"detector": "out-of-bag", "halves": 6, "passes": 1, "repairs": [], "on_harm": "eliminate",
                    **quality},
    })  # fmt: skip


def rows(*, reverse=("cc",), large=90, subgroup=None):
    """Reversed labels in a site that holds more patients than three others together: the model must notice."""
    made = []
    for number, site in enumerate(SITES):
        rng = np.random.default_rng(number)
        bad = site in reverse

        def part(n, rng=rng, bad=bad):
            x = rng.normal(size=(n, 3))
            y = (x @ [1.5, -1.0, 0.5] + rng.logistic(size=n) * 0.7 > 0).astype(float)
            codes = (np.arange(n) % 2).astype(np.int8)
            if subgroup and not bad:  # half of the others' patients are as the reversed site says they are
                y = np.where(codes == 1, 1 - y, y)
            held = {"sex": codes} if subgroup else {}
            return Examples(layout=LAYOUT, x=x, y=1 - y if bad else y, subgroups=held)

        made.append(SiteRows(site=site, training=part(large if bad else 20), calibration=part(20), test=part(10)))
    return made


@pytest.mark.slow
def test_a_site_in_quarantine_that_costs_everybody_is_eliminated():
    said = []
    found = screen_sites(study(), rows(), chance=Chance(3, secrets_from_system=False), say=said.append)
    record = found.record
    assert record.left_out == ("cc",)
    assert record.sites["cc"].verdict == "eliminate"
    assert [site for site, one in record.sites.items() if one.verdict == "eliminate"] == ["cc"]
    assert record.trial.passed
    assert record.trial.judges == 7
    assert record.trial.whole.high >= record.trial.whole.gain >= record.trial.whole.low > 0
    assert "the trial passed: cc is eliminated" in said
    page = QualitySections(record)
    assert page.trial().rows[0][0] == "all patients of 7 sites"
    assert "The trial passed" in page.trial_said()


@pytest.mark.slow
def test_without_a_gain_the_site_stays_in_quarantine():
    found = screen_sites(study(), rows(large=6), chance=Chance(3, secrets_from_system=False))
    assert found.record.left_out == ("cc",)
    assert found.record.sites["cc"].verdict == "quarantine"
    assert not found.record.trial.passed
    assert "nobody is eliminated" in QualitySections(found.record).trial_said()


def test_a_subgroup_that_would_lose_keeps_a_site_in():
    """Patients of sex 1 are everywhere as the accused says; without it the model is worse for them."""
    trial = try_without(study(), rows(subgroup="sex"), ["cc"], verdicts={})
    assert trial.endangered == ("sex 1",)
    assert not trial.passed


def test_too_few_sites_to_judge_are_no_reason_to_eliminate_anybody():
    trial = try_without(study(), rows()[2:4], ["cc"], verdicts={})
    assert not trial.passed
    assert "a paired trial needs two sites" in trial.why
    whole = QualityRecord(
        status="decided", detector="out-of-bag", on_harm="eliminate", why="",
        sites={"cc": SiteVerdict(verdict="quarantine", posterior=1.0, reason="labels look reversed")},
        records_flagged={}, cost=AuditCost(training_steps_ratio=1.0, model_transfers=8),
    )  # fmt: skip
    kept = eliminated(whole, (), trial)
    assert kept.sites["cc"].verdict == "quarantine"
    assert "stays in quarantine" in QualitySections(kept).trial_said()
    assert eliminated(whole, ("cc",), TrialRecord(sites=("cc",), passed=True)).sites["cc"].verdict == "eliminate"
    assert eliminated(whole, (), None) is whole


def test_distrusted_patients_do_not_decide():
    one = rows()[0]
    suspicion = np.zeros(50)
    suspicion[[21, 45]] = 0.9
    assert np.flatnonzero(~trusted_rows(one, suspicion)).tolist() == [1]


def test_elimination_needs_the_trial_and_patients_to_decide_on():
    (problem,) = check_quality(study(paired_trial=False), 8)
    assert problem.message == "on_harm = 'eliminate' needs paired_trial = true"
    content = study().model_dump(mode="json", exclude_none=True)
    content["evaluation"]["calibration_fraction"] = 0.0
    (problem,) = check_quality(study_of(content), 8)
    assert "calibration patients" in problem.message
