import json

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.sim.synth_bench import Bench, bench, consortium, mean_interval, parted
from cohortium.sim.synth_cells import Cells
from cohortium.synth.validation.bench_pictures import by_round, gain_per_site, grid

NAMES = ("site", "age", "TP53", "SF3B1", "SRSF2", "blasts", "hb", "os_years", "died")


def written(folder, sites):
    table = simulate(seed=0, sites=sites, missing=False).table
    path = folder / "mds.csv"
    path.write_bytes(csv_bytes(Table({name: table.column(name) for name in NAMES})))
    return str(path)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("bench"), {"a": 500, "b": 300, "c": 100})
    return bench(
        consortium(path, site_column="site"), data=path, seeds=1, draws=2,
        strategies=("exact", "fedavg", "weighted"),
    )  # fmt: skip


def test_federated_equals_central_and_beats_single_sites(found):
    document = found.document()["bn"]
    assert document["federated_equals_central"] is True
    assert document["federated"]["csf"]["skill"] == document["central"]["csf"]["skill"]
    assert document["exact"] == document["federated"]
    assert document["federated"]["csf"]["score"] > document["isolated:c"]["csf"]["score"]
    assert {row[1] for row in found.rows()} >= {"central", "federated", "isolated", "similarity"}


def test_the_document_holds_curves_gain_and_what_was_refused(found):
    whole = json.loads(json.dumps(found.document()))
    curves = whole["by_round"]["bn"]
    assert len(curves["federated"]) == 5
    assert set(curves["federated"][0]) == {"csf", "gsf"}
    assert len(curves["isolated:c"]) == 1
    mine = whole["bn"]
    assert set(mine["gain"]) == {"a", "b", "c"}
    wanted = mine["federated"]["csf"]["skill"] - mine["isolated:c"]["csf"]["skill"]
    assert mine["gain"]["c"]["csf"]["skill"] == pytest.approx(wanted)
    wanted = mine["federated"]["csf"]["score"] - mine["isolated:c"]["csf"]["score"]
    assert mine["gain"]["c"]["csf"]["score"] == pytest.approx(wanted)
    survival = mine["federated"]["survival"]
    wanted = survival["c_index_tstr"] - survival["c_index_real"]
    assert survival["tstr_less_trtr"] == pytest.approx(wanted)
    assert mine["loss"]["federated"]["csf"]["value"] == 0
    assert set(mine["loss"]) == {"federated", "isolated", "similarity"}
    assert mine["refused"]["fedavg"].startswith("federation 'fedavg' hands on weights of a network")


def test_without_strategies_each_generator_takes_the_one_it_learns_by(tmp_path):
    path = written(tmp_path, {"a": 200, "b": 120})
    found = bench(consortium(path, site_column="site"), data=path, settings=("federated",), seeds=1, draws=2)
    assert found.refused == {"bn": {}}
    assert "exact" in found.document()["bn"]


def test_intervals_over_seeds_are_students():
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / np.sqrt(3)  # t(0.975, 2), sd 1
    assert (mean, low, high) == pytest.approx((2.0, 2.0 - half, 2.0 + half))
    assert mean_interval([0.5]) == (0.5, 0.5, 0.5)


def test_seeds_that_passed_the_gate_are_counted_by_site():
    one = Bench(data="x", seeds=2)
    for sites in (("a",), ("a", "b")):
        one.add(Cells(generator="bn", sites={"a": 9, "b": 8, "c": 1}, shared={"sharing": sites}))
    assert one.shared["bn"]["sharing"] == {"a": 2, "b": 1, "c": 0}


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path):
    path = written(tmp_path, {"a": 150, "b": 100})
    plan = study_of({"study": {"name": "s", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
                     "synth": {"genes": ["TP53", "SF3B1", "SRSF2"]}})  # fmt: skip
    world = consortium(path, site_column="site", study=plan)
    how = {"settings": ("central",), "seeds": 2, "draws": 2}
    one, two = (bench(world, jobs=jobs, **how).figures["bn"]["central"] for jobs in (1, 2))
    for name in set(one) - {"seconds"}:
        assert one[name] == pytest.approx(two[name], rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"generators": ["gan"]}, "unknown generator 'gan'"),
        ({"settings": ["pooled"]}, "unknown setting 'pooled'"),
        ({"strategies": ["central"]}, "unknown strategy 'central'"),
        ({"seeds": 0}, "seeds must be"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(wrong, said):
    with pytest.raises(UsageError, match=said):
        bench(consortium("sim"), **wrong)


def test_a_file_needs_its_site_column_and_a_partition_its_name(tmp_path):
    (tmp_path / "y.csv").touch()
    with pytest.raises(UsageError, match="--site-column"):
        consortium(str(tmp_path / "y.csv"))
    with pytest.raises(UsageError, match="the simulated consortium is called sim"):
        consortium("Sim")
    with pytest.raises(UsageError, match="does not exist"):
        consortium(str(tmp_path / "x.csv"), site_column="site")
    with pytest.raises(UsageError, match="available: natural, iid, uneven"):
        consortium("sim", partition="sorted")


def test_partitions_use_every_row_once():
    table = simulate(seed=0, sites={"a": 1500, "b": 700, "c": 200}).table
    for partition, sizes in (("natural", [200, 700, 1500]), ("iid", [800] * 3), ("uneven", [100, 1000, 1300])):
        found = parted(table, site_column="site", partition=partition, seed=1)
        assert sorted(len(one) for one in found.values()) == sizes
        assert all("site" not in one for one in found.values())
    with pytest.raises(UsageError, match="needs 2200 patients, found 900"):
        parted(table.take(np.arange(900)), site_column="site", partition="uneven", seed=1)


def test_the_page_of_a_report_reads_the_document(found):
    document = found.document()
    assert len(by_round(document)) == 2
    assert len(grid(document)) == 2
    assert gain_per_site(document) is not None
