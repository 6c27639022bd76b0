"""Seals of a generator: what a hospital has signed of its copy, checked against the generator's file and the ledger.

A seal names study, site, generator, the table that was judged and the site's own report, all by digest, and no finding.
Its own digest was put on the ledger by the site (`record_audit`, tier 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.core.foreign_json import read_json
from cohortium.errors import DataError, UsageError, VerificationFailed
from cohortium.ledger.archive import verify
from cohortium.node.run_folder import SEAL
from cohortium.sim.synthesis import SavedGenerator, open_generator
from cohortium.synth.validation.document import digest_of

__all__ = ["FORMAT", "TIER", "Sealed", "check_seals"]

FORMAT = "cohortium-generator-seal/1"
TIER = 2
_FIELDS = {"format", "study", "site", "generator", "table", "report"}
_WORDS = {1: "privacy passed", 2: "privacy failed", 3: "privacy neither passed nor failed"}
_MAX_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """One seal that holds. privacy: what the site's own validation came to. report: whether there is one."""

    site: str
    run: int
    privacy: str
    report: bool

    def sentence(self) -> str:
        """For people."""
        judged = "" if self.report else ", without a validation"
        return f"{self.site} sealed this generator in run {self.run}: {self.privacy}{judged}"


def check_seals(folder: Path, seals: Sequence[Path] = (), *, ledger: Path | None = None) -> tuple[Sealed, ...]:
    """Every seal against the generator in the folder and the ledger. seals: of the folder itself without any.

    Raises VerificationFailed for a seal that is of something else or stands on no ledger, DataError, UsageError.
    """
    saved = open_generator(folder)
    chain = folder / "ledger.jsonl" if ledger is None else ledger
    if not chain.is_file():
        raise UsageError(f"there is no ledger '{chain}'", hint="name the exported one by --ledger")
    said = {(one.site, one.digest.hex()): one for one in verify(chain, evm=False).privacy.audits if one.tier == TIER}
    found = []
    for path in seals or (folder / SEAL,):
        seal = _read(path)
        _fits(path, seal, saved)
        stands = said.get((seal["site"], digest_of(seal).hex()))
        if stands is None:
            raise VerificationFailed(f"seal '{path}': {seal['site']} has not put it on this ledger")
        word = _WORDS[stands.verdict]
        found.append(Sealed(site=stands.site, run=stands.run, privacy=word, report=bool(seal["report"])))
    return tuple(found)


def _fits(path: Path, seal: dict[str, str], saved: SavedGenerator) -> None:
    if seal["generator"] != saved.state.digest.hex():
        raise VerificationFailed(
            f"seal '{path}' is of generator {seal['generator'][:16]}, here is {saved.state.digest.hex()[:16]}"
        )
    if seal["study"] != saved.study.digest.hex():
        raise VerificationFailed(f"seal '{path}' was set under another study than '{saved.study.name}'")


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            content: Any = read_json(file.read(_MAX_BYTES), max_depth=2)
    except OSError as error:
        raise UsageError(f"cannot read seal '{path}': {error.strerror}") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(isinstance(held, str) for held in content.values()):
        raise DataError(f"'{path}' is no seal of a generator")
    content.pop("digest", None)  # computed anew
    if set(content) != _FIELDS or content["format"] != FORMAT:
        raise DataError(f"'{path}' is no seal of a generator, expected format {FORMAT!r}")
    return {str(key): str(held) for key, held in content.items()}
