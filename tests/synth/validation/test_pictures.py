import numpy as np
import pytest

from cohortium.synth.validation import pictures
from cohortium.synth.validation.pictures import LEAST_CELL, Tables


@pytest.fixture(scope="module")
def tables(world):
    return Tables(training=world.training, reserve=world.reserve, synthetic=world.synthetic)


def counted(figure, who, n):
    """Every count of real patients that the figure's table lets one compute."""
    return [round(float(row[-1]) * n) for row in figure.rows if row[1] == who and row[-1] != "–"]


def test_no_histogram_shows_one_to_nine_real_patients(tables, world):
    figure = pictures.marginals(tables)
    for panel in {row[0] for row in figure.rows}:
        known = int((~np.isnan(world.training[panel])).sum())
        rows = [row for row in figure.rows if row[0] == panel and row[1] == "real" and row[-1] != "–"]
        assert all(c == 0 or c >= LEAST_CELL for c in (round(float(row[-1]) * known) for row in rows)), panel
    near = pictures.distances(tables)
    assert all(c == 0 or c >= LEAST_CELL for c in counted(near, "held out", len(world.reserve)))


def test_no_cell_of_the_density_holds_less_than_ten_rows(tables, world):
    figure = pictures.density(tables)
    for name, rows in (("real, training", world.training), ("real, held out", world.reserve)):
        shares = [float(row[3]) for row in figure.rows if row[0] == name]
        assert shares
        assert min(shares) * len(rows) >= LEAST_CELL - 0.5


def test_axes_end_where_ten_patients_lie_beyond(world):
    low, high = pictures._bins(world.training["hb"][~np.isnan(world.training["hb"])])[[0, -1]]
    assert (world.training["hb"] <= low).sum() >= LEAST_CELL
    assert (world.training["hb"] >= high).sum() >= LEAST_CELL


def test_pairs_with_few_carriers_of_both_are_not_told(tables, judged, world):
    figure = pictures.gene_pairs(tables, judged)
    shown = {(row[0], row[1]) for row in figure.rows}
    genes = [fact.name for fact in world.facts.of_group("gene")]
    few = [(a, b) for a in genes for b in genes if a != b
           and 0 < ((world.training[a] == 1) & (world.training[b] == 1)).sum() < LEAST_CELL]  # fmt: skip
    assert not shown & set(few)
    assert ("SF3B1", "SRSF2") in shown or ("SRSF2", "SF3B1") in shown
    assert any(row[3] == "*" for row in figure.rows)


def test_curves_end_where_fewer_than_ten_are_followed(tables, judged, world):
    figure = pictures.survival_of_groups(tables, judged)
    rows = [row for row in figure.rows if row[0] == "high risk" and row[1] == "real, held out"]
    assert rows[0][4] == "1.000"
    assert rows[-1][4] == "–"


def test_every_gene_shown_has_ten_carriers(tables, world):
    bars, plot = pictures.frequencies(tables)
    names = {row[0] for row in plot.rows}
    assert names
    assert all((world.training[name] == 1).sum() >= LEAST_CELL for name in names)
    assert {row[1] for row in bars.rows} == {"real", "synthetic"}


def test_what_a_figure_has_no_room_for_is_counted_beside_it(tables, judged, world, monkeypatch):
    n = len(world.facts.of_group("gene"))
    shown = {row[0] for row in pictures.frequencies(tables)[1].rows}
    few = f"Not drawn: {n - len(shown)} more, rarer or with fewer than 10 patients."
    assert (few in pictures.frequencies(tables)[0].sentence) == (len(shown) < n)
    monkeypatch.setattr("cohortium.synth.validation.pictures._MOST_GENES", 2)
    for figure in (pictures.frequencies(tables)[0], pictures.gene_pairs(tables, judged)):
        assert f"Not drawn: {n - 2} more, rarer" in figure.sentence
    assert "Not drawn" not in pictures.hazard_forest(judged, {}).sentence or len(judged.hazards.names) > 20
    monkeypatch.setattr("cohortium.synth.validation.pictures._MOST_SECRETS", 1)
    assert f"Not drawn: {len(judged.privacy.inference) - 1} more, secrets" in pictures.attack_risks(judged).sentence


def test_attacks_stand_beside_the_copy(judged):
    rows = pictures.attack_risks(judged).rows
    copy = {row[0]: float(row[2]) for row in rows if row[1] == "a copy (control)"}
    assert copy["linkability"] > 0.3


def test_the_forest_takes_further_estimates(judged):
    more = {"truth": [(0.1, None, None)] * len(judged.hazards.names)}
    figure = pictures.hazard_forest(judged, more)
    assert {row[1] for row in figure.rows} == {"real", "synthetic", "truth"}


def test_associations_that_differ_are_named(tables):
    assert "the largest is" in pictures.associations(tables).sentence


def test_a_p_value_is_never_told_as_zero():
    assert [pictures.p_text(p) for p in (0.0, 0.0009, 0.004, 0.01, 0.43)] == [
        "p <0.001", "p <0.001", "p 0.004", "p 0.01", "p 0.43"
    ]  # fmt: skip


def test_the_numbers_at_risk_start_with_everybody(tables, judged, world):
    figure = pictures.survival_of_all(tables, judged)
    first = [row for row in figure.rows if float(row[1]) == 0]
    known = {name: int((~np.isnan(rows["os_years"])).sum())
             for name, rows in (("real, held out", world.reserve), ("synthetic", world.synthetic))}  # fmt: skip
    assert {row[0]: int(row[-1]) for row in first} == known
    assert {float(row[2]) for row in first} == {1.0}
