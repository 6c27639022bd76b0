"""Noisy counts: the promised width, shares that add up, and no negative patients."""

import hashlib

import numpy as np
import pytest

from cohortium.privacy.dp.counts import COUNT_UNITS, counted, noisy_units
from cohortium.privacy.dp.noise import SecretStream


def stream(seed):
    return SecretStream(lambda n: hashlib.shake_256(f"counts|{seed}".encode()).digest(n), use="noise")


def test_noise_has_the_promised_width_in_patients_and_not_two_thirds_of_it():
    cells = {"events": np.full((3, 5000), 40), "censored": np.zeros(5000, dtype=np.int64)}
    found = noisy_units(cells, multiplier=1.5, stream=stream(0))
    away = np.concatenate([(found[n] / COUNT_UNITS - cells[n]).ravel() for n in cells])
    assert away.std() == pytest.approx(1.5, rel=0.02)
    assert away.std() > 1.3
    assert found["events"].shape == (3, 5000)


def test_shares_of_several_sites_add_up_to_the_whole_noise():
    nothing = {"events": np.zeros(20_000, dtype=np.int64)}
    total = sum(noisy_units(nothing, multiplier=1.5 / 2, stream=stream(site))["events"] for site in range(4))
    assert total.std() / COUNT_UNITS == pytest.approx(1.5, rel=0.02)


def test_counts_are_read_back_as_whole_patients_of_at_least_none():
    units = np.array([-5 * COUNT_UNITS, 0, COUNT_UNITS // 2 + 1, 7 * COUNT_UNITS - 3])
    assert counted(units).tolist() == [0, 0, 1, 7]
