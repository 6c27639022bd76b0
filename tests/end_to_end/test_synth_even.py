"""Chances spread evenly are uniform for everybody and leave no chance in a count, as decision 30 says of them."""

import numpy as np
import pytest
from benchmarks.synth_even import chances


@pytest.mark.parametrize("stratum", [1, 25])
def test_each_is_uniform_and_counts_are_right_to_within_the_stratum(stratum):
    rng = np.random.default_rng(0)
    alike = rng.integers(0, 5, 700)
    many = np.stack([chances(alike, rng, stratum=stratum) for _ in range(4000)])
    assert abs((many < 0.3).mean(axis=0) - 0.3).max() < 0.035  # of each of 700 patients, 4.8 standard errors
    for group in range(5):
        counts = (many[:, alike == group] < 0.3).sum(axis=1)
        expected = 0.3 * (alike == group).sum()
        assert counts.mean() == pytest.approx(expected, abs=0.2)
        assert abs(counts - expected).max() <= stratum
        assert (counts.std() < 0.51) == (stratum == 1)
