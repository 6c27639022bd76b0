"""What is known too late: by declaration, by names of second outcomes, by names of treatments."""

from __future__ import annotations

import pytest

from cohortium.data import timing


def test_declared_moments_decide():
    known = {"crp": "admission", "bleed": "discharge", "sex": "birth"}
    late = timing.known_too_late(["crp", "bleed=yes", "bleed=no", "sex", "age"], known=known, predict_at="admission")
    assert late == {"bleed": "is known at 'discharge', after 'admission'"}


def test_moments_of_the_studys_own_must_be_in_order():
    own = ("arrival", "24 h", "72 h")
    features, known = ["lactate", "ddimer"], {"lactate": "24 h", "ddimer": "72 h"}
    assert list(timing.known_too_late(features, known=known, predict_at="24 h", moments=own)) == ["ddimer"]
    assert "has no place in time" in timing.known_too_late(["x"], known={"x": "later"}, predict_at="admission")["x"]
    assert timing.known_too_late(["x"], known={"x": "discharge"}, predict_at="") == {}


@pytest.mark.parametrize(
    ("features", "caught"),
    [
        (["efs_days", "efs_event", "age"], ["efs_days", "efs_event"]),
        (["aml_event", "aml_years", "hb"], ["aml_event", "aml_years"]),
        (["PFS.time", "PFS.status"], ["PFS.time", "PFS.status"]),
        (["toxicity_months", "toxicity_indicator"], ["toxicity_months", "toxicity_indicator"]),
        (["stay_days"], ["stay_days"]),
        (["futime_days"], ["futime_days"]),
        (["timeToRelapse"], ["timeToRelapse"]),
        (["os_months=1"], ["os_months"]),
        (["ttp"], ["ttp"]),
    ],
)
def test_second_outcomes_are_caught_by_name(features, caught):
    assert list(timing.outcome_like(features)) == caught


def test_the_studys_own_outcome_completes_a_pair():
    assert list(timing.outcome_like(["local_days"], outcome=["local_event"])) == ["local_days"]
    assert timing.outcome_like(["local_days"]) == {}


@pytest.mark.parametrize(
    "feature",
    ["age", "sample_yr", "status", "chol", "prior_relapse", "days_since_diagnosis", "nodes",
     "bone_marrow", "family_history_death", "post", "event_rate", "meanPeriodPulses", "crystal", "ecog", "risk=low"],
)  # fmt: skip
def test_innocent_names_pass(feature):
    assert timing.outcome_like([feature]) == {}


def test_treatments_are_named_once_per_column():
    features = ["transplant", "hma", "lenalidomid", "chemo=no", "chemo=yes", "imatinib", "age", "treatable", "vir"]
    assert timing.treatment_like(features) == ["transplant", "hma", "lenalidomid", "chemo", "imatinib", "vir"]
