"""What figures are drawn with: `Figure`, scales and axes, lines, markers, words, legends.

Drawn 360 units wide, so that 12-unit text stays 12 px on a telephone and grows on paper. Colours are CSS
variables (Okabe-Ito; `FIGURE_CSS` holds light, dark and print). No series is told apart by colour alone: each
style has its own marker and dash. All text is escaped. `figures` holds the kinds of figures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = [
    "FIGURE_CSS",
    "LEFT",
    "RIGHT",
    "TOP",
    "WIDTH",
    "Figure",
    "axes",
    "figure",
    "label_width",
    "legend_of",
    "line",
    "marker",
    "number",
    "path",
    "scale",
    "short",
    "text",
    "told",
    "units",
    "word_list",
]

WIDTH, LEFT, RIGHT, TOP = 360, 46, 10, 10

FIGURE_CSS = """
:root{--ink:#1b1f24;--soft:#57606a;--rule:#d0d7de;--paper:#fff;--tint:#f6f8fa;
--c0:#0072b2;--c1:#d55e00;--c2:#00795a;--c3:#a8508a;--c4:#8f6400;--c5:#2a7fb0;--c6:#57606a;--heat:0,114,178}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--rule:#3d444d;--paper:#0f1317;--tint:#171c22;
--c0:#56b4e9;--c1:#ff8a3d;--c2:#2cc79c;--c3:#e39ac6;--c4:#e6b02e;--c5:#8fd0f5;--c6:#9aa4af;--heat:86,180,233}}
@media print{:root{--ink:#000;--soft:#444;--rule:#bbb;--paper:#fff;--tint:#f4f4f4;
--c0:#0072b2;--c1:#d55e00;--c2:#00795a;--c3:#a8508a;--c4:#8f6400;--c5:#2a7fb0;--c6:#57606a;--heat:0,114,178}}
figure.co{margin:1rem 0;max-width:30rem;break-inside:avoid}
figure.co svg{width:100%;height:auto;display:block;overflow:visible}
figure.co text{font:12px system-ui,sans-serif;fill:var(--ink)}
figure.co .soft{fill:var(--soft)}
figure.co figcaption{font-size:.9rem;color:var(--soft);margin-top:.25rem}
figure.co .axis{stroke:var(--soft);fill:none}
figure.co .grid{stroke:var(--rule);fill:none;stroke-width:.7}
""" + "".join(
    f"figure.co .s{i}{{stroke:var(--c{i})}}figure.co .f{i}{{fill:var(--c{i});stroke:var(--c{i})}}\n" for i in range(7)
)
"""The style a page with figures needs, once."""

_DASHES = ("", "5 3", "1.5 2.5", "8 3 2 3", "3 2", "10 3", "2 4")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with what it shows in words and in a table."""

    title: str
    sentence: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def html(self) -> Markup:
        """The <figure> with its sentence and a folded table of the data."""
        cells = (Markup('<th scope="col">{}</th>').format(c) if c else Markup("<td></td>") for c in self.columns)
        head = Markup("").join(cells)
        body = Markup("").join(
            Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(c) for c in row))
            for row in self.rows
        )
        table = Markup(
            '<div class="wide" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
        )
        return Markup(
            '<figure class="co">{}<figcaption>{}</figcaption><details><summary>Data of this figure</summary>{}'
            "</details></figure>"
        ).format(self.svg, self.sentence, table.format(head, body))

    def _repr_html_(self) -> str:
        return f"<style>{FIGURE_CSS}</style>{self.html}"


def figure(
    title: str, sentence: str, drawn: Sequence[Markup], height: float, columns: tuple[str, ...],
    rows: tuple[tuple[str, ...], ...],
) -> Figure:  # fmt: skip
    body = Markup("").join(drawn)
    key = hashlib.sha256(f"{title}\n{sentence}\n{body}".encode()).hexdigest()[:10]
    svg = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="t{} d{}"><title id="t{}">{}</title>'
        '<desc id="d{}">{}</desc>{}</svg>'
    ).format(WIDTH, units(height), key, key, key, title, key, sentence, body)
    return Figure(title=title, sentence=sentence, svg=svg, columns=columns, rows=rows)


