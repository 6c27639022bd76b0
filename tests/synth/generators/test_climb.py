import numpy as np
import pytest

from cohortium.synth.generators.climb import Family, block_counts, climb, family_codes, one_hot, topological


def data(n=4000, seed=0):
    """a -> b, a -> c, d on its own."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 2, n)
    b = np.where(rng.random(n) < 0.9, a, 1 - a)
    c = np.where(rng.random(n) < 0.8, a, rng.integers(0, 2, n)) + (rng.random(n) < 0.2)
    d = rng.integers(0, 3, n)
    return np.column_stack([a, b, c, d]), (2, 2, 3, 3)


def learned(codes, sizes, *, kappa=1.0):
    families = tuple(Family(child) for child in range(len(sizes)))
    wide = one_hot(codes, sizes)
    for _ in range(10):
        blocks = {f.child: block_counts(codes, wide, f, sizes) for f in families}
        moved = climb(families, blocks, sizes, n=len(codes), kappa=kappa, max_parents=4)
        families = moved.families
        if not moved.changed:
            return families
    raise AssertionError("the climb did not end")


def bic(codes, sizes, families):
    """Log likelihood minus ln(N)/2 per free parameter, by the book."""
    total = 0.0
    for f in families:
        row = family_codes(codes, f.parents, sizes)
        for value in np.unique(row):
            counts = np.bincount(codes[row == value, f.child], minlength=sizes[f.child])
            there = counts[counts > 0]
            total += float((there * np.log(there / there.sum())).sum())
            total -= 0.5 * np.log(len(codes)) * (sizes[f.child] - 1)
    return total


def test_dependent_variables_are_joined_and_independent_ones_are_not():
    codes, sizes = data()
    families = learned(codes, sizes, kappa=0.5 * np.log(len(codes)))
    edges = {frozenset((f.child, p)) for f in families for p in f.parents}
    assert frozenset((0, 1)) in edges
    assert not any(3 in edge for edge in edges)


def test_the_graph_has_no_cycle_and_every_child_follows_its_parents():
    codes, sizes = data()
    families = learned(codes, sizes)
    order = topological(families)
    place = {child: at for at, child in enumerate(order)}
    assert all(place[p] < place[f.child] for f in families for p in f.parents)


def test_no_single_change_of_the_result_scores_better_by_bic():
    codes, sizes = data()
    families = learned(codes, sizes, kappa=0.5 * np.log(len(codes)))
    best = bic(codes, sizes, families)
    for f in families:
        for parent in f.parents:
            other = [g if g.child != f.child else f.without(parent) for g in families]
            assert bic(codes, sizes, other) <= best + 1e-6


def test_blocks_hold_the_counts_of_a_plain_loop():
    codes, sizes = data(n=300)
    family = Family(2, (0, 3))
    block = block_counts(codes, one_hot(codes, sizes), family, sizes)
    cell = family_codes(codes, family.members, sizes)
    for value in range(family.size(sizes)):
        assert block[value].tolist() == one_hot(codes[cell == value], sizes).sum(axis=0).tolist()


def test_ties_go_to_the_first_child():
    codes = np.repeat([[0, 0], [1, 1]], 200, axis=0)
    families = learned(codes, (2, 2))
    assert families == (Family(0, (1,)), Family(1))


@pytest.mark.parametrize("n_sites", [1, 3, 45])
def test_every_partition_gives_the_same_graph(n_sites):
    codes, sizes = data(n=1500, seed=2)
    wide = one_hot(codes, sizes)
    site = np.random.default_rng(n_sites).integers(0, n_sites, len(codes))
    family = Family(1, (0,))
    parts = [block_counts(codes[site == k], wide[site == k], family, sizes) for k in range(n_sites)]
    assert np.array_equal(sum(parts), block_counts(codes, wide, family, sizes))


def test_n_log_n_is_looked_up_bit_for_bit():
    """Within the table, at its ends and beyond it; what no honest site sends counts as nobody."""
    from cohortium.synth.generators.climb import _n_log_n, _worked_out

    rng = np.random.default_rng(0)
    for counts in (rng.integers(-5, 9000, (7, 11)), np.array([0, 1, 4095, 4096]), np.array([(1 << 20) - 1, 3]),
                   np.array([1 << 20, 3, -1]), np.zeros((0, 3), dtype=np.int64)):  # fmt: skip
        assert (_n_log_n(counts) == _worked_out(counts)).all()
    assert float(_n_log_n(np.array([8]))[0]) == pytest.approx(8 * np.log(8))
