"""Figures of two tables against each other: signed maps of pairs, paired bars, a scatter with intervals on both axes.

Signs are told by form: a full square is above zero, an empty one below, its size says how far; nothing depends on
colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cohortium.reports.drawing import (
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Figure,
    figure,
    label_width,
    line,
    marker,
    number,
    scale,
    short,
    text,
    units,
)

__all__ = ["Point", "paired_bars", "scatter", "signed_map"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A share in two tables with both intervals, each (value, low, high)."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def signed_map(
    title: str,
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    most: float,
    stars: Sequence[Sequence[bool]] = (),
    sentence: str,
    value: str,
) -> Figure:
    """A square map over pairs of names. most: the value whose square fills its cell; None: a dot, not told."""
    left = min(label_width([f"{name} 00" for name in names]), 120)
    side = min((WIDTH - left - RIGHT) / max(len(names), 1), 26.0)
    top = TOP + 14
    drawn: list[Markup] = []
    rows: list[tuple[str, ...]] = []
    for i, name in enumerate(names):
        if side >= 11 or i % 2 == 0:
            drawn.append(
                Markup('<text x="{}" y="{}" text-anchor="end" style="font-size:{}px">{} {}</text>').format(
                    units(left - 4), units(top + side * (i + 0.5) + 3.5), units(min(11.0, max(side, 8.0))), name, i + 1
                )
            )
            drawn.append(
                Markup('<text class="soft" x="{}" y="{}" text-anchor="middle" style="font-size:{}px">{}</text>').format(
                    units(left + side * (i + 0.5)), units(top - 4), units(min(10.0, max(side * 0.72, 7.0))), i + 1
                )
            )
        for j, held in enumerate(values[i]):
            x, y = left + side * (j + 0.5), top + side * (i + 0.5)
            if i == j:
                drawn.append(_square(x, y, side, "fill:var(--tint);stroke:var(--rule);stroke-width:.5"))
                continue
            drawn.append(_square(x, y, side, "fill:none;stroke:var(--rule);stroke-width:.5"))
            if held is None:
                drawn.append(Markup('<circle cx="{}" cy="{}" r=".8" style="fill:var(--soft)"/>').format(
                    units(x), units(y)))  # fmt: skip
                continue
            starred = bool(stars) and stars[i][j]
            share = math.sqrt(min(abs(held) / most, 1.0)) if math.isfinite(held) else 1.0
            size = side * max(0.86 * share, 0.72 if starred else 0.0)
            if size > 0.5:
                full = held > 0
                form = "fill:var(--c0);stroke:none" if full else "fill:none;stroke:var(--c1);stroke-width:1.5"
                drawn.append(_square(x, y, size if full else max(size - 1.5, 0.5), form))
            if starred:
                drawn.append(_star(x, y, min(side * 0.15, 2.2), "var(--paper)" if held > 0 else "var(--ink)"))
            rows.append((name, names[j], number(held, 2), "*" if starred else ""))
    bottom = top + side * len(names) + 8
    keys = [("above zero", True), ("below zero", False)]
    for k, (words, full) in enumerate(keys):
        x = 14 + 110 * k
        form = "fill:var(--c0)" if full else "fill:none;stroke:var(--c1);stroke-width:1.5"
        drawn += [_square(x, bottom + 8, 9, form), text(x + 10, bottom + 12, words)]
    extra = 24.0
    if stars:
        drawn += [_star(236, bottom + 8, 3.6, "var(--ink)"), text(246, bottom + 12, "clear (|z| > 3)")]
    heads = ("row", "column", value, "clear") if stars else ("row", "column", value)
    table = tuple(row if stars else row[:3] for row in rows)
    return figure(title, sentence, drawn, bottom + extra, heads, table)


def _square(x: float, y: float, size: float, form: str) -> Markup:
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" style="{}"/>').format(
        units(x - size / 2), units(y - size / 2), units(size), units(size), form
    )


def _star(x: float, y: float, r: float, ink: str) -> Markup:
    rays = [(r * math.cos(a), r * math.sin(a)) for a in (math.pi / 2, math.pi / 6, -math.pi / 6)]
    d = "".join(f"M{units(x - a)} {units(y - b)}L{units(x + a)} {units(y + b)}" for a, b in rays)
    return Markup('<path d="{}" style="stroke:{};stroke-width:.9;fill:none"/>').format(d, ink)


def paired_bars(
    title: str, groups: Sequence[tuple[str, Point]], *, names: tuple[str, str], unit: str, sentence: str
) -> Figure:
    """Two bars a row, the first full and the second empty, each with its interval."""
    left = label_width([name for name, _ in groups])
    top = max([v for _, p in groups for v in (*p.x, *p.y)] or [1.0]) or 1.0
    ticks, x = scale([0.0, top], left, WIDTH - RIGHT)
    bottom = TOP + 25 * len(groups)
    drawn = [line(x(t), TOP, x(t), bottom, "grid") for t in ticks]
    drawn += [text(x(t), bottom + 15, short(t), anchor="middle", soft=True) for t in ticks]
    drawn.append(text((left + WIDTH - RIGHT) / 2, bottom + 31, unit, anchor="middle"))
    for i, (name, point) in enumerate(groups):
        y = TOP + 25.0 * i
        drawn.append(text(left - 6, y + 15, name, anchor="end"))
        for k, three in enumerate((point.x, point.y)):
            at = y + 3 + 10 * k
            form = "fill:var(--c0);fill-opacity:.75" if k == 0 else "fill:none;stroke:var(--c1);stroke-width:1.4"
            drawn.append(Markup('<rect x="{}" y="{}" width="{}" height="8" style="{}"/>').format(
                units(left), units(at), units(max(x(three[0]) - left, 0.5)), form))  # fmt: skip
            drawn.append(line(x(three[1]), at + 4, x(three[2]), at + 4, "axis", width=1.2))
            for end in three[1:]:
                drawn.append(line(x(end), at + 1.5, x(end), at + 6.5, "axis", width=1.2))
    y = bottom + 46
    drawn += [_square(14, y, 9, "fill:var(--c0);fill-opacity:.75"), text(24, y + 4, names[0]),
              _square(134, y, 9, "fill:none;stroke:var(--c1);stroke-width:1.4"),
              text(144, y + 4, names[1])]  # fmt: skip
    rows = tuple(
        (name, who, *(number(v) for v in three))
        for name, p in groups
        for who, three in zip(names, (p.x, p.y), strict=True)
    )
    return figure(title, sentence, drawn, y + 12, ("", "who", unit, "low", "high"), rows)


def scatter(title: str, points: Sequence[Point], *, x_label: str, y_label: str, sentence: str) -> Figure:
    """Points with both intervals and the diagonal of equality; the largest bear their names."""
    height = 300.0
    highest = max([v for p in points for v in (*p.x, *p.y)] or [1.0])
    bottom = height - 40
    x_ticks, x = scale([0.0, highest], LEFT, WIDTH - RIGHT)
    _, y = scale([0.0, highest], bottom, TOP + 14)
    drawn = [line(LEFT, y(t), WIDTH - RIGHT, y(t), "grid") for t in x_ticks]
    drawn += [text(LEFT - 5, y(t) + 4, short(t), anchor="end", soft=True) for t in x_ticks]
    drawn += [text(x(t), bottom + 16, short(t), anchor="middle", soft=True) for t in x_ticks]
    drawn += [line(x(0), y(0), x(x_ticks[-1]), y(x_ticks[-1]), "axis", dash="3 3"), text(4, TOP + 2, y_label),
              text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, x_label, anchor="middle")]  # fmt: skip
    named: list[float] = []
    for point in sorted(points, key=lambda p: -p.x[0]):
        a, b = x(point.x[0]), y(point.y[0])
        drawn += [line(x(point.x[1]), b, x(point.x[2]), b, "s0"), line(a, y(point.y[1]), a, y(point.y[2]), "s0"),
                  marker(a, b, 0)]  # fmt: skip
        if all(abs(b - other) > 13 for other in named):
            drawn.append(text(a - 8, b - 7, point.name, anchor="end"))  # above the diagonal there is room
            named.append(b)
    rows = tuple((p.name, *(number(v) for v in (*p.x, *p.y))) for p in points)
    columns = ("", x_label, "low", "high", y_label, "low", "high")
    return figure(title, sentence, drawn, height, columns, rows)
