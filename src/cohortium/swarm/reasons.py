"""Reason codes as they stand on the ledger (1 to 255), and their words.

The ledger carries numbers because free text could carry anything. A code is never given a new meaning.
"""

from __future__ import annotations

__all__ = ["REASONS", "code_of", "word_of"]

REASONS: dict[str, int] = {
    "silent": 1,
    "withheld": 2,
    "device": 3,
    "harm": 4,
    "dealing": 5,
    "share": 6,
    "budget": 7,
    "consent": 8,
    "declined": 9,
    "data": 10,
    "memory": 11,
    "disk": 12,
    "code": 13,
    "error": 14,
    "shape": 15,
    "left": 16,
    "lost": 17,
    "quorum": 18,
    "stopped": 19,
    "attempts": 20,
    "inputs": 21,
    "forked": 22,
    "differs": 23,
    "unusable": 24,
    "path_readonly": 25,
    "shared_memory": 26,
    "certificate": 27,
    "leak": 28,
}
"""What each code says. lost: a payload this site once had. inputs: a merge not made of the commits on the ledger.
differs: what this site computed is not what the others agreed on. unusable: a payload that cannot be merged, because
it is another site's or another round's, is not finite, weighs more than any may, leaves the range of the sum, or
shows what no site can have found.
path_readonly, disk: this site cannot write where it must, or has no room. shared_memory: a worker was killed because
/dev/shm is too small. certificate: of this site, expired or not the one on the ledger. leak: rows of patients stood
exactly in an update that nothing protected, so it was not sent."""

_WORDS = {code: word for word, code in REASONS.items()}


def code_of(word: str) -> int:
    """The code of a word; `error` for one that has none."""
    return REASONS.get(word, REASONS["error"])


def word_of(code: object) -> str:
    """The word of a code; `code 99` for one this version does not know."""
    return _WORDS.get(code, f"code {code}") if isinstance(code, int) else "error"
