"""What a person says about an audit, by name, and its digest on the ledger: an answer to a question, a signature.

    make_statement(ledger, home, {"do": "answer", "run": 3, "coding": "confirmed", "person": "...", "role": "..."})
    make_statement(ledger, home, {"do": "sign", "run": 3, "site": "porto", "verdict": "eliminate", "person": ..., ...})

The statement with the name stays at this hospital (`runs/RUN/statements.jsonl`, for its owner only), to be shown to
whoever asks; the ledger gets its salted digest as this site's audit record of tier 2 in that run (1: confirmed or
signed, 2: corrected). A signature under `eliminate` is this site's vote for it as well: the contract takes it against a
site whose quarantine stands and that has not appealed, more than half make it stand, and the accused has no vote.
Where a verdict leaves part of a registered subgroup out, this site's node votes nobody out before a person here has
signed it (`standings.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from cohortium.core.verdicts import CODES
from cohortium.errors import LedgerRefused, UsageError
from cohortium.node.home import Home
from cohortium.node.run_folder import EVIDENCE, STATEMENTS
from cohortium.node.standings import SIGNED, read_table, signed_here, standings_of
from cohortium.node.voting import Registrar, cast

__all__ = ["ANSWERS", "make_statement"]

ANSWERS: Final = {"confirmed": 1, "corrected": 2}

_TIER, _ELIMINATION_ROUND, _LONGEST = 2, 1, 80
_WHY: Final = {
    "verdict": "nothing but a site whose quarantine stands can be eliminated",
    "appealed": "the site has appealed; the next audit answers it, until then nobody is eliminated",
    "once": "this site has voted for it already",
    "subject": "nobody votes on its own data",
    "joiner": "this site took no part in that run",
    "live": "this site took no part in that run to its end",
}


def make_statement(ledger: Registrar, home: Home, request: Mapping[str, Any]) -> dict[str, Any]:
    """One request, {"do": "answer" | "sign", ...}; a JSON-able answer. Raises UsageError, or LedgerRefused."""
    run = request.get("run")
    if type(run) is not int or run < 1:
        raise UsageError(f"name a run by its number, got {run!r:.40}")
    said = {"person": _named(request, "person"), "role": _named(request, "role")}
    try:
        table, digest = read_table(home.runs / str(run) / EVIDENCE)
    except (OSError, ValueError, KeyError):
        raise UsageError(f"run {run} left no table here: it was no audit, or has not ended") from None
    make: Callable[..., dict[str, Any]] = _answer if request.get("do") == "answer" else _sign
    try:
        return make(ledger, home, request, run=run, table=table, digest=digest, said=said)
    except LedgerRefused as refused:
        refused.hint = _WHY.get(refused.reason, refused.hint)
        raise


def _answer(
    ledger: Registrar, home: Home, request: Mapping[str, Any], *, run: int, table: dict[str, Any], digest: bytes,
    said: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    coding = request.get("coding")
    if coding not in ANSWERS:
        raise UsageError(f"unknown answer {coding!r:.40}; one of: {', '.join(ANSWERS)}")
    asked = _verdict(table, home.site)["question"]
    if not asked:
        raise UsageError(f"run {run} asks '{home.site}' nothing")
    content = {"answer": coding, "question": asked, "run": run, "site": home.site, "table": digest.hex(), **said}
    receipt, seal = _record(ledger, home, run, ANSWERS[str(coding)], content)
    return {"did": "answer", "site": home.site, "run": run, "coding": coding, "question": asked,
            "statement": seal.hex(), "height": receipt}  # fmt: skip


def _sign(
    ledger: Registrar, home: Home, request: Mapping[str, Any], *, run: int, table: dict[str, Any], digest: bytes,
    said: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    site, verdict = request.get("site"), request.get("verdict")
    if verdict not in SIGNED:
        raise UsageError(f"unknown verdict {verdict!r:.40}; one of: {', '.join(SIGNED)}")
    found = _verdict(table, str(site))
    needed = "quarantine" if verdict == "eliminate" else verdict
    if found["kind"] != needed:
        raise UsageError(f"run {run} says '{found['kind']}' of '{site}'; '{verdict}' is signed under '{needed}'")
    if verdict == "eliminate":
        try:
            cast(ledger, home.keys.ledger, "record_harm", run, _ELIMINATION_ROUND, str(site), CODES[verdict], digest)
        except LedgerRefused as refused:
            if refused.reason != "once" or _may_be_kept(home, run, str(site)):
                raise  # else the vote stands and the node failed before its statement was kept
    content = {"run": run, "signed": verdict, "site": home.site, "subject": site, "table": digest.hex(), **said}
    receipt, seal = _record(ledger, home, run, 1, content)
    stands = standings_of(ledger.events()).get(str(site))
    return {"did": "sign", "site": home.site, "run": run, "subject": site, "verdict": verdict,
            "stands": stands.word if stands else "", "statement": seal.hex(), "height": receipt}  # fmt: skip


def _may_be_kept(home: Home, run: int, subject: str) -> bool:
    """Whether somebody's statement for an elimination is kept here; what cannot be read counts as kept."""
    try:
        return any(word == "eliminate" for word, _ in signed_here(home.runs / str(run), subject))
    except (OSError, ValueError):
        return True


def _verdict(table: Mapping[str, Any], site: str) -> dict[str, Any]:
    found: dict[str, Any] | None = next((one for one in table["verdicts"] if one["site"] == site), None)
    if found is None:
        raise UsageError(f"the audit says nothing of '{site}'")
    return found


def _record(ledger: Registrar, home: Home, run: int, verdict: int, content: dict[str, Any]) -> tuple[int, bytes]:
    """Keep the statement, then put its digest on the ledger; the height it stands at, and the digest."""
    line = json.dumps({**content, "salt": os.urandom(16).hex()}, sort_keys=True, ensure_ascii=True).encode()
    seal = hashlib.sha256(b"cohortium-statement-1" + line).digest()
    path = home.runs / str(run) / STATEMENTS
    held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(held, line + b"\n")
        os.fsync(held)
    finally:
        os.close(held)
    return cast(ledger, home.keys.ledger, "record_audit", run, _TIER, verdict, seal).height, seal


def _named(request: Mapping[str, Any], what: str) -> str:
    text = request.get(what)
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= _LONGEST or not text.isprintable():
        raise UsageError(f"a statement needs a {what}: 1 to {_LONGEST} printable characters")
    return text.strip()
