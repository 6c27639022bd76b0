"""What is true of the simulated patients is found again in synthetic ones, and one table alone is too sure of it."""

import numpy as np
import pytest
from benchmarks.synth_truth import LINKED, NAMES, one_repeat, summary

from cohortium.data.mds_like import truth

REPEATS, PATIENTS = 12, 1800


@pytest.fixture(scope="module")
def runs():
    return [one_repeat(seed, n=PATIENTS, sets=5) for seed in range(REPEATS)]


@pytest.mark.slow
def test_pooled_intervals_cover_and_a_single_table_is_too_sure(runs):
    found = summary(runs)
    real, single, pooled = (found[f"{kind} coverage, twelve"][0] for kind in ("real", "single", "pooled"))
    assert real > 0.89  # 144 intervals: 0.95 less three standard errors
    assert pooled > 0.86
    assert 0.70 < single < pooled - 0.03


@pytest.mark.slow
def test_strong_effects_keep_their_sign_and_size(runs):
    found = summary(runs)
    assert found["signs of |ln HR| >= 0.3 kept, pooled"] > 0.97
    mean = np.mean([run["pooled"] for run in runs], axis=0)
    for name, estimate in zip(NAMES, mean, strict=True):
        if name not in LINKED:
            assert abs(estimate - truth()[name]) < 0.15, name


@pytest.mark.slow
def test_splicing_genes_stay_exclusive_in_every_table(runs):
    assert summary(runs)["most such patients in any table"] <= 2  # of 1,800; about 30 if genes were independent
