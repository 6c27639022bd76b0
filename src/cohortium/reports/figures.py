"""Figures as inline SVG: lines, bars, dots with intervals, heat map, steps, calibration, time line, flow.

Each function returns a `Figure`: the drawing, its data as a table, and one sentence that says what is to be seen.
No script, no outside reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from cohortium.reports.drawing import (
    RIGHT,
    TOP,
    WIDTH,
    Figure,
    axes,
    figure,
    label_width,
    legend_of,
    line,
    marker,
    number,
    path,
    scale,
    short,
    text,
    told,
    units,
    word_list,
)

__all__ = ["Dot", "Series", "bars", "calibration", "dots", "flow", "heat_map", "lines", "steps", "time_line"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named run of points; None breaks the line. style: 0-6 chooses colour, marker and dash together."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    style: int = 0
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One value with its interval in a row of `dots`."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    style: int = 0


def lines(title: str, series: Sequence[Series], *, x_label: str, y_label: str) -> Figure:
    """Curves over rounds or the like, each with its own dash and a marker at the end."""
    height = 210
    series = [replace(s, y=[v if v is not None and math.isfinite(v) else None for v in s.y]) for s in series]
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for y in s.y if y is not None]
    if ys and max(ys) - min(ys) < 0.02:  # no drama out of the third digit
        ys += [min(ys) - 0.01, max(ys) + 0.01]
    frame, x, y = axes(xs, ys, height, x_label=x_label, y_label=y_label)
    drawn = [frame]
    for s in series:
        drawn.append(path(_runs(s, x, y), s.style))
        last = [(a, b) for a, b in zip(s.x, s.y, strict=True) if b is not None][-1:]
        drawn.extend(marker(x(a), y(b), s.style) for a, b in last)
    legend, extra = legend_of([(s.name, s.style) for s in series], height)
    names = tuple(dict.fromkeys(a for s in series for a in s.x))
    held = [dict(zip(s.x, s.y, strict=True)) for s in series]
    rows = tuple((short(a), *(number(one.get(a)) for one in held)) for a in sorted(names))
    ends = [f"{s.name} {number(s.y[-1])}" for s in series if len(s.y)]
    sentence = title + (f"; at the end {', '.join(ends[:6])}." if ends else ".")
    return figure(title, sentence, [*drawn, legend], height + extra, (x_label, *(s.name for s in series)), rows)


def bars(title: str, values: Sequence[tuple[str, float | None]], *, unit: str, digits: int = 0) -> Figure:
    """Horizontal bars from zero with the number at the end of each."""
    left = label_width([name for name, _ in values])
    top = max([v for _, v in values if v is not None] or [1.0]) or 1.0
    room = WIDTH - left - 60
    drawn = []
    for i, (name, value) in enumerate(values):
        y = TOP + 24 * i
        drawn.append(text(left - 6, y + 13, name, anchor="end"))
        if value is not None:
            drawn.append(Markup('<rect class="f0" x="{}" y="{}" width="{}" height="14"/>').format(
                left, y + 2, units(max(room * value / top, 0.5))))  # fmt: skip
        shown = "withheld" if value is None else f"{value:,.{digits}f}"
        drawn.append(text(left + 4 + (room * (value or 0) / top), y + 13, shown))
    rows = tuple((name, "withheld" if value is None else f"{value:,.{digits}f}") for name, value in values)
    largest = max(((v, n) for n, v in values if v is not None), default=None)
    sentence = f"{title}, in {unit}" + (
        f"; the largest is {largest[1]} with {largest[0]:,.{digits}f}." if largest else "."
    )
    return figure(title, sentence, drawn, 24 * len(values) + 2 * TOP, ("", unit), rows)


def dots(
    title: str,
    groups: Sequence[tuple[str, Sequence[Dot]]],
    *,
    x_label: str,
    reference: float | None = None,
    sentence: str = "",
    digits: int = 3,
) -> Figure:
    """One block of rows per label: a marker per value with its interval; a dot without whiskers has no interval."""
    step, gap = 15, 9
    names = [name for name, _ in groups]
    left = label_width(names)
    values = [v for _, held in groups for d in held for v in (d.value, d.low, d.high) if v is not None]
    values += [reference] if reference is not None else []
    body = sum(max(len(held), 1) * step + gap for _, held in groups)
    ticks, x = scale(values, left, WIDTH - RIGHT)
    bottom = TOP + body
    drawn = [line(x(t), TOP, x(t), bottom, "grid") for t in ticks]
    drawn += [text(x(t), bottom + 15, short(t), anchor="middle", soft=True) for t in ticks]
    drawn.append(text((left + WIDTH - RIGHT) / 2, bottom + 32, x_label, anchor="middle"))
    if reference is not None:
        drawn.append(line(x(reference), TOP, x(reference), bottom, "axis"))
    y = float(TOP)
    rows, styles = [], {}
    for name, held in groups:
        drawn.append(text(left - 8, y + max(len(held), 1) * step / 2 + 5, name, anchor="end"))
        for dot in held:
            y += step
            rows.append((name, dot.name, *(number(v, digits) for v in (dot.value, dot.low, dot.high))))
            if dot.value is None:
                drawn.append(text(left + 4, y - 1, f"{dot.name}: not available", soft=True))
                continue
            styles[dot.name] = dot.style
            if dot.low is not None and dot.high is not None:
                drawn.append(line(x(dot.low), y - 5, x(dot.high), y - 5, f"s{dot.style}", width=1.6))
            drawn.append(marker(x(dot.value), y - 5, dot.style))
        y += gap + (0 if held else step)
    legend, extra = legend_of(list(styles.items()), bottom + 40)
    said = sentence or f"{title}: {x_label} with 95 % intervals, one block for each of {len(groups)} rows."
    columns = ("row", "what", x_label, "low", "high")
    return figure(title, said, [*drawn, legend], bottom + 40 + extra, columns, tuple(rows))


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    digits: int = 2,
    sentence: str = "",
) -> Figure:
    """Cells shaded by value with the number inside while they are wide enough; a missing cell holds a dash.

    Columns are numbered above and named below when there are more than five.
    """
    left = min(label_width(rows), 120)
    side = (WIDTH - left - RIGHT) / max(len(columns), 1)
    tall = 24 if side >= 24 else max(side, 14)
    there = [v for row in values for v in row if v is not None]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    numbered = len(columns) > 5 or any(7 * len(c) > side for c in columns)
    heads = [str(j + 1) for j in range(len(columns))] if numbered else list(columns)
    top = TOP + 16
    drawn = [text(left + side * (j + 0.5), top - 5, head, anchor="middle", soft=True) for j, head in enumerate(heads)
             if side >= 16 or j % 2 == 0]  # fmt: skip
    for i, row in enumerate(values):
        y = top + tall * i
        drawn.append(text(left - 6, y + tall / 2 + 4, rows[i], anchor="end"))
        for j, value in enumerate(row):
            share = 0.0 if value is None or high == low else (value - low) / (high - low)
            fill = "none" if value is None else f"rgba(var(--heat),{0.08 + 0.5 * share:.3f})"
            drawn.append(Markup(
                '<rect x="{}" y="{}" width="{}" height="{}" style="fill:{};stroke:var(--rule)"/>'
            ).format(units(left + side * j), units(y), units(side), units(tall), fill))  # fmt: skip
            if side >= 34 or (value is None and side >= 10):
                shown = "–" if value is None else f"{value:.{digits}f}"
                drawn.append(text(left + side * (j + 0.5), y + tall / 2 + 4, shown, anchor="middle"))
    bottom = top + tall * len(rows) + 6
    extra = 0.0
    if numbered:
        legend, extra = word_list([f"{j + 1} {name}" for j, name in enumerate(columns)], bottom)
        drawn.append(legend)
    said = sentence or f"{title}: from {number(low, digits)} to {number(high, digits)}, darker is higher."
    table = tuple((rows[i], *(number(v, digits) for v in row)) for i, row in enumerate(values))
    return figure(title, said, drawn, bottom + extra + 4, ("", *columns), table)


_BETWEEN_COUNTS = 34  # from one number at risk to the next, in units of the drawing


def steps(
    title: str, series: Sequence[Series], *, at_risk: Sequence[Sequence[int | None]], x_label: str, y_label: str,
    small: str = "<5",
) -> Figure:  # fmt: skip
    """Survival curves as steps with their bands, and the numbers at risk below. series.x, at_risk: the same grid.

    small: what stands for a number that is not told.
    """
    height = 210
    xs = [0.0, *(x for s in series for x in s.x)]
    frame, x, y = axes(xs, [0.0, 1.0], height, x_label=x_label, y_label=y_label)
    drawn = [frame]
    for s in series:
        before, points, runs = 1.0, [(x(0.0), y(1.0))], []
        for a, b in zip(s.x, s.y, strict=True):
            if b is not None:
                points += [(x(a), y(before)), (x(a), y(b))]
                before = b
        runs.append(points)
        for a, low, high in zip(s.x, s.low, s.high, strict=False):
            if low is not None and high is not None:
                drawn.append(line(x(a), y(low), x(a), y(high), f"s{s.style}", width=0.8))
        drawn += [path(runs, s.style), marker(*points[-1], s.style)]
    legend, extra = legend_of([(s.name, s.style) for s in series], height)
    y_now = height + extra + 14
    drawn += [legend, text(4, y_now, "At risk", soft=True)]
    for s, counts in zip(series, at_risk, strict=True):
        y_now += 15
        drawn.append(marker(12, y_now - 4, s.style))
        free = -math.inf
        for a, n in zip(s.x, counts, strict=True):
            if x(a) >= free:  # the grid is not even: numbers too near to the last one would lie upon it
                drawn.append(text(x(a), y_now, small if n is None else n, anchor="middle"))
                free = x(a) + _BETWEEN_COUNTS
    rows = tuple(
        (s.name, short(a), number(b), number(low), number(high), small if n is None else str(n))
        for s, counts in zip(series, at_risk, strict=True)
        for a, b, low, high, n in zip(s.x, s.y, s.low or s.y, s.high or s.y, counts, strict=True)
    )
    known = {s.name: [b for b in s.y if b is not None] for s in series}
    ends = ", ".join(f"{name} {number(held[-1], 2)}" for name, held in known.items() if held)
    columns = ("", x_label, y_label, "low", "high", "at risk")
    return figure(title, f"{title}: {y_label}; last values: {ends}.", drawn, y_now + 8, columns, rows)


def calibration(title: str, series: Sequence[Series], *, sentence: str = "") -> Figure:
    """Observed share over predicted risk, both 0 to 1, with the diagonal on which risks are right."""
    height = 300
    frame, x, y = axes([0.0, 1.0], [0.0, 1.0], height, x_label="predicted risk", y_label="observed share")
    drawn = [frame, line(x(0), y(0), x(1), y(1), "axis", dash="2 3")]
    for s in series:
        drawn.append(path(_runs(s, x, y), s.style))
        drawn += [marker(x(a), y(b), s.style) for a, b in zip(s.x, s.y, strict=True) if b is not None]
    legend, extra = legend_of([(s.name, s.style) for s in series], height)
    rows = tuple((s.name, number(a), number(b)) for s in series for a, b in zip(s.x, s.y, strict=True))
    said = sentence or f"{title}: points on the diagonal mean that risks can be taken at their word."
    return figure(title, said, [*drawn, legend], height + extra, ("", "predicted", "observed"), rows)


def time_line(title: str, spans: Sequence[tuple[str, str, float, float]]) -> Figure:
    """What each site did when. spans: (site, stage, start, end) in seconds."""
    sites = list(dict.fromkeys(span[0] for span in spans))
    stages = list(dict.fromkeys(span[1] for span in spans))
    left = label_width(sites)
    bottom = TOP + 20 * len(sites)
    ticks, x = scale([0.0, *(span[3] for span in spans)], left, WIDTH - RIGHT)
    drawn = [line(x(t), TOP, x(t), bottom, "grid") for t in ticks]
    drawn += [text(x(t), bottom + 15, short(t), anchor="middle", soft=True) for t in ticks]
    drawn += [text(left - 6, TOP + 20 * i + 14, site, anchor="end") for i, site in enumerate(sites)]
    high = max(3.0, 14 / len(stages)) if stages else 14.0
    for site, stage, start, end in spans:
        kind = stages.index(stage)
        drawn.append(Markup('<rect class="f{}" x="{}" y="{}" width="{}" height="{}"/>').format(
            kind % 7, units(x(start)), units(TOP + 20 * sites.index(site) + 3 + (high * kind) % 14),
            units(max(x(end) - x(start), 0.6)), units(high - 0.5)))  # fmt: skip
    drawn.append(text((left + WIDTH) / 2, bottom + 31, "seconds", anchor="middle"))
    legend, extra = legend_of([(stage, i % 7) for i, stage in enumerate(stages)], bottom + 38)
    spent: dict[tuple[str, str], float] = {}
    for site, stage, start, end in spans:
        spent[site, stage] = spent.get((site, stage), 0.0) + end - start
    rows = tuple((site, stage, f"{total:.2f}") for (site, stage), total in spent.items())
    last = max((span[3] for span in spans), default=0.0)
    sentence = f"{title}: {len(sites)} sites over {short(last)} seconds, stages one above another."
    return figure(title, sentence, [*drawn, legend], bottom + 38 + extra, ("site", "stage", "seconds"), rows)


def flow(
    title: str, boxes: Sequence[tuple[str, int | None]], aside: Sequence[Sequence[tuple[str, int | None]]]
) -> Figure:
    """Boxes from top to bottom, what went elsewhere before each at its side: aside[i] between box i and i + 1."""
    y, drawn, rows = float(TOP), [], []
    for i, (name, count) in enumerate(boxes):
        drawn.append(Markup('<rect class="axis" x="8" y="{}" width="150" height="34" rx="4"/>').format(units(y)))
        drawn.append(text(83, y + 15, name, anchor="middle"))
        drawn.append(text(83, y + 29, told(count), anchor="middle"))
        rows.append((name, told(count)))
        y += 34
        left = aside[i] if i < len(aside) else ()
        tall = max(22.0, 16.0 * len(left) + 8)
        if i + 1 < len(boxes):
            drawn.append(line(83, y, 83, y + tall, "axis"))
        for j, (why, n) in enumerate(left):
            drawn.append(line(83, y + 11 + 16 * j, 170, y + 11 + 16 * j, "grid"))
            drawn.append(text(175, y + 15 + 16 * j, f"{why}: {told(n)}"))
            rows.append((why, told(n)))
        y += tall if i + 1 < len(boxes) or left else 0
    first, last = boxes[0], boxes[-1]
    sentence = f"{title}: {told(first[1])} {first[0]}, {told(last[1])} {last[0]}."
    return figure(title, sentence, drawn, y + TOP, ("step", "records"), tuple(rows))


def _runs(s: Series, x: Callable[[float], float], y: Callable[[float], float]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(s.x, s.y, strict=True):
        if b is None:
            runs.append([])
        else:
            runs[-1].append((x(a), y(b)))
    return [run for run in runs if run]
