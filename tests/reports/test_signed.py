"""Signs by form: full above zero, empty below, starred where clear; bars and points with their intervals."""

import re

from cohortium.reports.signed import Point, paired_bars, scatter, signed_map

VALUES = [[None, 2.0, None], [-2.0, None, 0.5], [None, 0.5, None]]


def test_the_sign_is_a_full_or_an_empty_square():
    made = str(signed_map("P", ["a", "b", "c"], VALUES, most=3.0, sentence="s.", value="ln OR").svg)
    assert made.count("fill:var(--c0);stroke:none") == 3
    assert made.count("fill:none;stroke:var(--c1);stroke-width:1.5") == 2, "one cell and the key"
    assert made.count("<circle") == 2, "what is not told is a dot"


def test_stars_stand_where_they_are_asked_and_in_the_table():
    stars = [[False, True, False], [True, False, False], [False, False, False]]
    made = signed_map("P", ["a", "b", "c"], VALUES, most=3.0, stars=stars, sentence="s.", value="ln OR")
    assert [row[3] for row in made.rows] == ["*", "*", "", ""]
    assert "clear (|z| &gt; 3)" in made.svg


def test_a_larger_value_makes_a_larger_square():
    made = str(signed_map("P", ["a", "b", "c"], VALUES, most=3.0, sentence="s.", value="v").svg)
    sides = sorted(
        float(one) for one in re.findall(r'width="([\d.]+)" height="[\d.]+" style="fill:var\(--c0\);stroke', made)
    )
    assert sides[0] == sides[1] < sides[2]


def point(name="TP53"):
    return Point(name=name, x=(0.2, 0.15, 0.25), y=(0.3, 0.25, 0.35))


def test_bars_and_points_carry_both_intervals():
    bars = paired_bars("F", [("TP53", point())], names=("real", "synthetic"), unit="share", sentence="s.")
    assert bars.rows == (("TP53", "real", "0.200", "0.150", "0.250"), ("TP53", "synthetic", "0.300", "0.250", "0.350"))
    plot = scatter("F", [point()], x_label="real", y_label="synthetic", sentence="s.")
    assert plot.rows == (("TP53", "0.200", "0.150", "0.250", "0.300", "0.250", "0.350"),)
    assert "stroke-dasharray" in plot.svg, "the diagonal"


def test_names_of_points_do_not_lie_upon_each_other():
    plot = scatter("F", [point(), point("SF3B1")], x_label="x", y_label="y", sentence="s.")
    assert ("TP53" in plot.svg) != ("SF3B1" in plot.svg)
