"""What nodes ask each other for `doctor` and `status`: the time, the head, the versions, and 64 KiB back.

    board.answer(SURVEY, surveyor(ledger.head, clock))                          at every node
    await survey(board, directory, site=site, ledger=ledger, clock=clock)       at the node that asks

One question a peer shows at once whether a long stream gets through and back, how far the clocks are apart (to within
half the way there and back), and whether both have the same chain.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, Protocol

import msgspec

from cohortium import __version__
from cohortium.core.seams import Head
from cohortium.errors import FrameError, LedgerError, PeerError
from cohortium.node.membership import MemberDirectory
from cohortium.transport.switchboard import Switchboard

__all__ = ["SURVEY", "Chain", "own_versions", "survey", "surveyor"]

SURVEY: Final = "survey"
ECHO_BYTES: Final = 64 * 1024
_MAX_QUESTION = ECHO_BYTES

Blocking = Callable[[Callable[[], Any]], Awaitable[Any]]

_Word = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[ -~]*$")]


class _Answer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    now_s: Annotated[float, msgspec.Meta(ge=0, le=1e12)]
    height: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    head: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    versions: Annotated[dict[_Word, _Word], msgspec.Meta(max_length=16)]
    echo: Annotated[bytes, msgspec.Meta(max_length=ECHO_BYTES)]


class Chain(Protocol):
    """What of a ledger is needed here; every engine has it."""

    def head(self) -> Head: ...

    def hash_at(self, height: int) -> bytes | None: ...


def own_versions() -> dict[str, str]:
    """What computes here; nothing is imported for it."""
    found = {"cohortium": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def surveyor(
    head: Callable[[], Head], clock: Callable[[], float], *, blocking: Blocking = asyncio.to_thread
) -> Callable[[str, bytes], Awaitable[bytes]]:
    """What answers SURVEY. head: may block. blocking: where this node runs such calls."""

    async def answer(peer: str, question: bytes) -> bytes:
        if len(question) > _MAX_QUESTION:
            raise FrameError(f"a survey of {len(question)} bytes; at most {_MAX_QUESTION} are sent back", site=peer)
        now = await blocking(head)
        return msgspec.msgpack.encode(
            _Answer(now_s=clock(), height=now.height, head=now.hash, versions=own_versions(), echo=question)
        )

    return answer


async def survey(
    board: Switchboard,
    directory: MemberDirectory,
    *,
    site: str,
    ledger: Chain,
    clock: Callable[[], float],
    blocking: Blocking = asyncio.to_thread,
    timeout_s: float = 8.0,
) -> dict[str, Any]:
    """What the members say now, as a JSON-able table that `doctor` reads.

    tls: the digest of this site's certificate on the ledger, empty for no active member. ledger: why the engine does
    not answer. peers: each one's answer, or `why` there is none; offset_s: how much its clock is ahead; agrees:
    whether its head is in the chain here, None where it is further on.
    """
    trouble = ""
    try:
        await blocking(ledger.head)
    except LedgerError as error:
        trouble = str(error)
    known = directory.membership
    mine, asked = known.named(site), sorted(one.name for one in known.active if one.name != site)
    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(_ask(board, peer, ledger, clock, blocking, timeout_s)) for peer in asked]
    return {
        "tls": mine.tls.hex() if mine is not None and mine.active else "",
        "ledger": trouble,
        "peers": {peer: task.result() for peer, task in zip(asked, found, strict=True)},
    }


async def _ask(
    board: Switchboard,
    peer: str,
    ledger: Chain,
    clock: Callable[[], float],
    blocking: Blocking,
    timeout_s: float,
) -> dict[str, Any]:
    payload = os.urandom(ECHO_BYTES)
    sent = clock()
    try:
        raw = await board.ask(peer, SURVEY, payload, timeout_s=timeout_s)
        answer = msgspec.msgpack.decode(raw, type=_Answer)
    except TimeoutError:
        return {"why": f"no answer within {timeout_s:g} s"}
    except msgspec.DecodeError:
        return {"why": "an answer of another form; is it of the same release?"}
    except PeerError as error:
        return {"why": str(error)}
    back = clock()
    try:
        here = await blocking(lambda: ledger.hash_at(answer.height))
    except LedgerError:
        here = None
    return {
        "offset_s": answer.now_s - (sent + back) / 2,
        "way_s": max(0.0, back - sent),
        "height": answer.height,
        "agrees": None if here is None else here == answer.head,
        "versions": dict(answer.versions),
        "echo": hashlib.sha256(answer.echo).digest() == hashlib.sha256(payload).digest(),
    }
