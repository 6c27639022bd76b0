"""Two noisy sums: no record moves them by more than their grid says, and without noise they make the probes meant."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.quality.noisy_probe import (
    _PRODUCTS,
    columns_seen,
    first_grid,
    first_terms,
    label_sums,
    product_sums,
    read_probes,
    read_scale,
    second_grid,
    seen,
)


def whole(sums, grid):
    return np.rint(np.asarray(sums) * grid.units).astype(np.int64)


def cohort(rng, n, d):
    x = np.clip(rng.normal(size=(n, d)) * rng.choice([0.1, 0.5, 5.0]), -1, 1)
    return x, (rng.random(n) < rng.random()).astype(float)


def scale_without_noise(x):
    return read_scale(whole(first_terms(x).sum(axis=0), first_grid(x.shape[1])))


def second(x, y, site, member, scale):
    """Both sums of all sites, (products, labels)."""
    design = scale.design(x)
    labels = sum(label_sums(design[site == s], y[site == s], member[s], bound=scale.bound) for s in np.unique(site))
    return product_sums(design, bound=scale.bound), labels


@pytest.mark.slow
def test_no_patient_moves_a_sum_by_more_than_its_sensitivity_in_five_thousand_neighbouring_cohorts():
    rng, reached = np.random.default_rng(0), [0.0, 0.0]
    for _ in range(5_000):
        n, d, halves = int(rng.integers(2, 40)), int(rng.integers(1, 8)), int(rng.choice([4, 8, 16]))
        (x, y), site = cohort(rng, n, d), rng.integers(0, 3, size=n)
        member = np.zeros((3, halves), dtype=bool)
        for pair in range(halves // 2):
            side = rng.integers(0, 2, size=3)
            member[np.arange(3), 2 * pair + side] = True
        keep = np.arange(n) != rng.integers(n)
        grid = first_grid(d)
        moved = whole(first_terms(x).sum(axis=0), grid) - whole(first_terms(x[keep]).sum(axis=0), grid)
        reached[0] = max(reached[0], np.linalg.norm(moved) / grid.sensitivity)
        scale, grid = scale_without_noise(x), second_grid(d, halves=halves)  # the scale is public: the same for both
        more, less = second(x, y, site, member, scale), second(x[keep], y[keep], site[keep], member, scale)
        moved = np.concatenate([(whole(a, grid) - whole(b, grid)).ravel() for a, b in zip(more, less, strict=True)])
        reached[1] = max(reached[1], np.linalg.norm(moved) / grid.sensitivity)
    assert max(reached) <= 1.0
    assert min(reached) > 0.9, "the bound is not a bound on something else"


def test_a_hand_calculation_of_one_record():
    terms = first_terms(np.array([[0.3, 0.0]]))
    longest = 0.5 * np.sqrt(2)
    np.testing.assert_allclose(terms, [[0.3 / longest, 0, 0.09 / longest**2, 0, 1]])
    design = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(product_sums(design, bound=3.0), np.array([1, 2 * np.sqrt(2), 4]) * _PRODUCTS / 9)
    labels = label_sums(design, np.array([0.0]), np.array([True, False, False, True]), bound=3.0)
    np.testing.assert_allclose(labels, np.array([[-1, -2], [0, 0], [0, 0], [-1, -2]]) / (3 * np.sqrt(2)))


def test_without_noise_the_scale_is_mean_and_deviation_and_the_probe_ranks_unseen_sites():
    rng = np.random.default_rng(1)
    y = (np.arange(4000) % 2).astype(float)
    x = np.clip(rng.normal(size=(4000, 3)) * 0.1 + 0.2, -1, 1)
    x[:, 0] += 0.15 * (y - 0.5)
    site = np.arange(4000) // 2 % 4
    member = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]], dtype=bool)
    scale = scale_without_noise(x)
    np.testing.assert_allclose(scale.mean, x.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(scale.sd, x.std(axis=0), atol=1e-3)
    assert scale.n == pytest.approx(4000)
    grid = second_grid(3, halves=4)
    products, labels = (whole(one, grid) for one in second(x, y, site, member, scale))
    probes = read_probes({"products": products, "labels": labels}, scale, multiplier=1e-6)
    assert probes.certain > 100
    assert probes.strength == pytest.approx(1.5, abs=0.25)
    z = probes.scores(scale.design(x[site == 0]), member[0])
    at = y[site == 0]
    assert z[at == 1].mean() - z[at == 0].mean() == pytest.approx(1.5**2, abs=0.8), "log-odds: strength squared apart"


def test_noise_alone_is_not_certain():
    rng, d, halves = np.random.default_rng(2), 5, 8
    scale, grid = scale_without_noise(rng.uniform(-0.5, 0.5, size=(500, d))), second_grid(d, halves=halves)
    found = []
    for _ in range(200):
        shape = {"products": (d + 1) * (d + 2) // 2, "labels": (halves, d + 1)}
        noise = {name: rng.normal(size=size) * 5.0 * grid.sensitivity for name, size in shape.items()}
        sums = {name: np.rint(one).astype(np.int64) for name, one in noise.items()}
        probes = read_probes(sums, scale, multiplier=5.0)
        found.append(probes.certain)
    assert abs(np.mean(found)) < 0.2
    assert np.mean(np.array(found) > 2.0) < 0.01


def test_an_image_is_seen_by_its_lowest_cosines_and_a_table_as_it_is():
    image = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 14, 14))
    x = np.zeros((2, 1, 14, 14))
    x[1] = 0.5
    found = seen(Examples(layout=image, x=x, y=np.zeros(2)))
    assert columns_seen(image) == 16
    np.testing.assert_allclose(found[0], 0.0)
    np.testing.assert_allclose(found[1], [1.5] + [0.0] * 15, atol=1e-12)
    table = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))
    assert columns_seen(table) == 2
    np.testing.assert_array_equal(seen(Examples(layout=table, x=np.eye(2), y=np.zeros(2))), np.eye(2))
