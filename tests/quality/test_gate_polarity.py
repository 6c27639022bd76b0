"""Polarity: a reversed site points the other way, small and one-class sites say nothing, the coding is compared."""

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.quality.gate_polarity import check_coding, check_polarity, signs


def site(seed, *, n=60, flipped=False, one_class=False):
    rng = np.random.default_rng(seed)
    y = np.zeros(n) if one_class else (np.arange(n) % 2).astype(float)
    x = rng.normal(size=(n, 6)) + np.outer(y, [1.5, -1.5, 1.5, -1.5, 1.5, 0.0])
    x[0, 0] = np.nan
    names = tuple("abcdef")
    layout = Layout(features=names, outcome="binary", classes=("0", "1"))
    return Examples(layout=layout, x=x, y=1 - y if flipped else y)


def sums(sites):
    said = np.stack([signs(one) for one in sites])
    return {"plus": (said == 1).sum(axis=0), "minus": (said == -1).sum(axis=0)}


def test_a_reversed_site_warns_and_the_others_do_not():
    sites = [site(seed, flipped=seed == 3) for seed in range(8)]
    levels = [check_polarity(signs(one), **sums(sites)).level for one in sites]
    assert levels == ["ok", "ok", "ok", "warn", "ok", "ok", "ok", "ok"]
    found = check_polarity(signs(sites[3]), **sums(sites)).found
    assert found.startswith(("5 of 5 columns", "5 of 6 columns", "6 of 6 columns"))


def test_half_of_the_columns_against_is_no_alarm():
    own = np.array([1, 1, -1, -1])
    check = check_polarity(own, plus=np.array([7, 7, 7, 7]), minus=np.array([0, 0, 1, 1]))
    assert check.level == "ok"


def test_small_and_one_class_sites_say_nothing():
    assert not signs(site(0, one_class=True)).any()
    assert not signs(site(0, n=4)).any()
    assert check_polarity(np.zeros(6, dtype=np.int64), **sums([site(s) for s in range(8)])).level == "skipped"


def test_columns_need_five_other_sites():
    sites = [site(seed, flipped=seed == 0) for seed in range(5)]
    few = check_polarity(signs(sites[0]), **sums(sites))
    assert few.level == "skipped"
    assert few.found == "needs 3 columns that go clearly with or against the outcome at 5 other sites"
    mute = check_polarity(np.zeros(6, dtype=np.int64), **sums([site(seed) for seed in range(8)]))
    assert mute.found == "too few columns go clearly with the outcome to compare"


def test_the_declared_coding_is_compared():
    assert check_coding("1 = case", "1=Case").level == "ok"
    assert check_coding("", "1 = case").level == "warn"
    wrong = check_coding("0 = case", "1 = case")
    assert (wrong.level, wrong.found) == ("fail", "the site codes the outcome as '0 = case', the study as '1 = case'")
