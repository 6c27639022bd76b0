import numpy as np
import pytest

from cohortium.core.study_text import parse_study
from cohortium.data.inference import is_pinned
from cohortium.data.table import Table
from cohortium.errors import StudyError, UsageError
from cohortium.lab.hospitals import Hospitals, demo_hospitals, own_hospitals, write_tables

STUDY = '[study]\nname = "little"\noutcome = "label"\n[model]\nname = "logistic"\n'


def folders(tmp_path, sites):
    for site in sites:
        (tmp_path / site).mkdir()
    return {site: tmp_path / site for site in sites}


def test_the_demonstration_has_so_many_hospitals_and_a_pinned_study():
    pytest.importorskip("sklearn")
    found = demo_hospitals(3, seed=4)
    assert len(found.tables) == 3
    study = parse_study(found.text)
    assert study.digest == found.study.digest
    assert study.evaluation.seed == 4
    assert is_pinned(study.model_dump(exclude_none=True))
    assert demo_hospitals(3, seed=4).text == found.text


def test_what_a_node_reads_is_what_the_table_held(tmp_path):
    rng = np.random.default_rng(0)
    columns = {
        "a": rng.normal(size=40),
        "few": np.where(rng.random(40) < 0.2, np.nan, np.round(rng.normal(size=40) * 1e9)),
        "word": np.array(["x, y", 'quote "', "ä", ""] * 10),
        "code": np.array(["007", "12", "3", "4"] * 10),
    }
    table = Table.from_columns(columns)
    written = write_tables(Hospitals(study=None, text="", tables={"bonn": table}), folders(tmp_path, ["bonn"]))
    assert written["bonn"].digest == table.digest


def test_own_tables_are_split_and_the_study_pinned(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{'bonn' if i % 2 else 'lund'},{x:.4f},{int(x > 0)}" for i, x in enumerate(rng.normal(size=80))]
    (tmp_path / "all.csv").write_text("\n".join(["hospital,a,label", *rows]) + "\n")
    (tmp_path / "study.toml").write_text(STUDY)
    found = own_hospitals(tmp_path / "study.toml", [str(tmp_path / "all.csv")], site_column="hospital")
    assert sorted(found.tables) == ["bonn", "lund"]
    assert is_pinned(found.study.model_dump(exclude_none=True))
    (tmp_path / "study.toml").write_text(STUDY.replace("logistic", "logistics"))
    with pytest.raises(StudyError, match=r"study.toml:5 model.name"):
        own_hospitals(tmp_path / "study.toml", [str(tmp_path / "all.csv")], site_column="hospital")


def test_images_are_refused(tmp_path):
    table = Table.from_columns({"image": np.zeros((3, 8, 8), np.uint8), "label": [0, 1, 0]})
    with pytest.raises(UsageError, match="no images"):
        write_tables(Hospitals(study=None, text="", tables={"bonn": table}), folders(tmp_path, ["bonn"]))


def test_one_table_without_a_site_column_is_dealt_to_so_many_hospitals_by_the_studys_seed(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{x:.4f},{int(x > 0)}" for x in rng.normal(size=90)]
    (tmp_path / "all.csv").write_text("\n".join(["a,label", *rows]) + "\n")
    (tmp_path / "study.toml").write_text(STUDY)
    first, again = (
        own_hospitals(tmp_path / "study.toml", [str(tmp_path / "all.csv")], site_column=None, n_sites=3) for _ in "ab"
    )
    assert [len(table) for table in first.tables.values()] == [30, 30, 30]
    assert {site: table.digest for site, table in first.tables.items()} == {
        site: table.digest for site, table in again.tables.items()
    }
