"""The simulated consortium has the frequencies, pairs and hazards it was made with."""

import numpy as np
import pytest

from cohortium.data.mds_like import GENES, KARYOTYPE, SITES, simulate, truth
from cohortium.reports.survival_measures import c_index


@pytest.fixture(scope="module")
def whole():
    return simulate(seed=0, missing=False)


def test_sizes_are_those_of_the_published_consortium(whole):
    names, counts = np.unique(whole.table.column("site"), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == SITES
    assert len(whole.table) == 4427


@pytest.mark.parametrize(
    ("gene", "share"),
    [("TP53", 0.08), ("SF3B1", 0.21), ("SRSF2", 0.14), ("U2AF1", 0.08), ("TET2", 0.22), ("ASXL1", 0.16)],
)
def test_frequencies_are_of_published_size(whole, gene, share):
    assert float(whole.table.column(gene).mean()) == pytest.approx(share, abs=0.025)


def test_at_most_one_splicing_gene_and_one_idh(whole):
    for group in (("SF3B1", "SRSF2", "U2AF1", "ZRSR2"), ("IDH1", "IDH2")):
        assert sum(whole.table.column(gene) for gene in group).max() == 1


def test_the_true_risk_ranks_survival_as_well_as_it_can(whole):
    t = whole.table
    found = c_index(t.column("os_years"), t.column("died") == 1, whole.oracle)
    assert found == pytest.approx(0.711, abs=0.015)
    shuffled = np.random.default_rng(0).permutation(whole.oracle)
    assert abs(c_index(t.column("os_years"), t.column("died") == 1, shuffled) - 0.5) < 0.03


def test_about_half_the_patients_die_under_observation(whole):
    assert float(whole.table.column("died").mean()) == pytest.approx(0.49, abs=0.03)


def test_the_same_seed_gives_the_same_patients_and_another_others():
    small = {"a": 50, "b": 30, "c": 20}
    first, again, other = (simulate(seed=s, sites=small) for s in (3, 3, 4))
    assert first.table.digest == again.table.digest
    assert first.table.digest != other.table.digest


def test_gaps_are_where_the_site_did_not_measure():
    found = simulate(seed=1)
    at_c = found.table.column("site") == "c"
    for gene in ("BCOR", "PHF6", "SETBP1", "ZRSR2"):
        assert np.isnan(found.table.column(gene)[at_c]).all()
    assert not np.isnan(found.complete.column("BCOR")).any()
    failed = np.isnan(found.table.column("complex"))
    assert all((np.isnan(found.table.column(flag)) == failed).all() for flag in KARYOTYPE)
    assert 0.02 < failed.mean() < 0.10


def test_units_switch_haemoglobin_at_one_site():
    plain, other = (simulate(seed=0, sites={"a": 40, "c": 40}, missing=False, units=u) for u in (False, True))
    at_c = plain.table.column("site") == "c"
    assert np.allclose(other.table.column("hb")[at_c], 10 * plain.table.column("hb")[at_c])
    assert np.array_equal(other.table.column("hb")[~at_c], plain.table.column("hb")[~at_c])


def test_truth_names_the_interaction_and_every_gene_with_an_effect():
    assert truth()["TP53 x complex"] == 0.45
    assert {"RUNX1", "ASXL1", "EZH2", "STAG2", "NRAS", "SF3B1"} <= set(truth())
    assert set(truth()) - set(GENES) >= {"age", "site c"}


def test_another_site_is_refused():
    with pytest.raises(ValueError, match="'z'"):
        simulate(sites={"z": 10})
