"""Evidence and verdicts check themselves."""

import pytest

from cohortium.core.verdicts import Evidence, Verdict


def evidence(**changes):
    given = {
        "site": "porto", "n": 27, "two_class": True, "sound": -9.5, "reversed": 7.25, "shifted": -8.0, "novelty": 0.0,
    }  # fmt: skip
    return Evidence(**{**given, **changes})


def verdict(**changes):
    given = {"site": "porto", "kind": "keep", "posterior": 0.1, "channel": "sound", "reason": "labels agree"}
    return Verdict(**{**given, **changes})


def test_five_records_publish_evidence_and_four_do_not():
    assert evidence(n=5).n == 5
    with pytest.raises(ValueError, match="from 5 records on, got 4"):
        evidence(n=4)


@pytest.mark.parametrize("name", ["sound", "reversed", "shifted", "novelty", "auroc", "ranking"])
def test_evidence_that_is_not_finite_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"evidence '{name}' of site 'porto' is not finite"):
        evidence(**{name: float("nan")})


def test_only_the_class_of_a_gain_leaves_the_site():
    assert evidence(repair="label-polarity", gain=16).gain == 16
    for wrong in ({"repair": "label-polarity", "gain": 17}, {"repair": "label-polarity"}, {"gain": 8}):
        with pytest.raises(ValueError, match="a gain of 8, 16, 32 or 64 nats"):
            evidence(**wrong)


def test_more_contradicted_than_scored_is_refused():
    with pytest.raises(ValueError, match="contradicted must be 0 to 27"):
        evidence(contradicted=28)


def test_a_verdict_names_a_repair_exactly_when_it_is_one_or_convicts():
    assert verdict(kind="repair", repair="label-polarity", gain=8).repair
    assert verdict(kind="quarantine", repair="label-polarity", gain=8, left_out=True).convicted
    assert not verdict().convicted
    with pytest.raises(ValueError, match="verdict 'repair' with repair ''"):
        verdict(kind="repair")
    with pytest.raises(ValueError, match="verdict 'keep' with repair 'label-polarity'"):
        verdict(repair="label-polarity", gain=8)


@pytest.mark.parametrize(("name", "value"), [("kind", "remove"), ("channel", "evil"), ("posterior", 1.5)])
def test_words_and_numbers_outside_their_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name if name == "posterior" else "unknown"):
        verdict(**{name: value})


def test_a_quarantined_site_is_left_out_a_kept_one_is_not_and_a_repairable_one_may_be():
    assert verdict(kind="repair", repair="label-polarity", gain=8, left_out=True).left_out
    for wrong in ({"kind": "quarantine"}, {"left_out": True}):
        with pytest.raises(ValueError, match="left_out"):
            verdict(**wrong)
