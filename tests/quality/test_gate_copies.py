"""Copies: recall and precision on images with 40 near-copies, keys that matter, and what each site is told."""

import os

import numpy as np
import pytest
from scipy import ndimage

from cohortium.errors import UsageError
from cohortium.quality.gate_copies import (
    CopyTokens,
    check_copies,
    different,
    directions,
    found_elsewhere,
    found_inside,
    known_elsewhere,
    near_copies,
    standardised,
    tokens,
)
from cohortium.sim.harm.corruptions import near_copy

SECRET = bytes(range(32))


def pictures(n=600, seed=0):
    """Smooth random images: neighbours correlate, as in real ones, over a common shape."""
    rng = np.random.default_rng(seed)
    common = ndimage.gaussian_filter(np.random.default_rng(99).normal(size=(14, 14)), 3)
    raw = ndimage.gaussian_filter(rng.normal(size=(n, 14, 14)), (0, 0.8, 0.8)) + 2 * common
    scaled = (raw - raw.min()) / (raw.max() - raw.min())
    return scaled.reshape(n, -1)


def told(x):
    return tokens(x, mean=standardised(x).mean(axis=0), secret=SECRET)


@pytest.mark.parametrize("seed", range(3))
def test_forty_near_copies_among_six_hundred_records_are_found_and_nobody_else(seed):
    x = pictures(seed=seed)
    x[:40] = near_copy(x[100:140], side=14, rng=np.random.default_rng(seed))
    found = {tuple(pair) for pair in near_copies(told(x), told(x), same=True).tolist()}
    true = {(at, at + 100) for at in range(40)}
    assert len(found & true) / 40 >= 0.98
    assert len(found & true) / len(found) >= 0.95


def test_a_published_set_finds_the_same_records():
    x = pictures()
    x[:40] = near_copy(x[300:340], side=14, rng=np.random.default_rng(0))
    made = told(x)
    rows = np.flatnonzero(known_elsewhere(made[:300], np.unique(made[300:428])))
    assert set(rows.tolist()) <= set(range(40))
    assert len(rows) >= 38


def test_another_secret_gives_tokens_that_match_nothing():
    x = pictures(50)
    mean = standardised(x).mean(axis=0)
    ours, theirs = tokens(x, mean=mean, secret=SECRET), tokens(x, mean=mean, secret=os.urandom(32))
    assert not np.isin(ours, theirs).any()
    assert not np.allclose(directions(SECRET, n_features=64), directions(b"another secret!!", n_features=64))


def test_a_known_patient_cannot_be_looked_up_without_the_secret():
    """A dictionary of all 2^16 band values, hashed without the key, holds no token."""
    x = pictures(20)
    made = told(x)
    import hashlib

    plain = {
        int.from_bytes(hashlib.sha256(bytes([0]) + word.to_bytes(2, "big")).digest()[:8], "big")
        for word in range(1 << 16)
    }
    assert not plain & {int(token) for token in made[:, 0]}


def test_gain_and_offset_of_a_record_do_not_matter():
    x = pictures(10)
    np.testing.assert_allclose(standardised(3 * x + 1), standardised(x), atol=1e-12)
    for value in (0.0, 0.1, 0.3, 0.7, 1 / 255, 4.0, -1e6 / 3):
        assert not standardised(np.full((1, 196), value)).any()
    nearly = np.full((1, 196), 0.3)
    nearly[0, 5] += 1e-3
    assert np.linalg.norm(standardised(nearly)) == pytest.approx(1.0)


def test_records_without_spread_have_no_tokens_and_are_no_copies_of_one_another():
    x = pictures(8)
    x[[2, 5]] = 0.3
    made = told(x)
    assert (~made.any(axis=1)).nonzero()[0].tolist() == [2, 5]
    assert len(near_copies(made, made, same=True)) == 0
    assert known_elsewhere(made, np.unique(made)).tolist() == [at not in (2, 5) for at in range(8)]


def test_of_near_copies_the_first_stands_for_all():
    x = pictures(10)
    x[4], x[7] = x[1], near_copy(x[1:2], side=14, rng=np.random.default_rng(0))[0]
    x[2] = 0.5
    assert different(told(x), most=20).tolist() == [0, 1, 3, 5, 6, 8, 9]
    assert different(told(x), most=3).tolist() == [0, 1, 3]


ALL = pictures(120)


def site(rows):
    half = len(rows) // 2
    return CopyTokens(training=told(ALL)[rows[:half]], held_out=told(ALL)[rows[half:]])


def published(own):
    return [np.unique(own.training)], [np.unique(own.held_out)]


def said(found, where):
    return [(one.level, one.found) for one in check_copies(found, where=where)]


def test_each_site_finds_its_own_rows_only():
    ALL[5] = near_copy(ALL[65:66], side=14, rng=np.random.default_rng(1))[0]
    one, two = site(np.arange(0, 60)), site(np.arange(60, 120))
    for own, other in ((one, two), (two, one)):
        found = found_elsewhere(own, [published(other)])
        assert np.flatnonzero(found.training).tolist() == [5]
        assert not found.held_out.any()
        assert said(found, "at other sites") == [("warn", "records here have a near-copy at other sites")]


def test_a_copy_across_training_and_held_out_records_is_a_fail():
    made = told(ALL)
    same = CopyTokens(training=made[10:30], held_out=np.concatenate([made[30:40], made[12:13]]))
    found = found_inside(same)
    assert (np.flatnonzero(found.training).tolist(), np.flatnonzero(found.held_out).tolist()) == ([2], [10])
    assert [level for level, _ in said(found, "inside the site")] == ["fail"]
    elsewhere = CopyTokens(training=made[40:50], held_out=made[15:16])
    clean = CopyTokens(training=made[10:30], held_out=made[30:40])
    found = found_elsewhere(clean, [published(elsewhere)])
    assert np.flatnonzero(found.training).tolist() == [5]
    assert [level for level, _ in said(found, "at other sites")] == ["fail"]
    assert np.flatnonzero(found_elsewhere(elsewhere, [published(clean)]).held_out).tolist() == [0]


def test_of_two_in_one_part_the_later_one_is_marked_inside_a_site():
    made = told(ALL)
    found = found_inside(CopyTokens(training=np.concatenate([made[10:13], made[11:12]]), held_out=made[20:22]))
    assert found.training.tolist() == [0, 0, 0, 1]
    assert said(found, "inside the site") == [("warn", "records here have a near-copy inside the site")]


def test_no_copy_is_a_pass():
    found = found_elsewhere(site(np.arange(10, 50)), [published(site(np.arange(70, 110)))])
    assert said(found, "at other sites") == [("ok", "no record has a near-copy at other sites")]


def test_short_secrets_and_records_too_narrow_or_too_wide_are_refused():
    with pytest.raises(UsageError, match="at least 16 bytes, got 3"):
        tokens(ALL, mean=np.zeros(196), secret=b"abc")
    with pytest.raises(UsageError, match="records of at least 64 values and at most 65536, got 7"):
        tokens(np.zeros((3, 7)), mean=np.zeros(7), secret=SECRET)
    with pytest.raises(UsageError, match="got 65537"):
        tokens(np.zeros((1, 65537)), mean=np.zeros(65537), secret=SECRET)
