"""What a study may ask of its audit, and the sentences for what it may not."""

import pytest

from cohortium.assembly import check_study
from cohortium.core.study_text import study_of
from cohortium.errors import StudyError
from cohortium.quality.study import check_audited, check_audited_by_nodes, fewest_audited, least_half

BASE = {"study": {"name": "s", "outcome": "sick"}, "model": {"name": "logistic"}}


def problems(n_sites=None, **sections):
    return [one.message for one in check_study(study_of({**BASE, **sections}), n_sites=n_sites)]


def quality(**facts):
    return {"quality": facts}


CLEAR = {"privacy": {"secure_aggregation": False}}


@pytest.mark.parametrize("n", [8, 10, 11, 12, 24, 64])
def test_halves_that_hide_a_site_are_accepted_under_masks(n):
    assert problems(n, **quality(detector="out-of-bag")) == []


@pytest.mark.parametrize(("n", "half", "needed"), [(9, 4, 5), (7, 3, 4), (6, 3, 4), (5, 2, 3)])
def test_halves_that_do_not_are_refused(n, half, needed):
    assert problems(n, **quality(detector="out-of-bag")) == [
        f"detector 'out-of-bag': {n} sites give halves of {half}; with secure aggregation a half needs {needed}: "
        "8 sites, or 10 and more"
    ]
    few = [f"detector 'out-of-bag' needs at least 6 sites, got {n}"] if n < 6 else []
    assert problems(n, **quality(detector="out-of-bag"), **CLEAR) == few


@pytest.mark.parametrize(
    "facts", [{"on_harm": "repair"}, {"halves": 4}, {"paired_trial": False}, {"dp": {"epsilon": 1.0}}]
)
def test_settings_of_an_audit_are_refused_where_none_is_made(facts):
    assert problems(8, **quality(**facts)) == ["no audit is made that reads it; set quality.detector"]
    assert problems(8, **quality(gate="consortium")) == []


def test_an_audit_needs_one_split():
    folded = problems(12, **quality(detector="out-of-bag"), evaluation={"folds": 5})
    assert folded == ["an audit is made of one split; leave evaluation.folds out"]


def test_the_least_half_withstands_a_third_of_the_sites():
    assert [least_half(n) for n in (3, 6, 8, 9, 12, 30)] == [3, 4, 4, 5, 6, 12]


def test_agreement_shows_models_and_needs_few_sites():
    assert problems(5, **quality(detector="agreement")) == [
        "detector 'agreement' needs single-site models, but secure aggregation hides them; switch it off or use "
        "'out-of-bag' with 8 sites, or 10 and more"
    ]
    assert problems(5, **quality(detector="agreement"), **CLEAR) == []
    assert problems(10, **quality(detector="agreement"), **CLEAR) == ["detector 'agreement' needs 3 to 9 sites, got 10"]


def test_travelling_shows_models_and_needs_patients_who_decide():
    masked = ["detector 'travelling' relays models in the clear; set secure_aggregation = false"]
    assert problems(5, **quality(detector="travelling")) == masked
    assert problems(5, **quality(detector="travelling"), **CLEAR) == []
    undecided = problems(5, **quality(detector="travelling"), **CLEAR, evaluation={"calibration_fraction": 0.0})
    assert undecided == [
        "detector 'travelling' decides on calibration patients; set evaluation.calibration_fraction above 0"
    ]


def test_agreement_judges_no_records():
    found = problems(5, **quality(detector="agreement", exclude_records="local"), **CLEAR)
    assert found == ["detector 'agreement' judges sites, no records; set \"list\""]


def test_a_probe_without_noise_is_refused_beside_noise():
    private = {"privacy": {"dp": {"epsilon": 3.0}}, **quality(detector="out-of-bag")}
    assert any("trains its probe" in one for one in problems(12, **private))
    assert not any("trains its probe" in one for one in problems(12, privacy=private["privacy"]))


@pytest.mark.parametrize(
    "wrong", [{"detector": "typical"}, {"halves": 7}, {"passes": 4}, {"convict": 0.3}, {"on_harm": "x"}]
)
def test_a_wrong_value_is_named(wrong):
    with pytest.raises(StudyError) as refused:
        study_of({**BASE, "quality": {"detector": "out-of-bag", **wrong}})
    assert f"quality.{next(iter(wrong))}" in str(refused.value)


def test_a_study_without_an_audit_keeps_its_digest():
    plain, said = study_of(BASE), study_of({**BASE, **quality(detector="none", halves=6)})
    assert plain.digest == said.digest
    assert plain.digest != study_of({**BASE, **quality(detector="out-of-bag")}).digest
    assert b'"quality":{"detector":"none"}' in plain.canonical()


PUBLIC = {"cohort": {"scale": "public", "fill": "none", "ranges": {"*": [0, 1]}}}
NOISY = {"detector": "out-of-bag", "dp": {"epsilon": 1.0}}


@pytest.mark.parametrize("detector", ["agreement", "travelling"])
def test_noise_that_no_audit_makes_is_refused_and_not_ignored(detector):
    found = problems(8, **quality(detector=detector, dp={"epsilon": 1.0}), **CLEAR)
    assert found == [f"detector '{detector}' shows what noise does not cover; set detector = \"out-of-bag\""]