def axes(
    xs: Sequence[float], ys: Sequence[float], height: float, *, x_label: str, y_label: str
) -> tuple[Markup, Callable[[float], float], Callable[[float], float]]:
    """Grid, ticks and labels, and the maps from values to drawing units across and up."""
    """The figure of these parts; its ids come from the content, so equal figures have equal bytes."""
    bottom = height - 40
    x_ticks, x = scale(xs, LEFT, WIDTH - RIGHT, whole=all(float(v).is_integer() for v in xs), tight=True)
    y_ticks, y = scale(ys, bottom, TOP + 14)
    parts = [line(LEFT, y(t), WIDTH - RIGHT, y(t), "grid") for t in y_ticks]
    parts += [text(LEFT - 5, y(t) + 4, short(t), anchor="end", soft=True) for t in y_ticks]
    parts += [text(x(t), bottom + 16, short(t), anchor="middle", soft=True) for t in x_ticks]
    parts += [line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"), text(4, TOP + 2, y_label)]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, x_label, anchor="middle"))
    return Markup("").join(parts), x, y


def scale(
    values: Sequence[float], start: float, end: float, *, whole: bool = False, tight: bool = False
) -> tuple[list[float], Callable[[float], float]]:
    """Round ticks around the values, and the map from values to drawing units.

    whole: only whole numbers as ticks. tight: the axis ends where the values end, not at the next tick.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1.0):
        pad = 0.5 * abs(high) if abs(high) > 1e-3 else 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    step = max(1.0, math.ceil(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    if not tight:
        low, high = ticks[0], ticks[-1]
    ticks = [t for t in ticks if low - 1e-9 <= t <= high + 1e-9]
    return ticks, lambda value: start + (end - start) * (value - low) / (high - low)


def path(runs: Sequence[Sequence[tuple[float, float]]], style: int) -> Markup:
    """Runs of points as one line in the style's colour and dash."""
    d = " ".join("M" + " L".join(f"{units(a)} {units(b)}" for a, b in run) for run in runs)
    dash = _DASHES[style % len(_DASHES)]
    return Markup('<path class="s{}" d="{}" fill="none" stroke-width="1.8"{}/>').format(
        style % 7, d, Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup("")
    )


def marker(x: float, y: float, style: int) -> Markup:
    """The marker of a style, centred."""
    r, kind = 4.2, style % 7
    shapes = (
        f"M{units(x - r)} {units(y)}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{units(x - r)} {units(y - r)}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M{units(x)} {units(y - r - 1)}l{r + 1} {2 * r}h{-2 * r - 2}z",
        f"M{units(x)} {units(y - r - 1)}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}z",
        f"M{units(x - r)} {units(y - r)}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
        f"M{units(x)} {units(y + r + 1)}l{r + 1} {-2 * r}h{-2 * r - 2}z",
        f"M{units(x - r)} {units(y)}h{2 * r}m{-r} {-r}v{2 * r}",
    )
    return Markup('<path class="f{}" d="{}" stroke-width="1.2"/>').format(kind, shapes[kind])


def legend_of(names: Sequence[tuple[str, int]], top: float) -> tuple[Markup, float]:
    """Marker and name of each series, wrapped; returns the drawing and its height."""
    if len(names) < 2:
        return Markup(""), 0.0
    x, y, parts = 10.0, top + 8, []
    for name, style in names:
        wide = 26 + 7.3 * len(name)
        if x + wide > WIDTH and x > 10:
            x, y = 10.0, y + 18
        parts += [marker(x, y, style), text(x + 9, y + 4, name)]
        x += wide
    return Markup("").join(parts), y - top + 14


def word_list(words: Sequence[str], top: float) -> tuple[Markup, float]:
    """Words wrapped to the width; returns the drawing and its height."""
    x, y, parts = 4.0, top + 12, []
    for word in words:
        wide = 12 + 7.0 * len(word)
        if x + wide > WIDTH and x > 4:
            x, y = 4.0, y + 16
        parts.append(text(x, y, word, soft=True))
        x += wide
    return Markup("").join(parts), y - top + 8


def label_width(names: Sequence[str]) -> float:
    """Room for row labels, at most 150 units."""
    return min(max([7.0 * len(name) for name in names] or [0.0]) + 14, 150.0)


def line(x1: float, y1: float, x2: float, y2: float, kind: str, *, width: float = 1.0, dash: str = "") -> Markup:
    """A straight line; kind: `grid`, `axis` or `s0`-`s6`."""
    extra = Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup("")
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}" stroke-width="{}"{}/>').format(
        kind, units(x1), units(y1), units(x2), units(y2), width, extra
    )


def text(x: float, y: float, words: object, *, anchor: str = "start", soft: bool = False) -> Markup:
    """Escaped words, cut at 40 characters."""
    shown = str(words)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(
        units(x), units(y), anchor, Markup(' class="soft"') if soft else Markup(""), escape(shown)
    )


def units(value: float) -> str:
    """A coordinate with one decimal."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def short(value: float) -> str:
    """A number as short as it can be written."""
    return f"{value:.6g}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def told(n: int | None) -> str:
    """A count, or `withheld`."""
    return "withheld" if n is None else f"{n:,}"
