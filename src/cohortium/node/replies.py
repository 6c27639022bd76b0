"""What peers may ask of a node, by topic, and what it answers. Whoever asks is a member; every request has its limit.

study      the text and code of a study, by its digest          figures    own figures of an ended run
head       height and hash of the newest block here             card       the card of a member
announce   a member's own newer card                            ledger     blocks and entries, where it is hosted
survey     the time, the head, the versions, and 64 KiB back
"""

from __future__ import annotations

from collections.abc import Callable

from cohortium.errors import FrameError, PeerError
from cohortium.node.cards import MAX_CARD_BYTES
from cohortium.node.figures import TOPIC as FIGURES
from cohortium.node.figures import answer_figures
from cohortium.node.means import Means
from cohortium.node.membership import MemberDirectory
from cohortium.node.run_folder import Figures
from cohortium.node.runs import Runs
from cohortium.node.studies import TOPIC as STUDY
from cohortium.node.survey import SURVEY, surveyor

__all__ = ["ANNOUNCE", "CARD", "HEAD", "LEDGER", "answer_peers"]

CARD, ANNOUNCE, HEAD, LEDGER = "card", "announce", "head", "ledger"


def answer_peers(means: Means, runs: Runs, *, directory: MemberDirectory, changed: Callable[[], None]) -> None:
    """Answer from now on. changed: called when a member is to be reached otherwise than before."""

    def find(number: int) -> Figures | None:
        run = runs.by_number.get(number)
        return None if run is None else run.folder.figures()

    async def study(peer: str, request: bytes) -> bytes:
        return means.library.answer(request)

    async def figures(peer: str, request: bytes) -> bytes:
        return answer_figures(request, find)

    async def head(peer: str, request: bytes) -> bytes:
        now = means.ledger.head()
        return now.height.to_bytes(8, "big") + now.hash

    async def card(peer: str, request: bytes) -> bytes:
        found = directory.card_of(request[:64].decode("ascii", "replace"))
        if found is None:
            raise PeerError("no such card is known here")
        return found

    async def announce(peer: str, request: bytes) -> bytes:
        if len(request) > MAX_CARD_BYTES:
            raise FrameError(f"a card has at most {MAX_CARD_BYTES} bytes")
        if await means.blocking(lambda: directory.learn(request)):  # it goes to the disk
            changed()
        return b""

    for topic, handler in ((STUDY, study), (FIGURES, figures), (HEAD, head), (CARD, card), (ANNOUNCE, announce)):
        means.board.answer(topic, handler)
    means.board.answer(SURVEY, surveyor(means.ledger.head, means.clock, blocking=means.blocking))
    if means.ledger.genesis.engine == "local":
        _host_ledger(means)


def _host_ledger(means: Means) -> None:
    """Answer for the ledger, where this site hosts it."""
    from cohortium.ledger.hosted import LedgerHost  # needs the extra `evm`
    from cohortium.ledger.local import LocalLedger

    if not isinstance(means.ledger, LocalLedger):
        return
    host = LedgerHost(means.ledger, key=means.key)

    async def entries(peer: str, request: bytes) -> bytes:
        answer: bytes = await means.blocking(lambda: host.answer(request))
        return answer

    means.board.answer(LEDGER, entries)
