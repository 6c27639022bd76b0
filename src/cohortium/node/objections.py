"""What a site says to a verdict on its own data: an appeal, or a new version of the data.

    perform(ledger, home, {"do": "appeal", "run": 3, "ground": "coding-confirmed"})
    perform(ledger, home, {"do": "renew"})

As `voting.perform`: by a running node, or by the command itself where none runs. The ledger gets a code, or a digest
that nobody can test a guess against: it is keyed with the site's own key for its patients.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

from cohortium.errors import DataError, LedgerRefused, UsageError
from cohortium.node.home import Home
from cohortium.node.standings import APPEALS, standings_of
from cohortium.node.voting import Registrar, cast

__all__ = ["object_to"]

_PIECE = 1 << 20
_WHY: Final = {
    "verdict": "no verdict of that run asks anything of this site",
    "once": "this site has appealed already; the next audit answers it",
    "appeals": "three appeals were lost on these data; bring a new version of them",
    "run": "there is no such run",
    "member": "this site is no active member",
    "stranger": "this site is no active member",
}


def object_to(ledger: Registrar, home: Home, request: Mapping[str, Any]) -> dict[str, Any]:
    """One request, {"do": "appeal" | "renew", ...}; a JSON-able answer.

    Raises UsageError, DataError or LedgerRefused with its sentence.
    """
    try:
        return _appeal(ledger, home, request) if request.get("do") == "appeal" else _renew(ledger, home)
    except LedgerRefused as refused:
        refused.hint = _WHY.get(refused.reason, refused.hint)
        raise


def _appeal(ledger: Registrar, home: Home, request: Mapping[str, Any]) -> dict[str, Any]:
    run, ground = request.get("run"), request.get("ground")
    if type(run) is not int or run < 1:
        raise UsageError(f"name a run by its number, got {run!r:.40}")
    if not isinstance(ground, str) or ground not in APPEALS:
        raise UsageError(f"unknown ground {ground!r:.40}; one of: {', '.join(APPEALS)}")
    standing = standings_of(ledger.events()).get(home.site)
    receipt = cast(ledger, home.keys.ledger, "appeal", run, APPEALS[ground])
    word = standing.word if standing else ""
    return {"did": "appeal", "site": home.site, "run": run, "ground": ground, "verdict": word, "height": receipt.height}


def _renew(ledger: Registrar, home: Home) -> dict[str, Any]:
    """A new data version is a new table: the same one again changes nothing."""
    if home.table is None:
        raise UsageError("this node has no table; name it in node.toml")
    digest = hmac.new(home.keys.patients, b"data version", "sha256")
    try:
        with home.table.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise DataError(f"cannot read '{home.table}': {error.strerror}") from None
    handle = digest.digest()
    events = list(ledger.events())
    known = [e for e in events if e.name == "DataChanged" and e.args["site"] == home.site]
    if any(bytes(e.args["dataset"]) == handle for e in known):  # type: ignore[call-overload]
        raise UsageError(
            "this very table was announced before; a verdict on it stands until the data change",
            hint="name the mended table in node.toml, [data] table",
        )
    ended = standings_of(events).get(home.site)
    receipt = cast(ledger, home.keys.ledger, "record_data", handle)
    word = ended.word if ended is not None and ended.guilty else ""
    return {"did": "renew", "site": home.site, "ended": word, "height": receipt.height}
