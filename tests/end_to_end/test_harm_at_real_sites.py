"""Real hospitals: nobody legitimate is lost, reversed labels are named, and weak tasks end in silence.

Runs where the patient data are (COHORTIUM_DATA); skipped elsewhere.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from cohortium.data.readers import read
from cohortium.quality.agreement import Agreement
from cohortium.quality.out_of_bag import OutOfBag

FOLDER = Path(os.environ.get("COHORTIUM_DATA", Path(__file__).parents[3] / "shared" / "data"))
FILES = {"tb": "tb_blood_expression.parquet", "heart": "heart_uci.parquet", "autism": "autism_brain_mri.parquet"}
NO_FEATURE = {"label", "site", "status", "study", "num", "qc"}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no patient data here (COHORTIUM_DATA)")


def load_sites(name):
    table = read(FOLDER / FILES[name])
    columns = [
        (table.texts(c) == "M") if (name, c) == ("autism", "sex") else np.asarray(table.column(c))
        for c in table.names
        if c not in NO_FEATURE
    ]
    x, y, site = np.column_stack([c.astype(float) for c in columns]), table.column("label"), table.texts("site")
    return {str(one): (x[site == one], np.asarray(y, dtype=float)[site == one]) for one in sorted(set(site.tolist()))}


def reversed_at(sites, *names):
    return {name: (x, 1.0 - y) if name in names else (x, y) for name, (x, y) in sites.items()}


def test_no_sub_series_of_blood_expression_is_convicted_when_nothing_is_wrong():
    sites = load_sites("tb")
    assert sorted(int(y.sum()) for _, y in sites.values())[:3] == [0, 0, 0]  # three legitimate ones without a case
    for seed in range(10):
        result = OutOfBag().run(sites, seed=seed)
        assert result.left_out == (), seed
        assert not any(v.repair for v in result.sites.values())


@pytest.mark.parametrize("name", ["GSE19435", "GSE42832"])
def test_a_reversed_sub_series_is_named_with_its_repair_and_no_other_is(name):
    for seed in range(3):
        result = OutOfBag().run(reversed_at(load_sites("tb"), name), seed=seed)
        assert result.sites[name].repair == "label-polarity"
        assert result.left_out == (name,)


def test_reversed_one_class_sub_series_is_asked_and_not_convicted():
    result = OutOfBag().run(reversed_at(load_sites("tb"), "GSE42831"), seed=0)
    assert result.left_out == ()
    assert "please confirm the coding" in result.sites["GSE42831"].question


def test_each_hospital_with_reversed_hearts_is_found_and_nobody_when_nothing_is_wrong():
    sites = load_sites("heart")
    assert not any(v.left_out for v in Agreement().run(sites).verdicts)
    for name in sites:
        named = [v.site for v in Agreement().run(reversed_at(sites, name)).verdicts if v.left_out]
        assert named == [name]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_reversed_brain_scans_end_inconclusive_and_nobody_is_convicted():
    sites = load_sites("autism")
    largest = sorted(sites, key=lambda name: -len(sites[name][1]))
    training = {name: sites[name] for at, name in enumerate(largest) if at % 5}
    result = OutOfBag().run(reversed_at(training, *sorted(training)[:3]), seed=0)
    assert result.status == "inconclusive"
    assert result.left_out == ()
    assert "too weakly to judge labels" in next(iter(result.sites.values())).reason
