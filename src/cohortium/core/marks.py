"""Two arrays by which a program's state speaks to the node that carries it.

    ledger/lot      32 bytes, zeros until the run has started: the node puts the ledger's seed there, which nobody chose
    ledger/shown    where it stands, each site's answer of the running exchange is declared public: under masks the site
                    shows, when all have committed, the payload whose digest it has committed, and every node checks it

Without masks answers lie open anyway. Who asks for either says so in its documentation.
"""

from __future__ import annotations

import numpy as np

from cohortium.core.parameters import Parameters

__all__ = [
    "LOT",
    "LOT_BYTES",
    "SALT_BYTES",
    "SHOWN",
    "blank_lot",
    "drawn_by",
    "lot_of",
    "salted",
    "showing",
    "showing_once",
    "shows",
    "with_lot",
]

LOT, SHOWN = "ledger/lot", "ledger/shown"
LOT_BYTES = 32
SALT_BYTES = 16
"""Of the salt with which a site commits an answer."""


def blank_lot() -> Parameters:
    """The place for the ledger's seed, in the first state of a learner that draws by it."""
    return Parameters({LOT: np.zeros(LOT_BYTES, dtype=np.uint8)})


def with_lot(state: Parameters, lot: bytes) -> Parameters:
    """The state with the ledger's seed wherever it has a place for it. Raises ValueError unless it is 32 bytes."""
    if len(lot) != LOT_BYTES:
        raise ValueError(f"a lot is {LOT_BYTES} bytes, got {len(lot)}")
    drawn = np.frombuffer(lot, dtype=np.uint8)
    return state | Parameters({name: drawn for name in state if _is(name, LOT)})


def drawn_by(state: Parameters, lot: int | bytes) -> Parameters:
    """A learner's first state with its place for the seed. lot: 32 bytes of the ledger, or a number, 0 for none yet."""
    return with_lot(state | blank_lot(), lot.to_bytes(LOT_BYTES, "little") if isinstance(lot, int) else lot)


def lot_of(state: Parameters) -> bytes:
    """The seed in a learner's own state; zeros before it was drawn."""
    return bytes(np.asarray(state[LOT], dtype=np.uint8).tobytes())


def showing(state: Parameters) -> Parameters:
    """The state whose next answers are public."""
    return state | Parameters({SHOWN: np.ones(1, dtype=np.int64)})


def showing_once(state: Parameters) -> Parameters:
    """The same, for answers of which nothing is to be proved later: no salt of theirs stays in the merged state."""
    return state | Parameters({SHOWN: np.zeros(1, dtype=np.int64)})


def shows(state: Parameters) -> bool:
    """Whether the answers of the running exchange are shown as they were committed."""
    return any(_is(name, SHOWN) for name in state)


def salted(state: Parameters) -> bool:
    """Whether the salts of the running exchange's public answers stay in the merged state."""
    return any(_is(name, SHOWN) and bool(array.any()) for name, array in state.items())


def _is(name: str, mark: str) -> bool:
    return name == mark or name.endswith(f"/model/{mark}")
