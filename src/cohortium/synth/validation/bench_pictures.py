"""The figures of the report that need a benchmark: skill by round, generators by federation, epsilon, gain per site.

They read the document of `cohortium synth bench --json`; where it lacks what a figure needs, the figure is None and the
page says so. Nothing is taken for granted in a document somebody else wrote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cohortium.reports.drawing import Figure
from cohortium.reports.figures import Dot, Series, dots, heat_map, lines

__all__ = ["by_round", "epsilon_curve", "gain_per_site", "grid"]

_SCORES = (("csf", "clinical"), ("gsf", "genomic"))


def by_round(bench: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Figure 1: skill by round for central, federated and isolated training, clinical and genomic."""
    found = []
    held = {name: _mapping(settings) for name, settings in _mapping(bench.get("by_round")).items()}
    longest = max((len(_list(rounds)) for settings in held.values() for rounds in settings.values()), default=1)
    for key, word in _SCORES:
        series: list[Series] = []
        for generator, settings in held.items():
            for setting, rounds in settings.items():
                values = [_number(_mapping(one).get(key)) for one in _list(rounds)]
                if any(v is not None for v in values):
                    name = setting if len(held) == 1 else f"{generator} {setting}"
                    x = [float(k + 1) for k in range(len(values))]
                    if len(values) == 1 < longest:  # trained in one go: a line to hold the others against
                        x, values = [1.0, float(longest)], values * 2
                    series.append(Series(name=name.replace(":", " "), x=x, y=values, style=len(series) % 7))
        if series:
            found.append(lines(f"{word.capitalize()} skill by round", series[:7], x_label="round", y_label="skill"))
    return tuple(found)


def grid(bench: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Figure 2: mean skill of every generator in every setting."""
    found = []
    generators = _generators(bench)
    settings = list(dict.fromkeys(s for held in generators.values() for s in held if not s.startswith("isolated:")))
    for key, word in _SCORES:
        values = [[_number(_mapping(held.get(s, {}).get(key)).get("skill")) for s in settings]
                  for held in generators.values()]  # fmt: skip
        if any(v is not None for row in values for v in row):
            sentence = f"{word.capitalize()} skill: 0 is the shuffled table, 1 the real one; darker is more."
            found.append(heat_map(f"{word.capitalize()} skill of generators and federations", list(generators),
                                  settings, values, sentence=sentence))  # fmt: skip
    return tuple(found)


def epsilon_curve(bench: Mapping[str, Any]) -> Figure | None:
    """Figure 12: skill over the privacy budget."""
    series: list[Series] = []
    for generator, points in _mapping(bench.get("by_epsilon")).items():
        ordered = sorted((p for p in map(_mapping, _list(points)) if _number(p.get("epsilon"))),
                         key=lambda p: float(p["epsilon"]))  # fmt: skip
        for key, word in _SCORES:
            values = [_number(p.get(key)) for p in ordered]
            if any(v is not None for v in values):
                series.append(Series(name=f"{generator} {word}", x=[float(p["epsilon"]) for p in ordered], y=values,
                                     style=len(series) % 7))  # fmt: skip
    if not series:
        return None
    return lines("Skill over the privacy budget", series, x_label="epsilon of a patient", y_label="skill")


def gain_per_site(bench: Mapping[str, Any]) -> Figure | None:
    """Figure 13: skill of the federated generator minus that of each site alone."""
    rows: list[tuple[str, list[Dot]]] = []
    generators = _generators(bench)
    for generator, held in generators.items():
        told = _mapping(_mapping(bench.get(generator)).get("gain")) or _differences(held)
        for site, scores in told.items():
            dots_of = []
            for style, (key, word) in enumerate(_SCORES):
                one = _mapping(_mapping(scores).get(key))
                gain, ends = _number(one.get("skill")), _list(_mapping(one.get("intervals")).get("skill"))
                low, high = (_number(end) for end in ends) if len(ends) == 2 else (None, None)
                if gain is not None:
                    dots_of.append(Dot(name=word, value=gain, low=low, high=high, style=style))
            if dots_of:
                rows.append((site if len(generators) == 1 else f"{generator}, {site}", dots_of))
    if not rows:
        return None
    sentence = "Skill that each hospital gains by learning together, over the generator of its own patients alone."
    return dots("Gain of each hospital", rows, x_label="gain in skill", reference=0.0, sentence=sentence)


def _differences(held: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Federated less isolated skill by site, where the document holds no gains of its own."""
    together = held.get("federated", {})
    found: dict[str, dict[str, dict[str, float]]] = {}
    for setting, figures in held.items():
        for key, _ in _SCORES if setting.startswith("isolated:") else ():
            ours, theirs = (_number(_mapping(one.get(key)).get("skill")) for one in (together, figures))
            if ours is not None and theirs is not None:
                found.setdefault(setting.removeprefix("isolated:"), {})[key] = {"skill": ours - theirs}
    return found


def _generators(bench: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """{generator: {setting: figures}}."""
    found = {}
    for name, held in bench.items():
        settings = {s: one for s, one in _mapping(held).items() if isinstance(one, Mapping) and _is_scored(one)}
        if settings and not name.startswith("by_"):
            found[name] = settings
    return found


def _is_scored(one: Mapping[str, Any]) -> bool:
    return any(_number(_mapping(one.get(key)).get("skill")) is not None for key, _ in _SCORES)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
