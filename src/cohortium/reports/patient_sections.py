"""The section on patients: from each site's file to the parts it was drawn into, and where values are missing."""

from __future__ import annotations

from dataclasses import dataclass

from cohortium.reports import figures
from cohortium.reports.drawing import Figure
from cohortium.reports.outline import purpose
from cohortium.reports.record import Flow, RunRecord
from cohortium.reports.sections import Table

__all__ = ["PatientSections"]


@dataclass(frozen=True)
class PatientSections:
    """One record's patients."""

    record: RunRecord

    @property
    def _parts(self) -> dict[str, str]:
        """What each part is called, by its field of `Flow`. A generator's study holds back a reserve and no more."""
        if purpose(self.record) == "generator":
            return {"train": "training", "test": "reserve"}
        return {"train": "training", "calibration": "calibration", "test": "test"}

    def flow_table(self) -> Table | None:
        """Records of each site from file to part."""
        held = sorted(self.record.flow.items())
        if not held:
            return None
        left = list(dict.fromkeys(rule for _, f in held for rule in (*f.skipped, *f.excluded)))
        rows = tuple(
            (
                site,
                _count(f.read, "read", f),
                *(_count({**f.skipped, **f.excluded}.get(rule, 0), _path(f, rule), f) for rule in left),
                *(_count(getattr(f, part), part, f) for part in self._parts),
                _share(f),
            )
            for site, f in held
        )
        parts = (name.capitalize() for name in self._parts.values())
        columns = ("Site", "Read", *(rule.replace("_", " ") for rule in left), *parts, "With the outcome")
        return Table(caption="Records by site", columns=columns, rows=rows)

    def flow_figure(self) -> Figure | None:
        """From file to test part, of all sites the record counts; None where a count is withheld."""
        flows = list(self.record.flow.values())
        counts = [(f.read, f.train, f.calibration, f.test) for f in flows]
        if not flows or any(n is None for row in counts for n in row):
            return None
        out: dict[str, int] = {}
        for f in flows:
            for rule, n in (*f.skipped.items(), *f.excluded.items()):
                out[rule.replace("_", " ")] = out.get(rule.replace("_", " "), 0) + (n or 0)
        read, *kept = (sum(n or 0 for n in column) for column in zip(*counts, strict=True))
        parts = dict(zip(("train", "calibration", "test"), kept, strict=True))
        *others, last = ((f"in the {name} part", parts[part]) for part, name in self._parts.items())
        boxes = (("read", read), ("kept", sum(kept)), last)
        aside = [[(f"left out, {rule}", n) for rule, n in out.items()], others]
        whose = "all sites" if len(flows) > 1 else next(iter(self.record.flow))
        return figures.flow(f"Records of {whose}", boxes, aside)

    def missing(self) -> Figure | None:
        """Share of missing values by site and column, where any value is missing."""
        found = self.record.presence
        if found is None or any(v is None for row in found.missing.values() for v in row):
            return None
        sites = sorted(found.missing)
        kept = [j for j in range(len(found.features)) if any((found.missing[s][j] or 0) > 0 for s in sites)][:60]
        if not kept:
            return None
        values = [[found.missing[site][j] for site in sites] for j in kept]
        return figures.heat_map(
            "Missing values",
            [found.features[j] for j in kept],
            sites,
            values,
            sentence="Share of missing values of each column (row) at each site (column); darker is more.",
        )

    def presence_table(self) -> Table | None:
        """Present, sparse or absent, where exact shares are withheld."""
        found = self.record.presence
        if found is None or not found.word or self.missing() is not None:
            return None
        sites = sorted(found.word)
        rows = tuple(
            (feature, *(found.word[site][j] for site in sites))
            for j, feature in enumerate(found.features)
            if any(found.word[site][j] != "present" for site in sites)
        )
        return Table(caption="Columns with missing values", columns=("Column", *sites), rows=rows) if rows else None


def _path(flow: Flow, rule: str) -> str:
    return f"skipped/{rule}" if rule in flow.skipped else f"excluded/{rule}"


def _count(n: int | None, name: str, flow: Flow) -> str:
    if n is not None:
        return f"{n:,}"
    return ("withheld" if name == "read" else "<5") if name in flow.withheld else "–"


def _share(flow: Flow) -> str:
    kept = [flow.train, flow.calibration, flow.test]
    if flow.positive is None:
        return "withheld" if "positive" in flow.withheld else "–"
    if any(n is None for n in kept):
        return "withheld"
    total = sum(n or 0 for n in kept)
    return f"{flow.positive:,} ({100 * flow.positive / total:.0f} %)" if total else "–"
