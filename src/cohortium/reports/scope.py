"""Who may see what of a record: `site` shows everything, `consortium` pseudonyms and no small count.

With `site="porto"` the scope `site` shows porto in full and the others as the consortium sees them.

For others: site names become pseudonyms in an order nobody can derive without the full record; counts of 1 to 4
go, and what would reveal them; a site with fewer than 50 training records or 10 of a class keeps its own figures at
home; shares whose table of hits and misses holds a small cell are withheld together with the shares of the same
table; curves in bins, isotonic steps and exact missing shares go. Sentences of checks and notes are kept with
names replaced: whoever writes them keeps small counts out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

from cohortium.core.check import Check
from cohortium.errors import UsageError
from cohortium.reports.comparison import Comparison, Gain, SiteComparison, summarise
from cohortium.reports.fairness import Gap, Subgroup
from cohortium.reports.measure import Measure
from cohortium.reports.privacy import Attack, PrivacyRecord, PrivateStudy
from cohortium.reports.quality import QualityRecord, SiteVerdict
from cohortium.reports.record import Flow, Measures, Results, RoundRecord, RunRecord, SiteCalibration
from cohortium.reports.site_matrix import Cell, SiteMatrix
from cohortium.reports.suppression import complement, tell, too_small, withhold_sum

__all__ = ["FULL_CLASS", "FULL_RECORDS", "Scope", "scoped"]

Scope = Literal["site", "consortium"]
FULL_RECORDS, FULL_CLASS = 50, 10
SHARES = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1")
WITHHELD = "withheld: small numbers"

T = TypeVar("T")


def scoped(record: RunRecord, scope: Scope, *, site: str | None = None) -> RunRecord:
    """The record as a reader of that scope may see it. Raises UsageError for an unknown scope or site."""
    if scope not in ("site", "consortium"):
        raise UsageError(f"unknown scope {scope!r}; available: consortium, site")
    if site is not None and site not in record.sites:
        raise UsageError(f"unknown site {site!r}; the run has: {', '.join(record.sites)}")
    if scope == "site" and site is None:
        return record
    own = {site} if scope == "site" and site is not None else set()
    return _View(record, own).record()


@dataclass(frozen=True)
class _View:
    """One reader's view: `own` sites stay as they are."""

    whole: RunRecord
    own: set[str]

    def record(self) -> RunRecord:
        whole = self.whole
        return replace(
            whole,
            status=self.text(whole.status),
            sites=self.several(whole.sites),
            included=tuple(self.several(names) for names in whole.included),
            test=self.results(whole.test),
            study=self.tree(whole.study),
            command=self.text(whole.command),
            ledger=replace(whole.ledger, members=self.members(), verify=self.text(whole.ledger.verify)),
            rounds=tuple(self.round(one) for one in whole.rounds),
            flow=self.keyed(whole.flow, lambda site, flow: flow if site in self.own else _flow(flow)),
            presence=self.presence(),
            comparison=None if whole.comparison is None else self.comparison(whole.comparison),
            matrix=None if whole.matrix is None else self.matrix(whole.matrix),
            calibration=self.keyed(
                {s: c for s, c in whole.calibration.items() if s not in self.hidden},
                lambda site, found: found if site in self.own else self.calibrated(site, found),
            ),
            curves=tuple(replace(c, at_risk=tuple(tell(n) for n in c.at_risk)) for c in whole.curves),
            subgroups=(told := _subgroups(whole.subgroups)),
            gaps=tuple(gap for gap in whole.gaps if _both_told(gap, told)),
            shared=self.keyed(whole.shared, lambda _, told: replace(told, missing=self.text(told.missing))),
            checks=tuple(self.check(check) for check in whole.checks),
            quality=None if whole.quality is None else self.quality(whole.quality),
            privacy=None if whole.privacy is None else self.privacy(whole.privacy),
            private_study=None if whole.private_study is None else self.private_study(whole.private_study),
            notes=tuple(self.text(note) for note in whole.notes),
            timings=replace(
                whole.timings,
                spans=tuple(
                    sorted(
                        (replace(span, site=self.name(span.site)) for span in whole.timings.spans),
                        key=lambda span: (span.start_s, span.site, span.round, span.stage),
                    )
                ),
            ),
        )

    @cached_property
    def names(self) -> dict[str, str]:
        """Real name -> pseudonym, ordered by a hash under the digest of the full record, which stays inside."""
        key = self.whole.digest
        others = [name for name in self.whole.sites if name not in self.own]
        others.sort(key=lambda name: hashlib.sha256(f"{key}/{name}".encode()).digest())
        prefix = "site-"
        while any(name.startswith(prefix) for name in self.own):
            prefix = f"other-{prefix}"
        return {name: f"{prefix}{i:02d}" for i, name in enumerate(others, start=1)}

    @cached_property
    def hidden(self) -> set[str]:
        """Sites whose own figures stay at home: small ones, and never exactly one."""
        small = {site for site, flow in self.whole.flow.items() if site not in self.own and _small(flow)}
        sizes = {site: flow.train for site, flow in self.whole.flow.items() if site not in self.own}
        return complement(small, sizes)

    @cached_property
    def shares_hidden(self) -> set[str]:
        """Sites whose shares at a threshold are withheld, `hidden` among them; never exactly one."""
        tables = {
            site: [*models.values(), *([found.before, found.after] if (found := self._calibration(site)) else [])]
            for site, models in self.whole.test.per_site.items()
            if site not in self.own
        }
        small = {site for site, held in tables.items() if any(_small_table(measures) for measures in held)}
        sizes = {site: flow.train for site, flow in self.whole.flow.items() if site not in self.own}
        return complement(small | self.hidden, sizes)

    def _calibration(self, site: str) -> SiteCalibration | None:
        return self.whole.calibration.get(site)

    def name(self, site: str) -> str:
        return self.names.get(site, site)

    def several(self, sites: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(self.name(site) for site in sites))

    def keyed(self, held: Mapping[str, T], change: Callable[[str, T], T]) -> dict[str, T]:
        return {self.name(site): change(site, value) for site, value in held.items()}

    def text(self, words: str) -> str:
        """The sentence with whole site names replaced."""
        names = self.names
        if not names:
            return words
        pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return re.sub(rf"(?<![a-z0-9-])(?:{pattern})(?![a-z0-9-])", lambda found: names[found[0]], words)

    def tree(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.tree(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(inner) for inner in value]
        return self.text(value) if isinstance(value, str) else value

    def members(self) -> tuple[Any, ...]:
        found = [
            member if member.site in self.own else replace(member, site=self.name(member.site), account="")
            for member in self.whole.ledger.members
        ]
        return tuple(sorted(found, key=lambda member: member.site))

    def check(self, check: Check) -> Check:
        return replace(check, found=self.text(check.found), fix=self.text(check.fix))

    def round(self, one: RoundRecord) -> RoundRecord:
        seen = {site: metrics for site, metrics in one.per_site.items() if site not in self.hidden}
        return replace(
            one,
            leader=self.name(one.leader),
            contributors=self.several(one.contributors),
            missing={self.name(site): self.text(why) for site, why in one.missing.items()},
            per_site={self.name(site): metrics for site, metrics in seen.items()},
        )

    def results(self, test: Results) -> Results:
        return replace(
            test,
            single=self.keyed(test.single, self.measures),
            per_site=self.keyed(
                test.per_site, lambda site, models: {model: self.measures(site, m) for model, m in models.items()}
            ),
        )

    def measures(self, site: str, measures: Measures) -> Measures:
        """One site's measures: none of a hidden site, no shares where a table holds a small cell."""
        if site in self.own:
            return measures
        gone = set(measures) if site in self.hidden else set(SHARES) if site in self.shares_hidden else set()
        return {name: _gone() if name in gone else _told(measure) for name, measure in measures.items()}

    def calibrated(self, site: str, found: SiteCalibration) -> SiteCalibration:
        return replace(
            found,
            recalibration=replace(found.recalibration, knots=(), n=tell(found.recalibration.n) or 0),
            threshold=replace(found.threshold, n=tell(found.threshold.n) or 0),
            before=self.measures(site, found.before),
            after=self.measures(site, found.after),
            bins_before=(),
            bins_after=(),
        )

    def quality(self, held: QualityRecord) -> QualityRecord:
        """Names replaced; sentences and counts with a small number in them stay at their site."""
        flagged = self.keyed(held.records_flagged, lambda site, n: n if site in self.own else tell(n))
        effects = (
            replace(one, without=_gone(), under=_gone(), difference=None)
            if too_small(one.under.n) or too_small(one.without.n)
            else one
            for one in held.effects
        )
        return replace(
            held,
            why=self.text(held.why),
            sites=self.keyed(held.sites, self.verdict),
            records_flagged=flagged,
            repaired=self.keyed(held.repaired, lambda _, name: name),
            again=self.keyed(held.again, self.verdict),
            left_out=self.several(held.left_out),
            effects=tuple(effects),
            trial=None if held.trial is None else replace(held.trial, sites=self.several(held.trial.sites)),
        )

    def verdict(self, site: str, one: SiteVerdict) -> SiteVerdict:
        if site in self.own:
            return one
        reason, question = (
            "the figures stay at the site" if _few_inside(words) else self.text(words)
            for words in (one.reason, one.question)
        )
        return replace(one, reason=reason, question=question)

    def privacy(self, held: PrivacyRecord) -> PrivacyRecord:
        """Names replaced; what a site's own attacks found stays there, but for the verdict."""
        audit = held.audit
        return replace(
            held,
            rounds=tuple(replace(one, survivors=self.several(one.survivors)) for one in held.rounds),
            spending=self._renamed(held.spending),
            egress=self._renamed(held.egress),
            audit=audit and replace(audit, attacks=tuple(self.attack(one) for one in audit.attacks)),
        )

    def private_study(self, held: PrivateStudy) -> PrivateStudy:
        """As the run's own privacy; its measures are over all sites."""
        return replace(
            held,
            status=self.text(held.status),
            privacy=self.privacy(held.privacy),
            test={name: _told(measure) for name, measure in held.test.items()},
            notes=tuple(self.text(note) for note in held.notes),
        )

    def attack(self, one: Attack) -> Attack:
        if not one.site or one.site in self.own:
            return one
        return replace(one, site=self.name(one.site), figure=None, reason="figures stay at the site", needed=None)

    def _renamed(self, lines: tuple[T, ...]) -> tuple[T, ...]:
        """Lines about sites under the names this reader sees, in the order of these."""
        renamed = [replace(line, site=self.name(line.site)) for line in lines]  # type: ignore[type-var, attr-defined]
        return tuple(sorted(renamed, key=lambda line: line.site))  # type: ignore[attr-defined]

    def presence(self) -> Any:
        held = self.whole.presence
        if held is None:
            return None
        missing = self.keyed(held.missing, lambda site, row: row if site in self.own else (None,) * len(row))
        return replace(held, missing=missing, word=self.keyed(held.word, lambda _, row: row))

    def comparison(self, held: Comparison) -> Comparison:
        # means over the sites that are shown: one over all would give a hidden site back if the others add up
        return summarise(sorted((self.compared(row) for row in held.sites), key=lambda row: row.site), held.measure)

    def compared(self, row: SiteComparison) -> SiteComparison:
        if row.site in self.own:
            return row
        flow = self.whole.flow.get(row.site)
        hidden = row.site in self.hidden
        shares = set(SHARES) if row.site in self.shares_hidden else set()
        nothing = Gain(value=None, reason=WITHHELD)
        gains = {name: nothing if hidden or name in shares else gain for name, gain in row.gains.items()}

        def told(measure: Measure) -> Measure:
            return _gone() if hidden else _told(measure)

        row = replace(
            row,
            site=self.name(row.site),
            n_train=tell(row.n_train),
            n_test=tell(row.n_test) if flow is None or not too_small(flow.test) else None,
            own=told(row.own),
            swarm=told(row.swarm),
            pooled=told(row.pooled),
            without=told(row.without),
            gains=gains,
        )
        if self.hidden:  # a mean over other sites, minus those shown, could be one hidden site's figure
            row = replace(row, own_elsewhere=None, swarm_elsewhere=None)
        if not hidden:
            return row
        return replace(row, verdict="not judged", why=WITHHELD)

    def matrix(self, held: SiteMatrix) -> SiteMatrix:
        columns = sorted(range(len(held.sites)), key=lambda j: self.name(held.sites[j]))
        models = [self.model(model) for model in held.models]
        own_rows = sorted((i for i in range(len(models)) if models[i].startswith("own/")), key=lambda i: models[i])
        order = own_rows + [i for i in range(len(models)) if not models[i].startswith("own/")]

        def cell(i: int, j: int) -> Cell:
            involved = {held.sites[j], held.models[i].removeprefix("own/")}
            found = held.cells[i][j]
            if involved & self.hidden:
                return Cell(value=None, n=None, reason=WITHHELD)
            return replace(found, n=tell(found.n))

        return replace(
            held,
            models=tuple(models[i] for i in order),
            sites=tuple(self.name(held.sites[j]) for j in columns),
            cells=tuple(tuple(cell(i, j) for j in columns) for i in order),
        )

    def model(self, model: str) -> str:
        kind, slash, site = model.partition("/")
        return f"{kind}/{self.name(site)}" if slash else model


def _small(flow: Flow) -> bool:
    kept = (flow.train or 0) + (flow.calibration or 0) + (flow.test or 0)
    few = flow.positive is not None and min(flow.positive, kept - flow.positive) < FULL_CLASS
    return (flow.train or 0) < FULL_RECORDS or few


def _small_table(measures: Measures) -> bool:
    """Whether hits or misses behind any share are 1 to 4."""
    for name in SHARES[:-1]:
        held = measures.get(name)
        if held is not None and held.value is not None and held.n:
            hits = round(held.value * held.n)
            if too_small(hits) or too_small(held.n - hits):
                return True
    return False


def _few_inside(sentence: str) -> bool:
    """Whether a sentence holds a count of 1 to 4."""
    return any(too_small(int(n)) for n in re.findall(r"(?<![\d.])\d+(?![\d.]*\d)", sentence))


def _gone() -> Measure:
    return Measure(value=None, n=None, reason=WITHHELD)


def _told(measure: Measure) -> Measure:
    return replace(measure, n=None, reason=WITHHELD) if too_small(measure.n) else measure


def _flow(flow: Flow) -> Flow:
    groups = {"skipped": flow.skipped, "excluded": flow.excluded}
    parts: dict[str, int | None] = {name: getattr(flow, name) for name in ("train", "calibration", "test")}
    parts |= {f"{group}/{rule}": n for group, held in groups.items() for rule, n in held.items()}
    read, told = withhold_sum(flow.read, parts)
    kept = sum(getattr(flow, name) or 0 for name in ("train", "calibration", "test"))
    positive = flow.positive
    if positive is not None and (too_small(positive) or too_small(kept - positive)):
        positive = None
    gone = [name for name, n in told.items() if n is None and parts[name] is not None]
    gone += ["read"] if read is None and flow.read is not None else []
    gone += ["positive"] if positive is None and flow.positive is not None else []
    return Flow(
        read=read,
        train=told["train"],
        calibration=told["calibration"],
        test=told["test"],
        skipped={rule: told[f"skipped/{rule}"] for rule in flow.skipped},
        excluded={rule: told[f"excluded/{rule}"] for rule in flow.excluded},
        blanked={rule: tell(n) for rule, n in flow.blanked.items()},
        positive=positive,
        withheld=tuple(sorted(gone)),
    )


def _subgroups(groups: tuple[Subgroup, ...]) -> tuple[Subgroup, ...]:
    told = []
    for attribute in dict.fromkeys(group.attribute for group in groups):
        held = [group for group in groups if group.attribute == attribute]
        sizes = {group.level: group.n for group in held}
        hidden = complement({level for level, n in sizes.items() if too_small(n)}, sizes)
        for group in held:
            positive = None if group.share is None or group.n is None else round(group.share * group.n)
            few = positive is not None and (too_small(positive) or too_small((group.n or 0) - positive))
            gone = group.level in hidden
            measures = {n: _gone() if gone or _small_table({n: m}) else m for n, m in group.measures.items()}
            told.append(
                replace(
                    group,
                    n=None if gone else group.n,
                    share=None if gone or few else group.share,
                    measures=measures,
                    gain=_gone() if gone else group.gain,
                )
            )
    return tuple(told)


def _both_told(gap: Gap, told: tuple[Subgroup, ...]) -> bool:
    """Whether the figures of both groups are told: a gap beside one of them would give the other."""
    ends = [group for group in told if group.attribute == gap.attribute and group.level in (gap.higher, gap.lower)]
    return all(group.measures[gap.measure].value is not None for group in ends)
