"""What a study may ask of threshold encryption, where it is here and where it is not."""

import pytest

from cohortium.core.study import Study
from cohortium.privacy.he import terms
from cohortium.privacy.secagg.terms import notes_on


def study_of(strategy=None, **privacy):
    plan = {
        "study": {"name": "s", "outcome": "died"},
        "model": {"name": "logistic"},
        "strategy": strategy or {},
        "privacy": {"method": "threshold-ckks", **privacy},
    }
    return Study.model_validate(plan)


def found(study, n_sites=5):
    return {problem.key: problem.message for problem in terms.unencryptable(study, n_sites)}


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(terms, "missing", lambda: "")


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(terms, "missing", lambda: "openfhe is not installed")


def test_where_it_is_here_it_is_in_force(here):
    study = study_of()
    assert found(study) == {}
    assert terms.encrypted(study, 5)
    assert terms.method_of(study, 5) == "threshold-ckks"
    assert terms.sentence_on(study, 5).startswith("threshold encryption on: members see only the sum over 5 sites")


def test_where_it_is_missing_one_sentence_says_what_to_install(absent):
    assert found(study_of()) == {
        "privacy.method": "method 'threshold-ckks' is not available here: openfhe is not installed; use Python 3.12"
        " with: pip install 'cohortium[he]', or set fallback = 'masks'"
    }
    assert terms.encrypted(study_of(), 5), "never in silence another method than was asked for"


def test_masks_take_over_where_the_study_says_so_and_the_record_tells(absent):
    study = study_of(fallback="masks")
    assert found(study) == {}
    assert not terms.encrypted(study, 5)
    assert terms.method_of(study, 5) == "masks"
    told = "method: masks (asked: threshold-ckks; not available: openfhe is not installed)"
    assert notes_on(study, 5, {})[:2] == (
        told,
        "secure aggregation on: members see only the sum over 5 sites, 1 may be lost in mid-round",
    )


def test_nobody_asked(absent):
    study = Study.model_validate({"study": {"name": "s", "outcome": "died"}, "model": {"name": "logistic"}})
    assert (found(study), terms.sentence_on(study, 5), terms.method_of(study, 5)) == ({}, "", "masks")
    assert terms.method_of(study, 2) == "none"
    assert "method" not in study.canonical().decode(), "studies without a choice keep their digest"
    assert "method" in study_of().canonical().decode()


@pytest.mark.parametrize(
    ("privacy", "strategy", "key", "words"),
    [
        ({"secure_aggregation": False}, {}, "privacy.method", "secure aggregation, which is off; leave method out"),
        ({"word_bits": 16}, {}, "privacy.word_bits", "numbers of 32 bits, not 16"),
        ({"weights": "hidden"}, {}, "privacy.weights", "hidden by masks only"),
        ({"dp": {"mode": "distributed"}}, {}, "privacy.method", "noise that is shared out needs masks"),
        ({}, {"min_sites": 3}, "strategy.min_sites", "sums of all 5 sites or none; leave min_sites out"),
    ],
)
def test_what_does_not_go_together_is_refused_at_its_key(here, privacy, strategy, key, words):
    assert words in found(study_of(strategy, **privacy))[key]
