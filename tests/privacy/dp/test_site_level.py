"""Hiding a hospital: its update is cut, its noise is a part, and only the sum over sites is readable."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms, split_with_count
from cohortium.errors import PeerError
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.site_level import WHOLE, SiteLevel

TERMS = PrivacyTerms(
    epsilon=8.0, delta=1e-4, noise_multiplier=1.2, steps=10, steps_a_round=1, unit="site", n_sites=20, n_colluders=6,
    n_silent=2, clipping_norm=0.5,
)  # fmt: skip
SIZE = 12
NONE = Parameters()


def entropy(*names):
    return lambda n: hashlib.shake_256(f"{names}".encode()).digest(n)


def update(length, seed=0):
    vector = np.random.default_rng(seed).normal(size=SIZE)
    vector *= length / np.linalg.norm(vector)
    return Parameters({"w": vector[:8].reshape(2, 4), "b": vector[8:].astype(np.float32)})


def test_a_long_update_counts_no_more_than_the_norm_and_a_short_one_stays():
    hidden, grid = SiteLevel(TERMS), Grid(n=SIZE, norm=0.5)
    silent = SiteLevel(PrivacyTerms(**{**TERMS.__dict__, "noise_multiplier": 1e-3}))
    for length, expected in ((40.0, grid.clipped_to), (0.2, 0.2)):
        read = hidden.read(silent.site(update(length), NONE, entropy=entropy("a")), NONE, n_sites=1)[0]
        assert np.linalg.norm(read.vector()) == pytest.approx(expected, rel=0.01)


def test_the_noise_of_fewest_honest_survivors_is_the_promised_one():
    hidden, grid = SiteLevel(TERMS), Grid(n=SIZE, norm=0.5)
    honest = TERMS.least_survivors - TERMS.n_colluders
    nothing = Parameters({"w": np.zeros((2, 4)), "b": np.zeros(4)})
    sums = []
    for round in range(300):
        parts = [hidden.site(nothing, NONE, entropy=entropy(site, round)) for site in range(honest)]
        sums.append(np.concatenate([sum(np.asarray(one[n]).ravel() for one in parts) for n in ("w", "b")]))
    assert np.std(sums) == pytest.approx(1.2 * grid.sensitivity, rel=0.04)


def test_what_leaves_is_whole_numbers_and_nothing_else_is_read():
    hidden = SiteLevel(TERMS)
    sent = hidden.site(update(1.0), NONE, entropy=entropy("a"))
    assert all(array.dtype == np.int64 for array in sent.values())
    read, after = hidden.read(sent, NONE, n_sites=1)
    assert read["w"].shape == (2, 4)
    assert after == NONE == hidden.init()
    with pytest.raises(PeerError, match="whole numbers with noise"):
        hidden.read(update(1.0), NONE, n_sites=1)


# a norm that follows the updates

FOLLOWING = SiteLevel(replace(TERMS, clip="quantile"))
QUIET = SiteLevel(replace(TERMS, clip="quantile", noise_multiplier=1e-3))


def counted(*whole):
    """An opened sum in which so many half units stand, and nothing else."""
    return Parameters({"w": np.zeros(3, dtype=np.int64), WHOLE: np.array(whole, dtype=np.int64)})


def test_the_norm_ends_at_the_median_length_wherever_it_began():
    lengths = np.geomspace(0.01, 1.0, 21)  # median 0.1, the norm begins at 0.5
    state = QUIET.init()
    assert QUIET.norm(state) == 0.5
    for round in range(80):
        sent = [QUIET.site(update(one, seed=i), state, entropy=entropy(i, round)) for i, one in enumerate(lengths)]
        total = Parameters({name: sum(one[name] for one in sent) for name in sent[0]})
        _, state = QUIET.read(total, state, n_sites=len(lengths))
    assert QUIET.norm(state) == pytest.approx(0.1, rel=0.2)


def test_a_site_tells_only_whether_it_was_cut_and_that_with_noise():
    state, grid = FOLLOWING.init(), Grid(n=SIZE, norm=0.5)
    told = {
        length: [int(FOLLOWING.site(update(length), state, entropy=entropy(r))[WHOLE][0]) for r in range(400)]
        for length in (0.9 * grid.clipped_to, 40.0)
    }
    of_count = split_with_count(TERMS.own_multiplier)[1] * 1024
    for length, mean in zip(told, (1024, -1024), strict=True):
        assert np.std(told[length]) == pytest.approx(of_count, rel=0.1)
        assert np.mean(told[length]) == pytest.approx(mean, abs=4 * of_count / 20)


def test_update_and_count_together_cost_what_one_noisy_update_costs():
    for_update, for_count = split_with_count(3.0)
    assert for_update**-2 + for_count**-2 == pytest.approx(3.0**-2)
    assert for_update == pytest.approx(3.098, abs=1e-3)


def test_no_liar_moves_the_norm_by_more_than_a_tenth_a_round_nor_out_of_range():
    state = FOLLOWING.init()
    for liar in (10**12, -(10**12)):
        _, after = FOLLOWING.read(counted(liar), state, n_sites=20)
        assert 0.89 < FOLLOWING.norm(after) / 0.5 < 1.12
    far = Parameters({"position": np.array([20 * 4096 - 1], dtype=np.int64)})
    _, after = FOLLOWING.read(counted(-(10**12)), far, n_sites=20)
    assert FOLLOWING.norm(after) == 0.5 * 2**20


def test_norms_are_the_same_bits_on_every_machine():
    norms = [
        FOLLOWING.norm(Parameters({"position": np.array([128 * k], dtype=np.int64)})) for k in (-33, -1, 0, 1, 16, 32)
    ]
    assert [one.hex() for one in norms] == [
        "0x1.f50765b6e4530p-3", "0x1.f50765b6e4530p-2", "0x1.0000000000000p-1", "0x1.059b0d3158574p-1",
        "0x1.6a09e667f3bc6p-1", "0x1.0000000000000p+0",
    ]  # fmt: skip


def test_a_count_that_is_missing_or_that_nobody_asked_for_is_refused():
    with pytest.raises(PeerError, match="carry a count where its norm follows them"):
        FOLLOWING.read(counted(0).without([WHOLE]), FOLLOWING.init(), n_sites=20)
    with pytest.raises(PeerError, match="carry a count where its norm follows them"):
        SiteLevel(TERMS).read(counted(0), NONE, n_sites=20)
    with pytest.raises(PeerError, match="carry a count where its norm follows them"):
        FOLLOWING.read(counted(5, 5), FOLLOWING.init(), n_sites=20)


def test_an_update_whose_squares_no_float_holds_is_cut_like_any_other():
    huge = Parameters({"w": np.array([3e300, 4e300])})
    quiet = SiteLevel(replace(TERMS, noise_multiplier=1e-3))
    read, _ = quiet.read(quiet.site(huge, NONE, entropy=entropy("a")), NONE, n_sites=1)
    assert read["w"] == pytest.approx([0.3, 0.4], rel=0.01)
