"""Hiding a hospital: its update is cut, its noise is a part, and only the sum over sites is readable."""

import hashlib

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms
from cohortium.errors import PeerError
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.site_level import SiteLevel

TERMS = PrivacyTerms(
    epsilon=8.0, delta=1e-4, noise_multiplier=1.2, steps=10, steps_a_round=1, unit="site", n_sites=20, n_colluders=6,
    n_silent=2, clipping_norm=0.5,
)  # fmt: skip
SIZE = 12


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
        read = hidden.read(silent.site(update(length), entropy=entropy("a")))
        assert np.linalg.norm(read.vector()) == pytest.approx(expected, rel=0.01)


def test_the_noise_of_fewest_honest_survivors_is_the_promised_one():
    hidden, grid = SiteLevel(TERMS), Grid(n=SIZE, norm=0.5)
    honest = TERMS.least_survivors - TERMS.n_colluders
    nothing = Parameters({"w": np.zeros((2, 4)), "b": np.zeros(4)})
    sums = []
    for round in range(300):
        parts = [hidden.site(nothing, entropy=entropy(site, round)) for site in range(honest)]
        sums.append(np.concatenate([sum(np.asarray(one[n]).ravel() for one in parts) for n in ("w", "b")]))
    assert np.std(sums) == pytest.approx(1.2 * grid.sensitivity, rel=0.04)


def test_what_leaves_is_whole_numbers_and_nothing_else_is_read():
    hidden = SiteLevel(TERMS)
    sent = hidden.site(update(1.0), entropy=entropy("a"))
    assert all(array.dtype == np.int64 for array in sent.values())
    assert hidden.read(sent)["w"].shape == (2, 4)
    with pytest.raises(PeerError, match="whole numbers with noise"):
        hidden.read(update(1.0))
