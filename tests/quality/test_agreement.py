"""Agreement of single-site models: the matrix by hand, who is named, who is asked to look, who stays out."""

import numpy as np
import pytest

import cohortium as co
from cohortium.errors import UsageError
from cohortium.quality.agreement import Agreement, agreements, judge_agreement

SITES = ("a", "b", "c", "d")


def aurocs(reversed_site=None, value=0.8):
    found = np.full((4, 4), value)
    if reversed_site is not None:
        found[reversed_site, :] = found[:, reversed_site] = 1 - value
    np.fill_diagonal(found, value)
    return found


def kinds(table):
    return {v.site: v.kind for v in table.verdicts}


def test_the_matrix_agrees_with_a_hand_calculation():
    found = agreements(np.array([[0.9, 0.7], [0.5, 0.9]]))
    assert found == pytest.approx(np.array([[0.0, 0.1], [0.1, 0.0]]))


@pytest.mark.parametrize("at", range(4))
def test_whichever_site_is_reversed_is_named_with_its_repair_and_no_other(at):
    table = judge_agreement(SITES, aurocs(at))
    assert kinds(table) == {site: "repair" if k == at else "keep" for k, site in enumerate(SITES)}
    found = table.verdicts[at]
    assert (found.repair, found.channel, found.left_out) == ("label-polarity", "reversed", True)
    assert found.reason == "labels look reversed: this site and 3 others contradict each other (mean AUROC .20)"


def test_nobody_is_named_where_all_agree():
    table = judge_agreement(SITES, aurocs())
    assert table.status == "decided"
    assert set(kinds(table).values()) == {"keep"}
    assert not any(v.look for v in table.verdicts)


def test_a_site_that_agrees_with_nobody_is_shown_but_kept():
    weak = aurocs()
    weak[2, :] = weak[:, 2] = 0.52
    found = {v.site: v for v in judge_agreement(SITES, weak).verdicts}
    assert (found["c"].kind, found["c"].look) == ("keep", True)
    assert not found["a"].look


def test_a_slightly_negative_site_is_not_named():
    weak = aurocs()
    weak[2, :] = weak[:, 2] = 0.42
    assert kinds(judge_agreement(SITES, weak))["c"] == "keep"


def test_one_class_sites_stay_out_and_too_few_others_end_inconclusive():
    one_class = aurocs(1)
    one_class[3, :] = one_class[:, 3] = np.nan
    table = judge_agreement(SITES, one_class)
    assert kinds(table) == {"a": "keep", "b": "repair", "c": "keep", "d": "keep"}
    assert "too few records" in table.verdicts[3].reason
    one_class[2, :] = one_class[:, 2] = np.nan
    assert judge_agreement(SITES, one_class).status == "inconclusive"


def test_end_to_end_a_reversed_site_among_four_is_found(kit):
    sites = kit.consortium(sizes=(60, 50, 40, 30))
    assert set(kinds(Agreement().run(sites)).values()) == {"keep"}
    for name in sites:
        found = kinds(Agreement().run(kit.flipped(sites, name)))
        assert found == {site: "repair" if site == name else "keep" for site in sites}


def test_other_numbers_of_sites_and_probes_are_refused(kit):
    with pytest.raises(UsageError, match="is for 3 to 9 sites, got 13; use 'out-of-bag'"):
        Agreement().run(kit.consortium())
    with pytest.raises(UsageError, match="unknown probe 'forest'"):
        Agreement().run(kit.consortium(sizes=(9, 9, 9)), probe="forest")
    assert co.quality.DETECTORS.resolve("agreement") is Agreement
    assert Agreement.needs == "updates"
