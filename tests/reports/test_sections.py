from dataclasses import replace

from cohortium.reports.comparison import Gain
from cohortium.reports.fairness import Gap
from cohortium.reports.measure import Measure
from cohortium.reports.record import CurveRecord
from cohortium.reports.scope import scoped
from cohortium.reports.sections import Sections


def test_a_whole_record_fills_every_section(heart_record):
    sections = Sections(heart_record)
    for name in ("overall", "at_home", "gains", "gain_table", "exam", "elsewhere", "matrix", "recalibration_table",
                 "operating_table", "subgroup_table", "gap_table", "rounds_table",
                 "time_line", "members", "merges"):  # fmt: skip
        assert getattr(sections, name)() is not None, name
    assert len(sections.calibration()) == 4
    assert len(sections.curves()) == 2
    assert sections.matrix_holes() == ()
    assert sections.finished


def test_a_small_record_leaves_out_what_it_does_not_hold(small_record):
    sections = Sections(
        replace(
            small_record,
            rounds=(),
            test=replace(small_record.test, swarm={}),
            timings=replace(small_record.timings, spans=()),
        )
    )
    for name in ("overall", "at_home", "gains", "gain_table", "exam", "elsewhere", "matrix", "recalibration_table",
                 "operating_table", "subgroup_table", "gap_table", "rounds_table",
                 "time_line", "members", "merges", "survival"):  # fmt: skip
        assert getattr(sections, name)() is None, name
    assert sections.curves() == sections.calibration() == sections.matrix_holes() == ()


def test_the_number_behind_a_site_is_explained_where_there_is_one(heart_record):
    drawn = str(Sections(heart_record).at_home())
    assert "In brackets: the patients the site trains on." in drawn
    bare = tuple(replace(row, n_train=0) for row in heart_record.comparison.sites)
    nameless = replace(heart_record, comparison=replace(heart_record.comparison, sites=bare))
    assert "brackets" not in str(Sections(nameless).at_home())


def test_withheld_cells_are_said(heart_record):
    sections = Sections(scoped(heart_record, "consortium"))
    assert any("withheld: small numbers" in hole for hole in sections.matrix_holes())


def test_a_gain_prints_its_test_or_its_reason(heart_record):
    found = heart_record.comparison
    row = replace(found.sites[0], gains={
        "auroc": Gain(value=0.02, low=-0.01, high=0.05, p=0.0004, p_holm=0.0016, method="paired DeLong")})  # fmt: skip
    table = Sections(replace(heart_record, comparison=replace(found, sites=(row,)))).gain_table()
    assert table.rows[0][1] == "+0.020 (-0.010 to +0.050), p < 0.001, Holm 0.002"
    nothing = replace(row, gains={"auroc": Gain(value=None, reason="not available: n = 7")})
    table = Sections(replace(heart_record, comparison=replace(found, sites=(nothing,)))).gain_table()
    assert table.rows[0][1] == "not available: n = 7"


def test_survival_is_drawn_in_its_unit(small_record):
    curve = CurveRecord(
        name="low risk", time=(1.0, 2.0), survival=(0.9, 0.8), low=(0.8, 0.7), high=(1.0, 0.9), at_risk=(50, 30)
    )
    sections = Sections(replace(small_record, curves=(curve,), time_unit="years"))
    assert "time (years)" in sections.survival().svg


def test_gaps_name_both_groups(small_record):
    gap = Gap(
        attribute="sex",
        measure="sensitivity",
        higher="men",
        lower="women",
        difference=Measure(value=0.1, low=0.0, high=0.2, n=50),
    )
    assert Sections(replace(small_record, gaps=(gap,))).gap_table().rows[0][2] == "men vs women"


def test_between_hospitals_every_site_has_its_row_or_its_reason(deployed_record, small_record):
    assert Sections(small_record).shared() is None
    table = Sections(deployed_record).shared()
    assert table.columns == ("Site", "AUROC: swarm", "AUROC: own model", "Missing, and why")
    assert table.rows == (
        ("bonn", "0.812 (0.762 to 0.862)", "0.700", "–"),
        ("lund", "0.812 (0.762 to 0.862)", "0.700", "–"),
        ("porto", "–", "–", "left the run (train, silent)"),
    )
    assert Sections(deployed_record).overall().caption.startswith("This site's test patients")
    assert "Bytes sent here" in Sections(deployed_record).rounds_table().columns
