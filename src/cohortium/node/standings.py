"""The verdicts on sites' data that stand on the ledger, folded from its events; and what this node does about them.

A verdict stands until the next one, or until the site brings a new version of its data. A site is left out of trainings
where a standing verdict says so: the ledger holds its kind and the digest of the table, the rest is read from the
evidence this node keeps of that audit. Where the two differ, nothing is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cohortium.core.seams import LedgerEvent
from cohortium.core.verdicts import CODES, VERDICTS
from cohortium.quality.decide import digest_of
from cohortium.swarm.ports import Judged

__all__ = ["APPEALS", "Standing", "left_out", "read_table", "standings_of", "worth_saying"]

APPEALS = {"coding-confirmed": 1, "population-differs": 2, "device-differs": 3, "repaired": 4, "error": 5}
"""Grounds of an appeal, and the contract's words for them."""

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


def left_out(standings: dict[str, Standing], evidence: Callable[[int], Path]) -> frozenset[str]:
    """The sites whose data take no part in a training. evidence: of a run, as this node keeps it."""
    return frozenset(site for site, one in standings.items() if one.guilty and _says(one, site, evidence(one.run)))


def _says(standing: Standing, site: str, path: Path) -> bool:
    """Whether the table behind a standing verdict leaves the site out."""
    try:
        table, digest = read_table(path)
        return digest == standing.evidence and any(one["site"] == site and one["left_out"] for one in table["verdicts"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_table(path: Path) -> tuple[dict[str, Any], bytes]:
    """The verdicts as this node keeps them, and their digest computed anew. Raises OSError, ValueError, KeyError."""
    with path.open("rb") as file:
        held = json.loads(file.read(_MAX_BYTES))
    table = {name: held[name] for name in ("status", "auroc", "slope", "verdicts")}
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return table, digest_of(canonical)