def test_an_audit_under_noise_is_taken_with_masks_and_a_public_scale():
    assert problems(12, **quality(**NOISY), **PUBLIC) == []
    assert problems(12, **quality(**NOISY), **PUBLIC, privacy={"dp": {"mode": "local"}}) == []


@pytest.mark.parametrize(
    ("facts", "sections", "said"),
    [
        ({}, {}, "scale = 'standard': an audit under noise needs agreed ranges; set scale = 'public'"),
        ({}, {"cohort": {"scale": "public"}}, "fill = 'mean': an audit under noise may not read means of patients"),
        ({}, {**PUBLIC, **CLEAR}, "noise is shared out by the sites of a masked sum"),
        ({"on_harm": "repair"}, PUBLIC, "rests on what an audit under noise does not release"),
        ({"exclude_records": "local"}, PUBLIC, "only ranks a site's records"),
        ({"passes": 1}, PUBLIC, "an audit under noise does not read it; leave it out"),
        ({"anchors": ["porto"]}, PUBLIC, "an audit under noise does not read it; leave it out"),
        ({"dp": {"delta": 1e-4}}, PUBLIC, "is a chance that somebody's data are told"),
        ({}, {**PUBLIC, "evaluation": {"folds": 5}}, "an audit is made of one split"),
        ({}, {**PUBLIC, "privacy": {"groups": 2}}, "an audit adds whole numbers of all sites up"),
    ],
)
def test_what_an_audit_under_noise_cannot_do_is_refused(facts, sections, said):
    assert any(said in one for one in problems(24, **quality(**{**NOISY, **facts}), **sections))


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ("standard", "scale = 'standard' reads patients without noise"),
        ("none", "an audit under noise needs agreed ranges"),
    ],
)
def test_what_training_and_audit_refuse_alike_is_said_once(scale, said):
    private = {"cohort": {"scale": scale}, "privacy": {"dp": {"mode": "local"}}}
    found = check_study(study_of({**BASE, **quality(**NOISY), **private}), n_sites=12)
    assert sorted(one.key for one in found) == ["cohort.fill", "cohort.scale"]
    assert any(said in one.message for one in found)


def test_noise_wants_nearly_all_sites_in_every_sum():
    noisy = study_of({**BASE, **quality(**NOISY), **PUBLIC})
    assert [fewest_audited(noisy, n) for n in (8, 12, 24, 40)] == [8, 12, 22, 38]


def test_a_private_training_may_not_have_an_audit_that_trains_in_the_open():
    found = problems(12, **quality(detector="out-of-bag"), **PUBLIC, privacy={"dp": {"mode": "local"}})
    assert found == [
        "detector 'out-of-bag' trains its probe without noise, which privacy.dp rules out; add [quality] dp"
    ]


@pytest.mark.parametrize(
    ("detector", "facts"),
    [
        ("agreement", {"anchors": ["porto"]}),
        ("agreement", {"convict": 0.9}),
        ("travelling", {"halves": 4}),
        ("out-of-bag", {"tolerance": 0.1}),
    ],
)
def test_a_setting_that_the_detector_does_not_read_is_refused(detector, facts):
    assert problems(8, **quality(detector=detector, **facts), **CLEAR) == [
        f"detector '{detector}' does not read it; leave it out"
    ]


def test_a_setting_that_it_reads_is_taken():
    assert problems(8, **quality(detector="out-of-bag", anchors=["porto"], halves=4, convict=0.9)) == []
    assert problems(8, **quality(detector="travelling", cycles=3, tolerance=0.1), **CLEAR) == []


def test_a_repair_that_does_not_exist_is_named_before_anything_runs():
    assert problems(8, **quality(detector="out-of-bag", repairs=["columns", "units"])) == []
    with pytest.raises(StudyError, match="label_polarity"):
        study_of({**BASE, **quality(detector="out-of-bag", repairs=["label_polarity"])})


def test_what_an_audit_needs_of_sites_and_outcome():
    study = study_of({**BASE, **quality(detector="out-of-bag", anchors=["porto", "paris"])})
    check_audited(study, sites=("porto", "paris", "bonn"), outcome="binary")
    check_audited(study_of(BASE), sites=("bonn",), outcome="survival")
    with pytest.raises(StudyError, match="unknown site 'paris'; sites: bonn, porto"):
        check_audited(study, sites=("porto", "bonn"), outcome="binary")
    with pytest.raises(StudyError, match="labels of 0 and 1, not an outcome of kind 'survival'"):
        check_audited(study, sites=("porto", "paris"), outcome="survival")


def test_the_gate_is_refused_under_noise_and_in_an_audit_between_hospitals():
    gate = {"gate": "consortium"}
    assert problems(8, **quality(**gate)) == []
    assert problems(8, **quality(**gate, detector="out-of-bag")) == []
    private = {"privacy": {"dp": {"epsilon": 3.0}}, "cohort": {"scale": "none", "fill": "none"}}
    said = problems(8, **quality(**gate), model={"name": "mlp"}, **private)
    assert sum("compared by sums without noise" in one for one in said) == 1
    audit = study_of({**BASE, **quality(**gate, detector="out-of-bag", on_harm="report")})
    assert [one.key for one in check_audited_by_nodes(audit)] == ["quality.gate"]
    assert study_of({**BASE, **quality(**gate)}).digest != study_of(BASE).digest
    assert study_of({**BASE, **quality(gate="site")}).digest == study_of(BASE).digest
