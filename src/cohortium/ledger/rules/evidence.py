"""What is put on record: proofs of equivocation, harm verdicts and appeals, budgets, leakage audits."""

from __future__ import annotations

from cohortium.core.identity import keccak, message_digest
from cohortium.errors import SignatureError
from cohortium.ledger.rules.case import Case
from cohortium.ledger.rules.members import exclude
from cohortium.ledger.rules.state import Standing, key_of
from cohortium.ledger.rules.words import (
    DECIDED,
    ELIMINATE,
    FINISHED,
    HARM,
    INCONCLUSIVE,
    KEEP_SHIFTED,
    MAX_APPEALS,
    QUARANTINE,
    RUNNING,
)

__all__ = ["appeal", "record_audit", "record_harm", "report_equivocation", "slot_digest", "spend"]

_ZERO = bytes(32)


def slot_digest(contract: bytes, chain_id: int, run: int, round: int, term: int, kind: int, digest: bytes) -> bytes:
    """What a site signs (as a message) for one slot: keccak(abi(contract, chain id, run, round, term, kind, digest)).

    kind 1: a merge, term = the leader's term; 2: a survivor bitmap, term = attempt * 2^32 + inner step;
    3: the public part of dealt shares, term = attempt. One site signs one digest in one slot, ever.
    """
    words = (chain_id, run, round, term, kind)
    return keccak(bytes(12) + contract + b"".join([word.to_bytes(32, "big") for word in words]) + digest)


def report_equivocation(
    case: Case, run: int, round: int, term: int, kind: int, h1: bytes, s1: bytes, h2: bytes, s2: bytes
) -> None:
    """Two digests, one signer, one slot of this very contract: excluded without a vote."""
    case.me()
    case.require(h1 != h2, "same")
    case.code(kind)
    signer, other = [
        _signer(case, slot_digest(case.state.contract, case.state.chain_id, run, round, term, kind, digest), signature)
        for digest, signature in ((h1, s1), (h2, s2))
    ]
    case.require(signer == other, "signature")
    liar = case.seated(case.state.get("slots", signer), "subject")
    site = case.member(liar).name
    case.say("Equivocated", run=run, round=round, term=term, kind=kind, site=site, h1=h1, h2=h2)
    exclude(case, liar)


def record_harm(case: Case, run: int, round: int, site: str, verdict: int, evidence: bytes) -> None:
    """One site's verdict about another: 1 keep, 2 keep-shifted, 3 repair, 4 quarantine, 5 eliminate, 6 inconclusive.
    Equal records of more than half of the live sites make it stand."""
    index = case.live(run)
    case.require(case.run(run).state in (RUNNING, FINISHED), "phase")
    case.require(0 < round <= case.round(run).number, "phase")
    subject = case.subject(run, site)
    case.require(subject != index, "subject")
    case.require(0 < verdict <= INCONCLUSIVE and evidence != _ZERO, "value")
    slot = case.state.get("joiners", (run, subject))
    before: Standing = case.state.get("standings", slot)
    if verdict == ELIMINATE:
        case.require(before.verdict in (QUARANTINE, ELIMINATE), "verdict")
        case.require(before.appeal == 0, "appealed")
    given = key_of(HARM, run, round, subject, _ZERO)
    tally = keccak(given + verdict.to_bytes(32, "big") + evidence)
    fresh = case.cast(given, index)
    case.require(case.cast(tally, index) == fresh, "once")
    count = (case.ballots(tally) & case.run(run).live).bit_count()
    stands = count >= case.majority(run) and not case.decided(given)
    case.require(fresh or stands, "once")
    author = case.name(run, index)
    case.say("HarmRecorded", run=run, round=round, subject=site, site=author, verdict=verdict, evidence=evidence)
    if stands:
        case.cast(given, DECIDED)
        lost = before.lost + (before.appeal != 0 and _guilty(verdict))
        case.state.put("standings", slot, Standing(verdict, run, round, evidence, 0, lost))
        case.say("HarmVerdict", run=run, round=round, subject=site, verdict=verdict, evidence=evidence)


def appeal(case: Case, run: int, code: int) -> None:
    """Against the verdict that run gave: 1 coding-confirmed, 2 population-differs, 3 device-differs, 4 repaired,
    5 error. Nothing is eliminated while an appeal is open; the next verdict answers it."""
    me = case.me()
    case.known(run)
    standing: Standing = case.state.get("standings", me)
    case.require(standing.run == run and _guilty(standing.verdict), "verdict")
    case.require(0 < code <= 5, "value")
    case.require(standing.appeal == 0, "once")
    case.require(standing.lost < MAX_APPEALS, "appeals")
    case.state.change("standings", me, appeal=code)
    case.say("Appealed", run=run, site=case.member(me).name, code=code, lost=standing.lost)


def spend(case: Case, run: int, round: int, dataset: bytes, record: bytes, eps_micro: int) -> None:
    """A budget record of the sender's own data: reserved, or spent."""
    index = case.joiner(run)
    case.require(round <= case.round(run).number + 1, "phase")
    case.require(dataset != _ZERO and len(record) != 0, "value")
    case.require(eps_micro <= case.plan(run).budget, "budget")
    site = case.name(run, index)
    case.say("Spent", run=run, round=round, site=site, dataset=dataset, record=record, eps_micro=eps_micro)


def record_audit(case: Case, run: int, tier: int, verdict: int, digest: bytes) -> None:
    """Outcome of a leakage audit, tier 0 to 2: 1 pass, 2 fail, 3 inconclusive."""
    index = case.joiner(run)
    case.require(case.run(run).state >= RUNNING, "phase")
    case.require(tier <= 2 and 0 < verdict <= 3 and digest != _ZERO, "value")
    case.say("Audited", run=run, site=case.name(run, index), tier=tier, verdict=verdict, digest=digest)


def _guilty(verdict: int) -> bool:
    """A verdict that changes what a site may contribute: repair, quarantine, eliminate."""
    return KEEP_SHIFTED < verdict < INCONCLUSIVE


def _signer(case: Case, digest: bytes, signature: bytes) -> bytes:
    """Who signed; any non-canonical signature counts as none."""
    try:
        return case.recover(message_digest(digest), signature)
    except (SignatureError, ValueError):
        case.refuse("signature")
