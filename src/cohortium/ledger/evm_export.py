"""The form of an export of `evm-rpc`: the calls of the contract, not the blocks of a chain that is not ours.

    line 1        as in every export (`export.py`)
    one a call    height, position, block, time, transaction, raw, ok, reason, events
    last line     height, hash, state root, heads signed by members

The chain's headers are of the chain's own form and stay out. What can be proved from such a file, and what rests on
the word of the exporting site's node, says `evm_archive.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cohortium.core.seams import Head
from cohortium.ledger.blocks import Happening, event_values
from cohortium.ledger.evm_file import KeptCall
from cohortium.ledger.export import SignedHead, first_record, last_record, write_lines
from cohortium.ledger.genesis import Genesis

__all__ = ["write_evm_export"]


def write_evm_export(
    path: Path,
    genesis: Genesis,
    calls: Iterable[tuple[KeptCall, Sequence[Happening]]],
    head: Head,
    *,
    heads: Sequence[SignedHead] = (),
) -> None:
    """Write the calls with their events, the deployment first; an existing file is replaced only by a whole one."""
    records = (_call(call, events) for call, events in calls)
    write_lines(path, first_record(genesis), records, last_record(head, heads))


def _call(call: KeptCall, events: Sequence[Happening]) -> dict[str, Any]:
    return {
        "block": call.block.hex(),
        "events": event_values(events),
        "height": call.height,
        "ok": call.ok,
        "position": call.position,
        "raw": call.raw.hex(),
        "reason": call.reason,
        "time": call.time,
        "transaction": call.digest.hex(),
    }
