"""The privacy section of the page: protection, budget, what left, attacks. Written for a data protection officer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cohortium.reports import figures
from cohortium.reports.drawing import Figure
from cohortium.reports.figures import Series
from cohortium.reports.glossary import in_order, label
from cohortium.reports.measure import Measure
from cohortium.reports.privacy import Attack, AuditRecord, EgressLine, PrivacyRecord
from cohortium.reports.sections import Table

__all__ = ["CONTENTS", "PrivacySections", "content_of"]

CONTENTS = {
    "offer updates": "digest of this site's arrays and, if they are small, the arrays: readable by the members",
    "offer keys": "public keys of the masks, signed",
    "offer shares": "shares of this site's mask keys, each sealed for one other site",
    "offer masked": "digest of this site's arrays under masks and, if small, these: random words to everybody",
    "offer unmask": "one share of each mask key, after the survivors were agreed",
    "offer promises": "digest of this site's share of the public key; how large the update's values are",
    "offer publics": "this site's share of the public key",
    "offer ciphertexts": "this site's update, encrypted under the key of all sites",
    "offer partials": "this site's part in opening the sum of all ciphertexts",
    "offer merge": "the merged model of the round, made by this site",
    "offer final": "the merged model that all have attested",
    "chunk": "a piece of a payload offered before",
    "need": "request for a payload",
    "step survivors": "which sites are in the sum",
    "progress": "stage and fraction of the running work, no count of patients",
    "trouble": "code of what keeps this site, no text",
    "result": "measures the study lets leave",
    "hello": "the study's digest",
    "bye": "this site is done or stopping",
    "ledger commit": "digest of the update, its weight, epsilon so far",
    "ledger spend": "budget record: events, epsilons, a random handle of the data version",
    "ledger record_data": "random handle of a data version",
    "ledger record_audit": "verdict and digest of this site's own attacks",
}
"""What stands in each kind of frame, in plain words."""

_METHODS = {
    "masks": "masks: only the sum of the survivors' updates can be opened",
    "threshold-ckks": "threshold encryption: a sum opens only with a part of every site that keeps to the rules",
    "none": "none: members can read each other's updates",
}
_ATTACKS = {
    "inversion": "Rows read out of an update",
    "updates": "Members told by losses of sent models",
    "model": "Members told by losses of the model",
    "one-run": "Epsilon shown, at least",
    "control": "Control: a model that learned by heart",
    "lira-offline": "Members told by LiRA, references without them",
    "lira-online": "Members told by LiRA, references with and without",
    "rmia": "Members told by relative gain (RMIA)",
    "prevalence": "Outcome share of a site told from the model",
}
_WORDS = {"pass": "✓ pass", "fail": "✗ fail", "inconclusive": "? inconclusive"}
_MANY_ROUNDS = 12


def content_of(kind: str, what: str) -> str:
    """What stands in frames of this kind; empty for one without an entry."""
    return CONTENTS.get(
        f"{kind} {what}".strip(), CONTENTS.get(kind, "a call of the contract" if kind == "ledger" else "")
    )


@dataclass(frozen=True)
class PrivacySections:
    """One run's privacy, table by table; each is None where there is nothing to show."""

    record: PrivacyRecord
    sites: tuple[str, ...]

    def facts(self) -> list[tuple[str, str]]:
        """Protection in a few lines."""
        found = self.record
        lines = [("Aggregation", _METHODS.get(found.method, found.method))]
        if found.method == "masks":
            lines += [
                ("Withstands", f"{found.colluders} of {len(self.sites)} sites that conspire, the leader among them"),
                ("Words", f"{found.word_bits} bits for each number"),
            ]
        lines.append(("Patients", self._promise()))
        lines.append(("Randomness of keys, masks and noise", found.noise))
        return lines

    def _promise(self) -> str:
        """What is promised of the training, and what it came to with an audit of the data before it."""
        audited = [one.total for one in self.record.spending if one.parts]
        together = (
            f"; with the audit of the data, a site has spent at most epsilon {max(audited):.3f}" if audited else ""
        )
        return self._of_training(named=bool(audited)) + together

    def _of_training(self, *, named: bool) -> str:
        promise = self.record.promise
        if promise is None:
            kept = "no formal guarantee in the training" if named else "no formal guarantee"
            return f"{kept}: masks hide sites, not patients" if self.record.method == "masks" else kept
        simulated = "" if self.record.noise == "operating system" else "simulated: "
        return (
            f"{simulated}epsilon {promise.epsilon:g} at delta {promise.delta:g} for one {promise.unit}, mode"
            f" {promise.mode}: noise multiplier {promise.noise_multiplier:g}, sampling {promise.sample_rate:g},"
            f" clipping norm {promise.clipping_norm:g}, {promise.steps} steps"
        )

    def survivors(self) -> Table | None:
        """Who is in each sum."""
        if not self.record.rounds:
            return None
        rows = tuple(
            (
                str(one.round),
                f"{len(one.survivors)} of {len(self.sites)}",
                ", ".join(sorted(set(self.sites) - set(one.survivors))) or "nobody",
                str(one.frozen),
                str(one.threshold),
            )
            for one in self.record.rounds
        )
        columns = ("Round", "In the sum", "Not in it", "Had committed", "Agreeing sites needed")
        return Table(caption="Survivors of each round", columns=columns, rows=rows)

    @property
    def many_rounds(self) -> bool:
        """Whether the survivors are better folded away."""
        return len(self.record.rounds) > _MANY_ROUNDS

    def changes(self) -> list[str]:
        """Rounds whose sums differ by one site: without noise their difference is that site's update."""
        if self.record.method != "masks" or self.record.promise is not None:
            return []
        found = []
        for before, after in zip(self.record.rounds, self.record.rounds[1:], strict=False):
            apart = set(before.survivors) ^ set(after.survivors)
            if len(apart) == 1:
                found.append(f"round {after.round} and round {before.round} differ by {apart.pop()}")
        return found

    def spending(self) -> Table | None:
        """Epsilons of each site beside its budget."""
        if not self.record.spending:
            return None
        found = self.record.spending
        parts = list(dict.fromkeys(part.what for one in found for part in one.parts))
        rows = tuple(
            (
                one.site,
                f"{one.outsiders:.3f}",
                f"{one.colluders:.3f}",
                f"{one.alone:.3f}",
                *(next((f"{part.epsilon:.3f}" for part in one.parts if part.what == what), "-") for what in parts),
                f"{one.total:.3f}",
                f"{one.cap:g}",
                str(one.rounds),
            )
            for one in found
        )
        columns = (
            "Site",
            "Against outsiders",
            "Against leader and colluders",
            "If all others conspire",
            *(f"Of it {what}" for what in parts),
            "All studies",
            "Site's cap",
            "Rounds paid",
        )
        deltas = " to ".join(f"{delta:g}" for delta in sorted({f(one.delta for one in found) for f in (min, max)}))
        return Table(caption=f"Epsilon spent, at delta {deltas}, composed from the ledger", columns=columns, rows=rows)

    @property
    def chains(self) -> str:
        """The files in which this spending stands."""
        audited = any(one.parts for one in self.record.spending)
        return "audit-1.jsonl ledger.jsonl" if audited else "ledger.jsonl"

    def history(self) -> Figure | None:
        """Total after each paid round, beside the smallest cap."""
        held = [one for one in self.record.spending if one.history]
        if not held:
            return None
        series = []
        for style, history in enumerate(dict.fromkeys(one.history for one in held)):
            names = [one.site for one in held if one.history == history]
            name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
            series.append(Series(name=name, x=list(range(1, len(history) + 1)), y=list(history), style=style % 7))
        return figures.lines("Budget history", series, x_label="paid round", y_label="epsilon, all studies")

    def egress(self) -> Table | None:
        """What left all sites, by kind."""
        kinds: dict[tuple[str, str], list[EgressLine]] = {}
        for line in self.record.egress:
            kinds.setdefault((line.kind, line.what), []).append(line)
        rows = tuple(
            (
                f"{kind} {what}".strip(),
                content_of(kind, what),
                str(len(lines)),
                f"{sum(line.frames for line in lines):,}",
                f"{sum(line.bytes for line in lines):,}",
            )
            for (kind, what), lines in sorted(kinds.items())
        )
        columns = ("Message", "Holds", "Sites that sent it", "Frames", "Bytes")
        return Table(caption="Everything that left, by kind", columns=columns, rows=rows) if rows else None

    def egress_by_site(self) -> Table | None:
        """The same for each site, with the digest of its frames."""
        rows = tuple(
            (
                one.site,
                f"{one.kind} {one.what}".strip(),
                str(one.receivers),
                f"{one.frames:,}",
                f"{one.bytes:,}",
                one.digest[:16],
            )
            for one in self.record.egress
        )
        columns = ("Site", "Message", "Receivers", "Frames", "Bytes", "Digest")
        return Table(caption="Everything that left, site by site", columns=columns, rows=rows) if rows else None

    def attacks(self) -> Table | None:
        """Attacks on the model of all sites together."""
        return self._attacks("Attacks on the model", [a for a in self._all() if not a.site])

    def of_attacks(self, audit: AuditRecord) -> Table | None:
        """Any audit's attacks on the model of all sites, and what it tells about one."""
        return self._attacks("Attacks on the model", [a for a in audit.attacks if not a.site or a.name == "prevalence"])

    def price(self, private: Mapping[str, Measure], plain: Mapping[str, Measure]) -> Table | None:
        """Measures of a private study beside those of the run without noise, on the same test patients."""
        names = [name for name in in_order(private) if name in plain]
        rows = tuple((label(name), private[name].text(), plain[name].text()) for name in names)
        caption = "What privacy costs here: all test patients, 95 % intervals"
        return Table(caption=caption, columns=("", "Private study", "This run"), rows=rows) if rows else None

    def attacks_by_site(self) -> Table | None:
        """The same at each site."""
        return self._attacks("Attacks at each site", [a for a in self._all() if a.site])

    def _all(self) -> tuple[Attack, ...]:
        return self.record.audit.attacks if self.record.audit is not None else ()

    def _attacks(self, caption: str, attacks: list[Attack]) -> Table | None:
        rows = tuple(
            (
                (f"{one.site}: " if one.site else "") + _ATTACKS.get(one.name, one.name),
                str(one.tier),
                "–" if one.figure is None else one.figure.text(),
                "–" if one.guessing is None else f"{one.guessing:g}",
                _WORDS[one.verdict],
                one.reason + (f"; about {one.needed:,} patients would decide" if one.needed else ""),
            )
            for one in attacks
        )
        columns = ("Attack", "Tier", "Figure", "Guessing", "Verdict", "Why")
        return Table(caption=caption, columns=columns, rows=rows) if rows else None
