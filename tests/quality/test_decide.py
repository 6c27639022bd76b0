"""From evidence to verdicts: every kind, its sentence, and the same bytes whatever the order."""

import random
from dataclasses import replace

import pytest

from cohortium.core.verdicts import Evidence
from cohortium.quality.decide import Rules, decide

SITES = [f"site-{i:02}" for i in range(83)]
SOUND = Evidence(site="site-00", n=27, two_class=True, sound=9.0, reversed=-40.0, shifted=7.0, novelty=0.0,
                 contradicted=2, auroc=0.84, ranking=3.0, shortfall=0.2)  # fmt: skip
REVERSED = replace(SOUND, site="site-01", sound=-30.0, reversed=9.0, shifted=-28.0, contradicted=24, auroc=0.1,
                   ranking=-3.5)  # fmt: skip
ONE_CLASS = replace(REVERSED, site="site-02", n=62, two_class=False, auroc=0.5, ranking=0.0, contradicted=60)


def verdict_on(evidence, *, status="decided", rules=None):
    table = decide([evidence], sites=SITES, status=status, auroc=0.85, slope=1.0, rules=rules or Rules())
    return {one.site: one for one in table.verdicts}[evidence.site]


def test_a_sound_site_is_kept():
    found = verdict_on(SOUND)
    assert (found.kind, found.channel, found.look, found.left_out) == ("keep", "sound", False, False)
    assert found.reason == "labels agree with the model of the other 82 sites in 25 of 27 records"


def test_reversed_labels_are_quarantined_in_the_words_of_the_design():
    found = verdict_on(REVERSED)
    assert (found.kind, found.channel, found.left_out) == ("quarantine", "reversed", True)
    assert found.reason == "labels look reversed: the model of the other 82 sites contradicts 24 of 27 records"


def test_a_named_repair_goes_before_quarantine_and_holds_the_data_back_until_it_is_applied():
    found = verdict_on(replace(REVERSED, repair="label-polarity", gain=32))
    assert (found.kind, found.repair, found.gain, found.left_out) == ("repair", "label-polarity", 32, True)
    offered = verdict_on(replace(SOUND, repair="rotate-90", gain=8))
    assert (offered.kind, offered.left_out) == ("repair", False)


def test_a_site_that_still_ranks_rightly_is_shifted_and_kept():
    found = verdict_on(replace(REVERSED, auroc=0.71, ranking=1.9, shortfall=6.0))
    assert (found.kind, found.posterior, found.left_out) == ("keep-shifted", 0.0, False)
    assert found.reason == (
        "different, not harmful: your patients are still ranked rightly (AUROC .71, 90 % sure above .5)"
    )
    new = replace(REVERSED, auroc=0.71, ranking=1.9, novelty=5.0)
    assert verdict_on(replace(new, shortfall=6.0)).kind == "quarantine"
    kept = verdict_on(replace(new, shortfall=1.2))
    assert (kept.kind, kept.look) == ("keep-shifted", True)


def test_a_kept_site_whose_records_look_new_gets_a_look():
    found = verdict_on(replace(SOUND, novelty=5.0))
    assert (found.kind, found.look, found.left_out) == ("keep", True, False)
    assert found.reason.endswith("25 of 27 records and the records look unlike those of other sites")
    assert not verdict_on(replace(SOUND, novelty=1.9)).look


def test_labels_that_are_coins_are_named_so():
    found = verdict_on(replace(SOUND, sound=-12.0, reversed=-13.0, novelty=4.0, contradicted=13, ranking=0.2))
    assert (found.kind, found.channel) == ("quarantine", "unrelated")
    assert found.reason.endswith("13 of 27 records and the records look unlike those of other sites")


def test_a_one_class_site_is_asked_and_not_convicted():
    found = verdict_on(ONE_CLASS)
    assert (found.kind, found.left_out) == ("keep", False)
    assert found.question == (
        "all 62 records say 0 = control, the model of the other sites expects 1; please confirm the coding"
    )
    shifted = verdict_on(replace(ONE_CLASS, shifted=30.0))  # convicted only where no shift is allowed
    assert shifted.posterior < 0.01
    assert shifted.question
    waiting = verdict_on(ONE_CLASS, rules=Rules(one_class_unconfirmed="quarantine"))
    assert (waiting.kind, bool(waiting.question)) == ("quarantine", True)


def test_a_one_class_site_that_also_looks_new_is_quarantined():
    assert verdict_on(replace(ONE_CLASS, novelty=2.0)).kind == "quarantine"
    assert verdict_on(replace(ONE_CLASS, novelty=1.999)).kind == "keep"


def test_between_one_half_and_convict_there_is_a_look():
    doubtful = replace(SOUND, sound=0.0, reversed=3.5, novelty=0.0, ranking=0.0)
    found = verdict_on(doubtful)
    assert 0.5 < found.posterior <= 0.95
    assert (found.kind, found.look) == ("keep", True)
    assert verdict_on(doubtful, rules=Rules(convict=0.5)).kind == "quarantine"


def test_a_site_without_evidence_has_too_few_records():
    table = decide([SOUND], sites=SITES, status="decided", auroc=0.85, slope=1.0, rules=Rules())
    assert table.verdicts[7].kind == "keep"
    assert table.verdicts[7].reason == "too few records to judge: fewer than 5, needed about 9"


def test_an_inconclusive_audit_convicts_nobody_and_still_says_who_looks_new():
    found = verdict_on(replace(REVERSED, novelty=3.0), status="inconclusive")
    assert (found.kind, found.posterior, found.look) == ("keep", 0.0, True)
    assert "rank patients too weakly to judge labels (AUROC .85)" in found.reason


def test_any_order_of_sites_and_noise_in_the_last_digits_give_the_same_bytes():
    whole = [replace(SOUND, site=site, sound=9.0 - i / 7) for i, site in enumerate(SITES)]
    first = decide(whole, sites=SITES, status="decided", auroc=0.8512345678, slope=1.0, rules=Rules())
    shaken = [replace(one, sound=one.sound + 1e-9) for one in whole]
    random.Random(1).shuffle(shaken)
    again = decide(shaken, sites=SITES[::-1], status="decided", auroc=0.8512345679, slope=1.0, rules=Rules())
    assert first.canonical() == again.canonical()
    assert first.digest == again.digest
    other = decide([*whole[1:], REVERSED], sites=SITES, status="decided", auroc=0.85, slope=1.0, rules=Rules())
    assert other.digest != first.digest


@pytest.mark.parametrize("n", [5, 27])
def test_no_count_below_five_is_said_of_a_site_without_evidence(n):
    table = decide([replace(SOUND, n=n)], sites=SITES, status="decided", auroc=0.7, slope=1.0, rules=Rules())
    assert all("fewer than 5" in one.reason for one in table.verdicts[1:])
