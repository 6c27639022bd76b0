import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.reports import drawing as d


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_ticks_are_round_and_hold_all_values(values):
    ticks, place = d.scale(values, 0.0, 100.0)
    assert 2 <= len(ticks) <= 9
    assert all(-1e-6 <= place(v) <= 100 + 1e-6 for v in values)
    assert place(ticks[0]) == pytest.approx(0.0)
    assert place(ticks[-1]) == pytest.approx(100.0)


def test_ticks_of_rounds_are_whole_and_end_with_the_last():
    ticks, place = d.scale([1.0, 12.0], 0.0, 100.0, whole=True, tight=True)
    assert ticks == [3.0, 6.0, 9.0, 12.0]
    assert place(12.0) == 100.0


def test_text_is_escaped_and_cut():
    assert "&lt;b&gt;" in d.text(0, 0, "<b>")
    assert len(re.sub("<.*?>", "", d.text(0, 0, "x" * 80))) == 40


def test_every_style_has_its_own_marker_and_dash():
    assert len({re.sub('class="f."', "", d.marker(5, 5, i)) for i in range(7)}) == 7
    assert len({re.sub('class="s."', "", d.path([[(0, 0), (1, 1)]], i)) for i in range(7)}) == 7


def test_a_legend_wraps_inside_the_width_and_needs_two_names():
    drawn, height = d.legend_of([(f"hospital number {i}", i) for i in range(6)], 0.0)
    assert height > 30
    assert max(float(x) for x in re.findall(r'<text x="([\d.]+)"', drawn)) < d.WIDTH
    assert d.legend_of([("one", 0)], 0.0) == ("", 0.0)


def test_numbers_that_are_not_there_are_dashes_or_withheld():
    assert d.number(None) == "–"
    assert d.told(None) == "withheld"
    assert d.told(1234) == "1,234"


def test_equal_figures_have_equal_bytes_and_others_other_ids():
    one, two, three = (d.figure(t, "s", [], 10, ("a",), (("b",),)) for t in ("x", "x", "y"))
    assert one.html == two.html
    assert re.findall(r'id="(t\w+)"', one.svg) != re.findall(r'id="(t\w+)"', three.svg)
    assert one._repr_html_().startswith("<style>")
