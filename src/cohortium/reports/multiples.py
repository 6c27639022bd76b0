"""Small multiples as inline SVG: many little panels of steps or densities, one legend, one sentence.

A series is told by dash and marker, not by colour alone; the first may be a filled area, so that a printed page without
colour still shows which is which. Values that may not be told are None and leave a gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from cohortium.reports.drawing import WIDTH, Figure, figure, line, number, path, short, text, units

__all__ = ["Panel", "Steps", "density_panels", "step_panels"]

_GAP, _HEAD, _FOOT = 12.0, 18.0, 16.0
_AREA = "fill-opacity:.22;stroke-opacity:.55"


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A run of steps: heights[i] from edges[i] to edges[i + 1]; None leaves a gap. filled: an area, else a line."""

    name: str
    edges: Sequence[float]
    heights: Sequence[float | None]
    style: int = 0
    filled: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One little figure. note: a few words at its upper right; ends: what the two ends of the axis are called."""

    title: str
    series: Sequence[Steps]
    note: str = ""
    ends: tuple[str, str] = ("", "")


def step_panels(
    title: str,
    panels: Sequence[Panel],
    *,
    columns: int,
    tall: float = 62.0,
    top: float | None = None,
    value: str,
    sentence: str,
) -> Figure:
    """Panels in rows of `columns`. top: the highest value of every panel; its own largest without one."""
    wide = (WIDTH - _GAP * (columns - 1)) / columns
    high = _HEAD + tall + _FOOT + 6
    drawn: list[Markup] = []
    for at, panel in enumerate(panels):
        left, upper = (wide + _GAP) * (at % columns), high * (at // columns)
        drawn.append(_panel(panel, left, upper + _HEAD, wide, tall, top=top))
    rows_of_panels = -(-len(panels) // columns) if panels else 0
    kinds = {one.name: (one.style, one.filled) for panel in panels for one in panel.series}
    legend, extra = _legend(kinds, high * rows_of_panels)
    rows = tuple(
        (panel.title, one.name, short(one.edges[k]), short(one.edges[k + 1]), number(height))
        for panel in panels
        for one in panel.series
        for k, height in enumerate(one.heights)
    )
    heads = ("panel", "who", "from", "to", value)
    return figure(title, sentence, [*drawn, legend], high * rows_of_panels + extra, heads, rows)


def _legend(kinds: Mapping[str, tuple[int, bool]], top: float) -> tuple[Markup, float]:
    """An area or a piece of line as it is drawn, and its name."""
    parts, x, y = [], 8.0, top + 8
    for name, (style, filled) in kinds.items():
        if filled:
            parts.append(Markup('<rect class="f{}" x="{}" y="{}" width="20" height="9" style="{}"/>').format(
                style % 7, units(x), units(y - 5), _AREA))  # fmt: skip
        else:
            parts.append(path([[(x, y), (x + 22, y)]], style))
        parts.append(text(x + 27, y + 4, name))
        x += 44 + 7.3 * len(name)
    return Markup("").join(parts), 22.0 if kinds else 0.0


def _panel(panel: Panel, left: float, upper: float, wide: float, tall: float, *, top: float | None) -> Markup:
    edges = [edge for one in panel.series for edge in one.edges]
    heights = [h for one in panel.series for h in one.heights if h is not None]
    low, high = (min(edges), max(edges)) if edges else (0.0, 1.0)
    most = top if top is not None else (max(heights, default=1.0) or 1.0)

    def x(v: float) -> float:
        return left + wide * (v - low) / ((high - low) or 1.0)

    def y(v: float) -> float:
        return upper + tall * (1 - v / most)

    bottom = upper + tall
    parts = [line(left, bottom, left + wide, bottom, "axis")]
    ordered = sorted(panel.series, key=lambda one: not one.filled)
    parts += [_area(one, x, y, bottom) if one.filled else path(_corners(one, x, y), one.style) for one in ordered]
    parts.append(_word(left, upper - 5, panel.title, "start", most=int(wide / 5.0)))
    if panel.note:
        parts.append(_word(left + wide, upper + 7, panel.note, "end", halo=True))
    for words, at, anchor in ((panel.ends[0], left, "start"), (panel.ends[1], left + wide, "end")):
        if words:
            parts.append(_word(at, bottom + 12, words, anchor))
    return Markup("").join(parts)


def _word(x: float, y: float, words: str, anchor: str, *, most: int = 80, halo: bool = False) -> Markup:
    """Small type: 9.5 units. halo: on a rim of paper, to be read over lines."""
    shown = words if len(words) <= most else f"{words[: most - 1]}…"
    rim = ";paint-order:stroke;stroke:var(--paper);stroke-width:3px" if halo else ""
    return Markup('<text x="{}" y="{}" text-anchor="{}" style="font-size:9.5px{}">{}</text>').format(
        units(x), units(y), anchor, rim, escape(shown)
    )


def _corners(one: Steps, x: Callable[[float], float], y: Callable[[float], float]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for k, height in enumerate(one.heights):
        if height is None or not math.isfinite(height):
            runs.append([])
            continue
        runs[-1] += [(x(one.edges[k]), y(height)), (x(one.edges[k + 1]), y(height))]
    return [run for run in runs if run]


def _area(one: Steps, x: Callable[[float], float], y: Callable[[float], float], bottom: float) -> Markup:
    parts = []
    for run in _corners(one, x, y):
        corners = [(run[0][0], bottom), *run, (run[-1][0], bottom)]
        d = "M" + " L".join(f"{units(a)} {units(b)}" for a, b in corners) + "z"
        parts.append(Markup('<path class="f{}" d="{}" style="{}"/>').format(one.style % 7, d, _AREA))  # fmt: skip
    return Markup("").join(parts)


def density_panels(
    title: str,
    panels: Sequence[tuple[str, Sequence[Sequence[float | None]]]],
    *,
    x_label: str,
    y_label: str,
    value: str,
    sentence: str,
) -> Figure:
    """Square maps beside each other, darker where more is; panels: (name, rows from the bottom up). None: not told."""
    count = max(len(panels), 1)
    side = (WIDTH - _GAP * (count - 1)) / count
    most = max((v for _, cells in panels for row in cells for v in row if v is not None), default=1.0) or 1.0
    drawn: list[Markup] = []
    rows: list[tuple[str, ...]] = []
    for at, (name, cells) in enumerate(panels):
        left, n = (side + _GAP) * at, max(len(cells), 1)
        step = side / n
        drawn.append(_word(left, _HEAD - 5, name, "start"))
        drawn.append(Markup('<rect class="axis" x="{}" y="{}" width="{}" height="{}" style="fill:none"/>').format(
            units(left), units(_HEAD), units(side), units(side)))  # fmt: skip
        for i, row in enumerate(cells):
            for j, held in enumerate(row):
                if not held:
                    continue
                drawn.append(Markup('<rect x="{}" y="{}" width="{}" height="{}" style="fill:var(--c0);opacity:{}"/>')
                             .format(units(left + step * j), units(_HEAD + side - step * (i + 1)), units(step),
                                     units(step), f"{0.1 + 0.85 * math.sqrt(held / most):.2f}"))  # fmt: skip
                rows.append((name, str(j + 1), str(i + 1), number(held, 4)))
    drawn.append(_word(0, _HEAD + side + 13, f"across: {x_label}; up: {y_label}", "start"))
    return figure(title, sentence, drawn, _HEAD + side + 18, ("panel", "across", "up", value), tuple(rows))
