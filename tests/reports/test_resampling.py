import numpy as np
import pytest

from cohortium.reports.resampling import (
    bootstrap,
    draws_of_patients,
    percentile_interval,
    weighted_means,
    weighted_sums,
)

SITE = np.array(["a"] * 6 + ["b"] * 3)


def test_rows_of_one_patient_are_drawn_together_and_sites_keep_their_size():
    patient = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6])
    (weights,) = draws_of_patients(patient, SITE, rng=np.random.default_rng(1), draws=50)
    assert weights.shape == (50, 9)
    assert (weights[:, 0] == weights[:, 1]).all()
    first = [0, 2, 3, 4]  # one row of each patient of site a
    assert (weights[:, first].sum(axis=1) == 4).all()
    assert (weights[:, 6:].sum(axis=1) == 3).all()


def test_the_same_stream_gives_the_same_draws_and_another_does_not():
    patient = np.arange(9)
    draws = [next(iter(draws_of_patients(patient, SITE, rng=np.random.default_rng(s), draws=5))) for s in (1, 1, 2)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def test_blocks_add_up_to_the_draws_asked_for(monkeypatch):
    monkeypatch.setattr("cohortium.reports.resampling._BLOCK_CELLS", 40)
    blocks = list(draws_of_patients(np.arange(9), SITE, rng=np.random.default_rng(1), draws=10))
    assert [len(b) for b in blocks] == [4, 4, 2]


def test_bootstrap_error_of_a_mean_is_sd_over_root_n():
    rng = np.random.default_rng(2)
    x = rng.normal(size=400)
    drawn = bootstrap({"mean": lambda w: weighted_means(w, x)}, np.arange(400), np.full(400, "a"), rng=rng, draws=2000)[
        "mean"
    ]
    assert drawn.std() == pytest.approx(x.std() / 20, rel=0.06)
    low, high = percentile_interval(drawn)
    assert (high - low) / 3.92 == pytest.approx(x.std() / 20, rel=0.08)


def test_too_many_draws_without_a_value_give_no_interval():
    values = np.linspace(0, 1, 100)
    values[:9] = np.nan
    assert percentile_interval(values) is not None
    values[:11] = np.nan
    assert percentile_interval(values) is None
    assert percentile_interval(np.full(5, np.nan)) is None


def test_weighted_sums_by_hand():
    assert list(weighted_sums(np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([10.0, 1.0]))) == [12.0, 3.0]
