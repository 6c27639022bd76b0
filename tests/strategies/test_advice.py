"""Advice by number and size of sites: said where it is due, silent where it is not."""

import pytest

from cohortium.strategies.advice import advise

FOUR_LARGE = {"cleveland": 303, "hungary": 294, "longbeach": 200, "switzerland": 123}
MANY_SMALL = {f"scanner-{at:02}": 20 + at for at in range(25)}


def said(strategy, sizes, learns_by="weights"):
    return " / ".join(advise(strategy, sizes, learns_by=learns_by))


def test_few_large_sites_need_no_advice():
    assert advise("fedavg", FOUR_LARGE, learns_by="weights") == ()


def test_many_small_sites_are_pointed_to_fedadam_and_those_who_chose_it_are_not():
    assert "'fedadam'" in said("fedavg", MANY_SMALL)
    assert said("fedadam", MANY_SMALL) == ""


def test_an_adaptive_merge_for_few_sites_is_questioned():
    assert "4 sites: 'fedyogi' pays off with many" in said("fedyogi", FOUR_LARGE)


def test_one_site_that_outweighs_all_others_is_named():
    assert "site 'big' holds 82 %" in said("fedavg", {"big": 900, "mid": 150, "low": 50})
    assert said("mean", {"big": 900, "mid": 150, "low": 50}) == ""


def test_unequal_steps_are_pointed_to_fednova():
    assert "'fednova'" in said("fedavg", {"a": 1000, "b": 100, "c": 60})


@pytest.mark.parametrize("rule", ["coordinate-median", "geometric-median", "trimmed-mean"])
def test_robust_rules_are_warned_of(rule):
    assert "punishes honest differences" in said(rule, FOUR_LARGE)
    assert "at least 3 sites" in said(rule, {"a": 100, "b": 100})


def test_replay_rules_and_the_travelling_model_say_what_they_are():
    assert "replay" in said("minimum", FOUR_LARGE)
    assert "predecessor" in said("cyclic", FOUR_LARGE)


def test_personal_parts_on_few_records_are_named_and_long_lists_cut():
    assert "fewer than 50 at scanner-00, scanner-01" in said("fedper", MANY_SMALL)
    assert "and 20 more" in said("fedper", MANY_SMALL)


def test_sums_need_no_advice_but_for_tiny_sites():
    assert said("exact-sums", MANY_SMALL, "sums") == ""
    assert "fewer than 10 training records at b" in said("exact-sums", {"a": 100, "b": 9}, "sums")
    assert advise("fedavg", {}, learns_by="weights") == ()
