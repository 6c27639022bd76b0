"""Kinds of liars in one small consortium: who is convicted, who is looked at, who is believed."""

import numpy as np
import pytest

from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.pool import as_examples
from cohortium.quality.repairs import LabelPolarity
from cohortium.sim.harm.liars import LIES, lied_to

LIAR = "site-03"


@pytest.fixture(scope="module")
def sites():
    rng, found = np.random.default_rng(3), {}
    for at in range(12):
        y = (np.arange(60) % 2).astype(float)
        one = as_examples((rng.normal(size=(60, 3)) + np.outer(y, [1.6, 0.0, 0.0]), y))
        found[f"site-{at:02}"] = LabelPolarity().apply(one) if f"site-{at:02}" == LIAR else one
    return found


@pytest.fixture(scope="module")
def said(sites):
    return {lie: lied_to(sites, {LIAR: lie} if lie != "none" else {}, detector=OutOfBag(), seed=1) for lie in LIES}


def kinds(found):
    return {one.site: one.kind for one in found.table.verdicts}


def test_an_honest_site_with_reversed_labels_is_named_and_nobody_doubted(said):
    assert kinds(said["none"])[LIAR] == "repair"
    assert not any(said["none"].doubted.values())


def test_every_liar_is_kept_and_no_other_site_convicted(said):
    for lie in ("row", "scores", "table"):
        assert set(kinds(said[lie]).values()) <= {"keep", "keep-shifted"}


def test_a_row_that_was_changed_is_looked_at(said):
    assert LIAR in said["row"].doubted["halves"]
    assert len(said["row"].doubted["halves"]) <= 3
    assert next(one for one in said["row"].table.verdicts if one.site == LIAR).look


def test_scores_that_were_invented_are_looked_at_because_of_what_the_site_does_to_others(said):
    assert LIAR in said["scores"].doubted["influence"]
    assert not said["scores"].doubted["halves"]
    assert said["scores"].t[LIAR] > 3


def test_good_data_for_the_audit_are_believed(said):
    assert not any(said["table"].doubted.values())


def test_a_site_that_counts_its_bad_records_many_times_is_looked_at_and_can_have_honest_ones_convicted(said):
    assert LIAR in said["loud"].doubted["influence"]
    convicted = [one for one in said["loud"].table.verdicts if one.left_out]
    assert convicted
    assert LIAR not in [one.site for one in convicted]
    assert all(f"'{LIAR}'" in one.reason.partition("look first at ")[2] for one in convicted)
