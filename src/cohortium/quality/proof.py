"""What proves an audit's table without a node: rows, roots and salts as sites committed them, and the check of it.

    told = proof_of(auditor, state, rules=rules)           # a part of `evidence.json`
    faults(told, ledger)                                   # sentences; none where all of it holds

Every site commits its answer on the ledger before it can see those of others. The answers of two exchanges are public,
the root of its records' scores and its row of evidence, and the merged state keeps their salts: whoever has them and
the ledger makes each commitment again. The verdicts then follow from the rows by `decide` and `doubts`, the status from
AUROC and slope. What stands in the sums themselves (these two, sums of halves, influence) is believed as far as the
ledger's votes for this very table go; the rules are compared with a study by who has it. Pure.
Design: harmful-data.md 5.9 (a).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.frames import pack
from cohortium.core.marks import lot_of
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import VERDICTS, Evidence
from cohortium.quality.binding import ROOT_WORDS
from cohortium.quality.calibrate import must_be_silent
from cohortium.quality.decide import Rules, Table, decide, digest_of
from cohortium.quality.doubts import by_halves, influence, with_doubts
from cohortium.quality.halves import MAX_DRAWS, halves_drawn
from cohortium.quality.rows import FIELDS, row_of
from cohortium.quality.stages import Auditor, Where

__all__ = ["Recorded", "drawing_of", "faults", "is_drawn_by", "proof_of"]

Integers = NDArray[np.int64]

_WHAT = {"roots": "the root of its scores", "table": "its row of evidence"}


def drawing_of(auditor: Auditor, state: Parameters) -> dict[str, Any]:
    """What `evidence.json` says of the draw; members of the last pass's halves by name."""
    sites, where = auditor.plan.sites, Where.read(state)
    member = np.asarray(state[f"pass-{where.number}/member"], dtype=bool)
    roots = np.asarray(state["roots"], dtype=np.int64) if "roots" in state else np.zeros((len(sites), 0))
    return {
        "seed": lot_of(state).hex(),
        "drawn": {"attempt": where.attempt, "pass": where.number, "draws": where.draws, "masked": auditor.plan.masked},
        "halves": [[site for site, inside in zip(sites, half, strict=True) if inside] for half in member.T],
        "roots": {site: row.astype("<u4").tobytes().hex() for site, row in zip(sites, roots, strict=True)},
    }


