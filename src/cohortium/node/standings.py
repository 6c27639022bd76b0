"""The verdicts on sites' data that stand on the ledger, folded from its events; and what this node does about them.

A verdict stands until the next one, or until the site brings a new version of its data. A site is left out of trainings
where a standing verdict says so: the ledger holds its kind and the digest of the table, the rest is read from the
evidence this node keeps of that audit. Where the two differ, nothing is done. Where part of a registered subgroup would
be left out as well, nothing is done before a person here has signed that verdict of that very table (`statements.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cohortium.core.seams import LedgerEvent
from cohortium.core.verdicts import CODES, VERDICTS
from cohortium.node.run_folder import EVIDENCE, STATEMENTS
from cohortium.quality.decide import digest_of
from cohortium.swarm.ports import Judged

__all__ = [
    "APPEALS",
    "SIGNED",
    "Standing",
    "left_out",
    "read_table",
    "signed_here",
    "standings_of",
    "unsigned",
    "what_to_sign",
    "worth_saying",
]

APPEALS = {"coding-confirmed": 1, "population-differs": 2, "device-differs": 3, "repaired": 4, "error": 5}
"""Grounds of an appeal, and the contract's words for them."""

SIGNED = ("repair", "quarantine", "eliminate")
"""Verdicts that a person can sign."""

_GUILTY = frozenset(CODES[kind] for kind in ("repair", "quarantine", "eliminate"))
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One site's. verdict: the contract's code. evidence: digest of the table. appeal: its code, 0 for none."""

    run: int
    verdict: int
    evidence: bytes
    appeal: int = 0

    @property
    def guilty(self) -> bool:
        """Whether it asks for something: repair, quarantine, eliminate."""
        return self.verdict in _GUILTY

    @property
    def word(self) -> str:
        """The verdict in a word."""
        return VERDICTS[self.verdict]


def standings_of(events: Iterable[LedgerEvent]) -> dict[str, Standing]:
    """The verdict that stands on every site that has one."""
    found: dict[str, Standing] = {}
    for event in events:
        args = event.args
        if event.name == "HarmVerdict":
            found[str(args["subject"])] = Standing(
                run=int(str(args["run"])), verdict=int(str(args["verdict"])), evidence=bytes(args["evidence"])  # type: ignore[call-overload]
            )  # fmt: skip
        elif event.name == "DataChanged":
            found.pop(str(args["site"]), None)
        elif event.name == "Appealed" and (site := str(args["site"])) in found:
            found[site] = replace(found[site], appeal=int(str(args["code"])))
    return found


def worth_saying(said: Sequence[Judged], events: Iterable[LedgerEvent]) -> tuple[Judged, ...]:
    """What a node votes for: verdicts that ask for something, and those that end one that does."""
    accused = {site for site, one in standings_of(events).items() if one.guilty}
    return tuple(one for one in said if one.verdict in _GUILTY or one.site in accused)


def left_out(standings: dict[str, Standing], folder: Callable[[int], Path]) -> frozenset[str]:
    """The sites whose data take no part in a training. folder: of a run at this node."""
    return frozenset(site for site, waits in _accused(standings, folder).items() if not waits)


def unsigned(standings: dict[str, Standing], folder: Callable[[int], Path]) -> frozenset[str]:
    """The sites that would be left out had a person here signed it."""
    return frozenset(site for site, waits in _accused(standings, folder).items() if waits)


def what_to_sign(site: str, *, run: int, verdict: str) -> str:
    """What a person at this node is asked for, in one sentence."""
    return (
        f"the verdict of run {run} on '{site}' waits for a person here, since a twentieth or more of a registered"
        f" subgroup is there: cohortium audit harm sign {run} --site {site} --verdict {verdict}"
    )


def _accused(standings: dict[str, Standing], folder: Callable[[int], Path]) -> dict[str, bool]:
    """The sites that standing verdicts leave out, and whether a signature is lacking here."""
    found = {}
    for site, one in standings.items():
        if not one.guilty:
            continue
        at = folder(one.run)
        try:
            table, digest = read_table(at / EVIDENCE)
            told = next(verdict for verdict in table["verdicts"] if verdict["site"] == site)
            if digest == one.evidence and told["left_out"]:
                found[site] = bool(told.get("to_sign")) and not _is_signed(at, site, digest)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
    return found


def _is_signed(folder: Path, site: str, digest: bytes) -> bool:
    """Whether a person here has signed a verdict of this table on the site; what cannot be read is no signature."""
    try:
        return any(table == digest.hex() for _, table in signed_here(folder, site))
    except (OSError, ValueError):
        return False


def signed_here(folder: Path, site: str) -> frozenset[tuple[str, str]]:
    """What people here have signed about a site in that run: verdicts, each with the digest of its table.

    Raises OSError, ValueError.
    """
    try:
        lines = (folder / STATEMENTS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return frozenset()
    try:
        said = [one for one in map(json.loads, lines) if one.get("subject") == site]
        return frozenset((str(one["signed"]), str(one["table"])) for one in said)
    except (AttributeError, KeyError) as wrong:
        raise ValueError(f"'{folder / STATEMENTS}' holds other lines than statements") from wrong


def read_table(path: Path) -> tuple[dict[str, Any], bytes]:
    """The verdicts as this node keeps them, and their digest computed anew. Raises OSError, ValueError, KeyError."""
    with path.open("rb") as file:
        held = json.loads(file.read(_MAX_BYTES))
    table = {name: held[name] for name in ("status", "auroc", "slope", "verdicts")}
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return table, digest_of(canonical)
