"""Small panels: gaps where nothing may be told, areas and lines, densities."""

import re

from cohortium.reports.multiples import Panel, Steps, density_panels, step_panels


def panel(name="hb", heights=(0.2, None, 0.5)):
    edges = [float(k) for k in range(len(heights) + 1)]
    return Panel(
        title=name, note="d 0.10", ends=("0", "3"),
        series=[Steps(name="real", edges=edges, heights=heights, filled=True),
                Steps(name="synthetic", edges=edges, heights=[0.3] * len(heights), style=1)],
    )  # fmt: skip


def test_a_value_that_is_not_told_leaves_a_gap_and_a_dash_in_the_table():
    made = step_panels("Columns", [panel()], columns=3, value="share", sentence="s.")
    area = re.findall(r'<path class="f0" d="([^"]*)" style', str(made.svg))
    assert len(area) == 2, "one area on each side of the gap"
    assert ("hb", "real", "1", "2", "–") in made.rows
    assert made.columns == ("panel", "who", "from", "to", "share")


def test_panels_stand_in_rows_and_names_are_text():
    made = step_panels("C", [panel("<b>"), panel("x"), panel("y"), panel("z")], columns=3, value="v", sentence="s.")
    assert "&lt;b&gt;" in made.svg
    assert "<b>" not in made.svg
    assert len(set(re.findall(r'y="([\d.]+)" text-anchor="start"[^>]*>[xyz&]', str(made.svg)))) == 2


def test_every_series_is_told_by_form_not_by_colour_alone():
    made = str(step_panels("C", [panel()], columns=1, value="v", sentence="s.").svg)
    assert "fill-opacity" in made
    assert "stroke-dasharray" in made


def test_the_densest_cell_is_the_darkest_and_hidden_ones_are_not_drawn():
    made = density_panels("W", [("real", [[0.1, None], [0.0, 0.4]])], x_label="a", y_label="b", value="share",
                          sentence="s.")  # fmt: skip
    shades = [float(one) for one in re.findall(r"opacity:([\d.]+)", str(made.svg))]
    assert len(shades) == 2
    assert max(shades) == 0.95
    assert made.rows == (("real", "1", "1", "0.1000"), ("real", "2", "2", "0.4000"))


def test_nothing_to_draw_is_no_error():
    assert step_panels("C", [], columns=2, value="v", sentence="s.").rows == ()
    assert density_panels("W", [("real", [])], x_label="a", y_label="b", value="v", sentence="s.").rows == ()