def is_drawn_by(held: Mapping[str, Any], lot: bytes) -> bool:
    """Whether the halves follow from the ledger's seed and from nothing else: each bisection stands in a draw."""
    drawn, sites = held["drawn"], sorted(one["site"] for one in held["verdicts"])
    told = np.array([[site in half for site in sites] for half in held["halves"]]).T
    if held["seed"] != lot.hex() or not len(held["halves"]):
        return False
    found = np.zeros(told.shape[1] // 2, dtype=bool)
    for draw in range(min(int(drawn["draws"]), MAX_DRAWS - 1) + 1):
        again = halves_drawn(lot, attempt=int(drawn["attempt"]), number=int(drawn["pass"]), draw=draw,
                             n_sites=len(sites), halves=told.shape[1], masked=bool(drawn["masked"]))  # fmt: skip
        found |= (again == told).all(axis=0).reshape(-1, 2).all(axis=1)
    return bool(found.all())


def proof_of(auditor: Auditor, state: Parameters, shown: Mapping[int, Integers], *, rules: Rules) -> dict[str, Any]:
    """What `evidence.json` holds beside the table. state: of the finished audit; shown: salts by exchange, (sites, 16).

    Exchanges count from 0: the merge of that place on the ledger.
    """
    sites, names = auditor.plan.sites, ("roots", "table")[max(2 - len(shown), 0) :]
    told: dict[str, Any] = {
        "evidence": [asdict(one) for one in auditor.evidence(state)],
        **drawing_of(auditor, state),
        "shown": {
            name: {
                "exchange": at,
                "salts": {site: bytes(row.astype(np.uint8)).hex() for site, row in zip(sites, shown[at], strict=True)
                          if row.any()},
            }
            for name, at in zip(names, sorted(shown)[-2:], strict=True)
        },
        "rules": asdict(rules),
        "repairs": list(auditor.plan.repairs),
    }  # fmt: skip
    sums = {name: state[f"cross/{name}"] for name in ("told", "influence") if f"cross/{name}" in state}
    return told | {"sums": {name: np.asarray(held, dtype=np.int64).tolist() for name, held in sums.items()}}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a ledger says of an audit. rounds: of its merges, in order; committed: digest by round and site.

    merged: by round, whose answers are in the merge; the last one holds the evidence. verdicts: by site, the code of
    the verdict that stands and the digest of its table.
    """

    run: int
    study: bytes
    seed: bytes
    rounds: Sequence[int]
    committed: Mapping[tuple[int, str], bytes]
    merged: Mapping[int, Collection[str]]
    verdicts: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)


def faults(held: Mapping[str, Any], ledger: Recorded) -> tuple[str, ...]:
    """What of an `evidence.json` does not hold, a sentence each. Raises KeyError, TypeError, ValueError, IndexError or

    OverflowError for a file of another form.
    """
    return tuple(_faults(held, ledger))


def _faults(held: Mapping[str, Any], ledger: Recorded) -> Iterator[str]:
    sites = sorted(str(one["site"]) for one in held["verdicts"])
    evidence = {str(one["site"]): Evidence(**one) for one in held["evidence"]}
    if len(evidence) < len(held["evidence"]) or not evidence.keys() <= set(sites) or len(set(sites)) < len(sites):
        raise ValueError("sites are named twice, or have rows and no verdict")
    rows = np.zeros((len(sites), len(FIELDS)), dtype=np.int64)
    for site, one in evidence.items():
        rows[sites.index(site)] = row_of(one, repairs=held["repairs"], silent=False)
    roots = np.array([_root(held["roots"].get(site, "")) for site in sites])
    tables, places = {"roots": roots, "table": rows}, []
    for name, shown in held["shown"].items():
        at = int(shown["exchange"])
        if not 0 <= at < len(ledger.rounds):
            yield f"the ledger has no exchange {at + 1} of this audit, in which sites would have shown {name}"
            continue
        places.append(ledger.rounds[at])
        yield from _uncommitted(name, tables[name], shown["salts"], sites=sites, round=ledger.rounds[at], ledger=ledger)
    if len(places) == 2 and places[0] >= places[1]:
        yield f"the roots of scores were committed in round {places[0]}, not before the evidence of round {places[1]}"
    if evidence and "roots" not in held["shown"]:
        yield "no roots of scores were committed before the evidence"
    if "table" not in held["shown"]:
        yield "nothing in this file shows that sites had committed their rows"
    elif int(held["shown"]["table"]["exchange"]) + 1 < len(ledger.rounds):
        yield "the rows are not of this audit's last exchange, which is that of the evidence"
    if held["status"] != "decided" and any(one.sound or one.reversed or one.shifted for one in evidence.values()):
        yield f"the rows judge labels, so the audit was not '{held['status']}'"
    if held["status"] not in (possible := _statuses(held)):
        auroc, slope = (f"{int(held[name]) / 1e6:g}" for name in ("auroc", "slope"))
        yield f"with AUROC {auroc} and slope {slope} the audit is '{possible[0]}', not '{held['status']}'"
    if len(held["halves"]) and not is_drawn_by(held, ledger.seed):
        yield "the halves do not follow from the seed on the ledger"
    yield from _not_following(held, sites, evidence, rows)
    yield from _otherwise(held, sites, ledger)


def _statuses(held: Mapping[str, Any]) -> tuple[str, ...]:
    """What the file's AUROC and slope leave for its status: one word, two where rounding hides a threshold."""
    attempt, rounding = int(held["drawn"]["attempt"]), (-0.5, 0.5)
    silent = {
        must_be_silent((int(held["slope"]) + a) / 1e6, (int(held["auroc"]) + b) / 1e6, attempt=attempt)
        for a in rounding
        for b in rounding
    }
    return tuple("inconclusive" if one else "decided" for one in sorted(silent))


def _root(text: str) -> Integers:
    words = np.frombuffer(bytes.fromhex(text), dtype="<u4").astype(np.int64)
    return words if len(words) else np.zeros(ROOT_WORDS, dtype=np.int64)


def _uncommitted(
    name: str, table: Integers, salts: Mapping[str, str], *, sites: Sequence[str], round: int, ledger: Recorded
) -> Iterator[str]:
    """Sites whose part of a table is not what they committed for that round."""
    for at, site in enumerate(sites):
        digest, salt = ledger.committed.get((round, site)), salts.get(site)
        if digest is None or salt is None:
            if digest is not None and site in ledger.merged[round]:
                yield f"{site}: {_WHAT[name]} of round {round} was merged, and this file does not show it"
            elif table[at].any():
                yield f"{site}: {_WHAT[name]} is in this file, but the site has committed none in round {round}"
            continue
        own = np.zeros_like(table)
        own[at] = table[at]
        context: dict[str, str | int] = {"site": site, "run": ledger.run, "round": round, "study": ledger.study.hex(),
                                         "salt": salt}  # fmt: skip
        if pack(Parameters({name: own}), context).digest != digest:
            yield f"{site}: {_WHAT[name]} is not what the site committed in round {round}, before others' were seen"


def _not_following(
    held: Mapping[str, Any], sites: Sequence[str], evidence: Mapping[str, Evidence], rows: Integers
) -> Iterator[str]:
    """Verdicts that are others than `decide` and the doubts give for these rows."""
    auroc, slope = (int(held[name]) / 1e6 for name in ("auroc", "slope"))
    again: Table = decide(list(evidence.values()), sites=sites, status=held["status"], auroc=auroc, slope=slope,
                          rules=Rules(**held["rules"]))  # fmt: skip
    if again.status == "decided":
        member = np.array([[site in half for site in sites] for half in held["halves"]]).T
        told, moved = (np.array(held["sums"][name], dtype=np.int64) for name in ("told", "influence"))
        again = with_doubts(again, sites, halves=by_halves(told, rows, member), influence=influence(moved).places())
    wanted = {one["site"]: one for one in json.loads(again.canonical())["verdicts"]}
    for one in held["verdicts"]:
        due = wanted[one["site"]]
        if one != due:
            odd = next(
                (name for name in sorted(due, key=lambda name: name != "kind") if one.get(name) != due[name]), "form"
            )
            more = f"which give '{due['kind']}'" if odd == "kind" else f"for '{odd}' they give another value"
            yield f"{one['site']}: the verdict '{one['kind']}' does not follow from the rows, {more}"


def _otherwise(held: Mapping[str, Any], sites: Sequence[str], ledger: Recorded) -> Iterator[str]:
    """Verdicts on the ledger that are others than those of the file, or rest on another table."""
    kinds = {str(one["site"]): str(one["kind"]) for one in held["verdicts"]}
    table = {name: held[name] for name in ("status", "auroc", "slope", "verdicts")}
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    digest = digest_of(canonical)
    if held["digest"] != digest.hex():
        yield "the digest in this file is not that of its table"
    for site, (code, told) in sorted(ledger.verdicts.items()):
        if told != digest:
            yield f"{site}: the ledger's verdict rests on another table than this file's"
        elif VERDICTS[code] != kinds.get(site) and (VERDICTS[code], kinds.get(site)) != ("eliminate", "quarantine"):
            yield f"{site}: the ledger says '{VERDICTS[code]}', this file '{kinds.get(site, 'nothing')}'"
    for site, kind in sorted(kinds.items()):
        if kind in ("repair", "quarantine") and site not in ledger.verdicts:
            yield f"{site}: this file says '{kind}', and no verdict on the ledger does"
