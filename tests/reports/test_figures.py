import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from cohortium.reports import figures as f
from cohortium.reports.drawing import WIDTH

EVIL = '</svg><script>alert("x")</script>'

KINDS = {
    "lines": lambda name: f.lines(name, [f.Series(name=name, x=[1, 2, 3], y=[0.1, None, 0.3]),
                                         f.Series(name="b", x=[1, 2, 3], y=[0.2, 0.2, 0.2], style=1)],
                                  x_label="round", y_label="loss"),
    "bars": lambda name: f.bars(name, [(name, 3.0), ("b", None), ("c", 0.0)], unit="patients"),
    "dots": lambda name: f.dots(name, [(name, [f.Dot(name="own", value=0.7, low=0.6, high=0.8),
                                               f.Dot(name="swarm", value=0.75, style=1)]),
                                       ("b", [f.Dot(name="own", value=None)]), ("c", [])],
                                x_label="AUROC", reference=0.5),
    "heat_map": lambda name: f.heat_map(name, [name, "b"], ["u", "v"], [[0.1, None], [0.5, 0.9]]),
    "steps": lambda name: f.steps(name, [f.Series(name=name, x=[1.0, 2.0], y=[0.8, 0.6], low=[0.7, 0.5],
                                                 high=[0.9, None])],
                                  at_risk=[[30, None]], x_label="years", y_label="alive"),
    "calibration": lambda name: f.calibration(name, [f.Series(name=name, x=[0.2, 0.8], y=[0.1, 0.9])]),
    "time_line": lambda name: f.time_line(name, [(name, "train", 0.0, 1.0), ("b", "merge", 1.0, 1.5)]),
    "flow": lambda name: f.flow(name, [("read", 100), ("kept", 95), ("test", None)], [[(name, 5)], []]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_well_formed_image_with_words_and_a_table(kind):
    figure = KINDS[kind]("hospital")
    root = ElementTree.fromstring(str(figure.svg))
    assert root.get("role") == "img"
    assert [child.tag for child in root[:2]] == ["title", "desc"]
    assert root.find("desc").text == figure.sentence
    assert figure.sentence.endswith(".")
    assert len(figure.rows) > 0
    assert {len(row) for row in figure.rows} == {len(figure.columns)}
    assert "<details>" in figure.html
    assert "http" not in figure.html


@pytest.mark.parametrize("kind", KINDS)
def test_names_cannot_break_out(kind):
    page = str(KINDS[kind](EVIL).html)
    assert "<script" not in page
    ElementTree.fromstring(page)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_drawn_outside_the_width(kind):
    for x in re.findall(r' x1?2?="(-?[\d.]+)"', KINDS[kind]("hospital").svg):
        assert 0 <= float(x) <= WIDTH + 1


def test_a_missing_interval_is_no_whisker():
    with_interval = f.dots("t", [("a", [f.Dot(name="x", value=0.5, low=0.4, high=0.6)])], x_label="v")
    without = f.dots("t", [("a", [f.Dot(name="x", value=0.5)])], x_label="v")
    assert with_interval.svg.count('class="s0"') == without.svg.count('class="s0"') + 1
    assert without.rows[0][-2:] == ("–", "–")


def test_a_name_without_any_value_is_not_in_the_legend():
    figure = f.dots("t", [("a", [f.Dot(name="x", value=0.5), f.Dot(name="y", value=None)])], x_label="v")
    assert "y: not available" in figure.svg
    assert ">y<" not in figure.svg


def test_a_line_breaks_where_a_value_is_missing():
    assert KINDS["lines"]("a").svg.count("M") > KINDS["lines"]("a").svg.count("<path")


def test_withheld_numbers_at_risk_are_printed_as_small():
    assert KINDS["steps"]("a").rows[1][-1] == "<5"


def test_a_curve_that_ends_early_names_its_last_value_that_is_shown():
    curves = [f.Series(name="real", x=[1.0, 2.0], y=[0.8, None]), f.Series(name="made", x=[1.0, 2.0], y=[0.7, 0.6])]
    sentence = f.steps("a", curves, at_risk=[[30, None], [40, 20]], x_label="y", y_label="alive").sentence
    assert sentence == "a: alive; last values: real 0.80, made 0.60."


def test_numbers_at_risk_never_lie_upon_each_other():
    early = [1.0, 2.0, 3.0, 5.0, 9.0, 40.0, 41.0, 100.0]
    curve = f.Series(name="low", x=early, y=[0.9] * 8)
    figure = f.steps("a", [curve], at_risk=[[150 - i for i in range(8)]], x_label="d", y_label="free of it")
    places = [float(x) for x in re.findall(r'<text x="([\d.]+)"[^>]*>1[45]\d</text>', figure.svg)]
    assert len(places) >= 3
    assert min(b - a for a, b in pairwise(places)) > 25


def test_many_columns_are_numbered_and_named_below():
    names = [f"centre-{i}" for i in range(25)]
    figure = f.heat_map("many", ["swarm"], names, [[i / 25 for i in range(25)]])
    assert "25 centre-24" in figure.svg
    assert figure.columns[-1] == "centre-24"


def test_a_flat_curve_makes_no_drama():
    figure = f.lines("t", [f.Series(name="a", x=[1, 2], y=[0.8700, 0.8701])], x_label="round", y_label="AUROC")
    assert "0.8705" not in figure.svg
