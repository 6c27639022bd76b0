"""Invented patients as files: the study beside them is the demonstration's, and everything reads them."""

import pytest

from cohortium.core.study_text import parse_study
from cohortium.data.mds_like import SITES
from cohortium.data.readers import read
from cohortium.errors import UsageError
from cohortium.sim.synth_tables import demo_study
from cohortium.sim.synth_world import simulated_sizes, study_text, write_world


def test_table_and_study_are_written_together(tmp_path):
    found = write_world(tmp_path / "p.csv", study=tmp_path / "s.toml", n=300, seed=3)
    assert sum(found.sites.values()) == 300
    table = read(tmp_path / "p.csv")
    assert len(table) == 300
    assert sorted(set(table.texts("site").tolist())) == ["a", "b", "c"]
    again = write_world(tmp_path / "again.csv", study=tmp_path / "t.toml", n=300, seed=3)
    assert again.table.read_bytes() == found.table.read_bytes()


def test_the_study_is_that_of_the_demonstration_with_ranges():
    written, known = parse_study(study_text(seed=4)), demo_study(seed=4)
    assert written.synth == known.synth
    assert written.study.exclude == known.study.exclude
    assert written.privacy == known.privacy
    assert set(written.cohort.ranges) >= {"age", "hb", "os_years"}


def test_sizes_keep_the_shares_and_their_sum():
    assert simulated_sizes(4427) == SITES
    assert sum(simulated_sizes(1001).values()) == 1001
    with pytest.raises(UsageError, match="12 patients are too few"):
        simulated_sizes(12)


@pytest.mark.parametrize("own", ["patients.csv", "study.toml"])
def test_files_that_are_there_are_never_written_over(tmp_path, own):
    (tmp_path / own).write_text("of real patients")
    with pytest.raises(UsageError, match=f"{own}' exists already"):
        write_world(tmp_path / "patients.csv", study=tmp_path / "study.toml", n=300, seed=0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(own, "of real patients")]


def test_one_file_for_both_is_refused(tmp_path):
    with pytest.raises(UsageError, match="need two files"):
        write_world(tmp_path / "x", study=tmp_path / "x", n=300, seed=0)
