"""From the evidence of all sites to their verdicts: pure, and the same bytes at every node.

Works on evidence rounded to 1e-6 and sorted by site, so neither the order of arrival nor noise in a last digit can
change a verdict. Design: harmful-data.md 5.5 and 8 (the sentences).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from cohortium.core.verdicts import Channel, Evidence, Status, Verdict
from cohortium.quality.evidence import SiteEvidence, posterior
from cohortium.quality.power import needed_records
from cohortium.quality.protection import LOOKS_NEW, protects, question

__all__ = ["Rules", "Table", "decide", "digest_of"]

_LOOK = 0.5
_MICRO = 1_000_000
_NEW = " and the records look unlike those of other sites"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the study says. convict: posterior for action; one_class_unconfirmed: until a question is answered."""

    convict: float = 0.95
    one_class_unconfirmed: Literal["keep", "quarantine"] = "keep"


@dataclass(frozen=True, kw_only=True)
class Table:
    """The verdicts of one audit, sorted by site. auroc, slope: of the out-of-bag scores, what 5.4 asks for."""

    status: Status
    auroc: float
    slope: float
    verdicts: tuple[Verdict, ...]

    def canonical(self) -> bytes:
        """Canonical JSON; numbers as whole millionths."""
        rows = [{**asdict(one), "posterior": round(one.posterior * _MICRO)} for one in self.verdicts]
        whole = {"status": self.status, "auroc": round(self.auroc * _MICRO), "slope": round(self.slope * _MICRO)}
        content = {**whole, "verdicts": rows}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @property
    def digest(self) -> bytes:
        """SHA-256 of `canonical()`: what a node posts (32 bytes)."""
        return digest_of(self.canonical())


def digest_of(canonical: bytes) -> bytes:
    """The digest of a table's canonical JSON."""
    return hashlib.sha256(b"cohortium-verdicts-1" + canonical).digest()


def decide(
    evidence: Sequence[Evidence], *, sites: Sequence[str], status: Status, auroc: float, slope: float, rules: Rules
) -> Table:
    """A verdict for every site of the consortium; those without evidence have too few records and are kept.

    status: `inconclusive` where labels may not be judged; then everybody is kept, and novelty only asks for a look.
    """
    known = {one.site: _rounded(one) for one in evidence}
    auroc, slope = round(auroc, 6), round(slope, 6)
    verdicts = []
    for site in sorted(sites):
        if status == "inconclusive":
            verdicts.append(_silent(site, known.get(site), auroc=auroc))
        elif site not in known:
            verdicts.append(_too_few(site, auroc))
        else:
            found = _judge(known[site], others=len(sites) - 1, rules=rules)
            verdicts.append(replace(found, to_sign=known[site].at_stake and found.left_out))
    return Table(status=status, auroc=auroc, slope=slope, verdicts=tuple(verdicts))


def _rounded(one: Evidence) -> Evidence:
    names = ("sound", "reversed", "shifted", "novelty", "auroc", "ranking", "shortfall")
    return replace(one, **{name: round(getattr(one, name), 6) for name in names})


def _judge(one: Evidence, *, others: int, rules: Rules) -> Verdict:
    told = SiteEvidence(n=0, two_class=one.two_class, sound=one.sound, reversed=one.reversed, shifted=one.shifted,
                        novelty=one.novelty)  # fmt: skip
    harmful = round(posterior(told), 6)
    channel = _channel(one)
    protected = harmful > _LOOK and protects(one.ranking, one.shortfall, novelty=one.novelty, two_class=one.two_class)
    if protected:
        harmful, channel = 0.0, "shifted"
    reason = _shifted_reason(one) if protected else _reason(one, channel if harmful > _LOOK else "sound", others)
    look = _LOOK < harmful <= rules.convict or one.novelty >= LOOKS_NEW
    certain = harmful > rules.convict and (one.two_class or one.novelty >= LOOKS_NEW)
    found = Verdict(site=one.site, kind="keep", posterior=harmful, channel=channel, reason=reason)
    if one.repair:
        return replace(found, kind="repair", repair=one.repair, gain=one.gain, look=look, left_out=certain)
    if certain:
        return replace(found, kind="quarantine", left_out=True)
    if not one.two_class and max(harmful, posterior(told, allow_shift=False)) > rules.convict:
        asked = question(one.n, majority=one.majority)
        if rules.one_class_unconfirmed == "quarantine":
            return replace(found, kind="quarantine", question=asked, left_out=True)
        return replace(found, question=asked, look=look)
    if protected:
        return replace(found, kind="keep-shifted", look=look)
    return replace(found, look=look)


def _channel(one: Evidence) -> Channel:
    """The hypothesis that explains the labels best."""
    explained: dict[Channel, float] = {
        "sound": one.sound, "reversed": one.reversed, "unrelated": one.novelty,
        **({} if one.two_class else {"shifted": one.shifted}),
    }  # fmt: skip
    return max(explained, key=explained.__getitem__)


def _reason(one: Evidence, channel: Channel, others: int) -> str:
    by = f"the model of the other {others} sites"
    new = _NEW if one.novelty >= LOOKS_NEW else ""
    if channel == "reversed":
        return f"labels look reversed: {by} contradicts {one.contradicted} of {one.n} records{new}"
    if channel == "unrelated":
        return f"labels look unrelated to the patients: {by} contradicts {one.contradicted} of {one.n} records{new}"
    return f"labels agree with {by} in {one.n - one.contradicted} of {one.n} records{new}"


def _shifted_reason(one: Evidence) -> str:
    told = f"AUROC {_two(one.auroc)}, 90 % sure above .5"
    return f"different, not harmful: your patients are still ranked rightly ({told})"


def _too_few(site: str, auroc: float) -> Verdict:
    reason = f"too few records to judge: fewer than 5, needed about {needed_records(auroc)}"
    return Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=reason)


def _silent(site: str, one: Evidence | None, *, auroc: float) -> Verdict:
    new = one is not None and one.novelty >= LOOKS_NEW
    more = "; the records look unlike those of other sites" if new else ""
    reason = f"the models of the other sites rank patients too weakly to judge labels (AUROC {_two(auroc)}){more}"
    return Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=reason, look=new)


def _two(value: float) -> str:
    """A share with two decimals and no leading zero."""
    return f"{value:.2f}".removeprefix("0")
