"""The demonstration uses every real patient once and repeats by seed."""

import numpy as np
import pytest

from cohortium.sim.demonstration import demo_study, demo_tables, with_reversed_labels


@pytest.mark.parametrize("n_sites", [2, 5, 20])
def test_every_patient_is_at_exactly_one_hospital(n_sites):
    tables = demo_tables(n_sites=n_sites, seed=0)
    assert len(tables) == n_sites
    assert sum(len(table) for table in tables.values()) == 569
    assert sum(float(table.column("label").sum()) for table in tables.values()) == 212  # malignant in the source


def test_hospitals_see_unequal_mixes_of_cases():
    shares = [float(table.column("label").mean()) for table in demo_tables(n_sites=5, seed=0).values()]
    assert np.ptp(shares) > 0.2


def test_the_same_seed_gives_the_same_hospitals_and_another_others():
    one, same, other = (demo_tables(n_sites=5, seed=seed) for seed in (0, 0, 1))
    assert [t.digest for t in one.values()] == [t.digest for t in same.values()]
    assert [t.digest for t in one.values()] != [t.digest for t in other.values()]


def test_the_study_names_its_model_and_seed():
    study = demo_study(model="mlp-nature", seed=7)
    assert (study.model.name, study.evaluation.seed) == ("mlp-nature", 7)
    assert demo_study(model="logistic", seed=0).model.options == {"l2": 0.01}


def test_one_hospital_has_its_labels_reversed_where_an_audit_can_find_it():
    whole = demo_tables(n_sites=8, seed=0)
    spoilt, site = with_reversed_labels(whole)
    assert [name for name in whole if whole[name].digest != spoilt[name].digest] == [site]
    assert float(spoilt[site].column("label").sum()) == len(whole[site]) - float(whole[site].column("label").sum())
    assert len(whole[site]) == max(len(table) for table in whole.values() if len(table) <= 569 / 6)


@pytest.mark.parametrize(
    ("n_sites", "audited"), [(2, False), (5, False), (7, False), (8, True), (9, False), (10, True)]
)
def test_only_numbers_of_hospitals_that_masks_allow_are_audited(n_sites, audited):
    assert bool(with_reversed_labels(demo_tables(n_sites=n_sites, seed=0))[1]) is audited


def test_the_audited_study_repairs_what_it_finds():
    assert demo_study(model="logistic", seed=0).quality.detector == "none"
    quality = demo_study(model="logistic", seed=0, audited=True).quality
    assert (quality.detector, quality.on_harm) == ("out-of-bag", "repair")
