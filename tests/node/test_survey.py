"""What peers say of time, chain and versions, and whether 64 KiB come back: from honest, silent and strange ones."""

import asyncio
import contextlib
import json

import msgspec
import numpy as np
import pytest

from cohortium.core.seams import Head
from cohortium.errors import LedgerUnreachable
from cohortium.ledger.memory import MemoryLedger
from cohortium.node.membership import MemberDirectory
from cohortium.node.survey import SURVEY, own_versions, survey, surveyor
from cohortium.node.voting import cast
from cohortium.transport.memory import Link, MemoryNetwork
from cohortium.transport.switchboard import Switchboard

NOW = 1_800_000_000.0


class Chain:
    """A chain of given hashes; the last is the head."""

    def __init__(self, *hashes):
        self.hashes = hashes

    def head(self):
        return Head(len(self.hashes), self.hashes[-1], bytes(32))

    def hash_at(self, height):
        return self.hashes[height - 1] if height <= len(self.hashes) else None


class Gone(Chain):
    def head(self):
        raise LedgerUnreachable("no engine answers")

    def hash_at(self, height):
        return self.head()


A, B, C = (bytes([n]) * 32 for n in range(3))


@pytest.fixture
def directory(porto):
    followed = MemberDirectory(porto, now=NOW)
    followed.follow(MemoryLedger.found(porto.founding.genesis, clock=lambda: NOW).events())
    return followed


def ask(directory, answers, *, ledger=None, link=None, timeout_s=5.0):
    """The survey of porto; answers: peer -> what answers there (None: nobody)."""

    async def main():
        network = MemoryNetwork(rng=np.random.default_rng(0), link=link or Link())
        boards = {site: Switchboard(network.join(site)) for site in ("porto", *answers)}
        for site, handler in answers.items():
            if handler is not None:
                boards[site].answer(SURVEY, handler)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(board.run()) for board in boards.values()]
            told = await survey(
                boards["porto"],
                directory,
                site="porto",
                ledger=ledger or Chain(A, B),
                clock=lambda: NOW,
                timeout_s=timeout_s,
            )
            for board in boards.values():
                await board.close()
            for task in running:
                task.cancel()
        json.dumps(told)
        return told

    return asyncio.run(main())


def honest(chain, *, ahead_s=0.0):
    return surveyor(chain.head, lambda: NOW + ahead_s)


def test_an_honest_peer_is_compared_in_everything(directory):
    told = ask(directory, {"bonn": honest(Chain(A, B)), "lund": honest(Chain(A), ahead_s=90.0)})
    bonn, lund = told["peers"]["bonn"], told["peers"]["lund"]
    assert (bonn["agrees"], bonn["height"], bonn["echo"], bonn["versions"]) == (True, 2, True, own_versions())
    assert (lund["agrees"], lund["offset_s"]) == (True, 90.0)
    assert told["tls"] == directory.contacts()["porto"].fingerprint.hex()
    assert told["ledger"] == ""


def test_another_chain_is_seen_and_a_longer_one_is_not_judged(directory):
    told = ask(directory, {"bonn": honest(Chain(A, C)), "lund": honest(Chain(A, B, C))})
    assert told["peers"]["bonn"]["agrees"] is False
    assert told["peers"]["lund"]["agrees"] is None


def test_silence_and_refusal_say_why(directory):
    async def silent(peer, question):
        await asyncio.sleep(60)
        return b""

    told = ask(directory, {"bonn": silent, "lund": None}, timeout_s=0.2)
    assert told["peers"]["bonn"] == {"why": "no answer within 0.2 s"}
    assert "nothing is answered" in told["peers"]["lund"]["why"]


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x90", msgspec.msgpack.encode([1e99, -1, b"", {}, b""])])
def test_a_malformed_answer_is_refused(directory, raw):
    async def strange(peer, question):
        return raw

    told = ask(directory, {"bonn": strange, "lund": honest(Chain(A))})
    assert "another form" in told["peers"]["bonn"]["why"]


def test_a_damaged_echo_is_seen(directory):
    async def damaging(peer, question):
        return await honest(Chain(A))(peer, question[:-1] + b"!")

    told = ask(directory, {"bonn": damaging, "lund": honest(Chain(A))})
    assert (told["peers"]["bonn"]["echo"], told["peers"]["lund"]["echo"]) == (False, True)


def test_an_oversize_question_is_refused(directory):
    with pytest.raises(Exception, match="at most 65536"):
        asyncio.run(honest(Chain(A))("bonn", bytes(65_537)))


def test_an_engine_that_does_not_answer_is_told(directory):
    told = ask(directory, {"bonn": honest(Chain(A)), "lund": honest(Chain(A))}, ledger=Gone(A))
    assert told["ledger"] == "no engine answers"
    assert told["peers"]["bonn"]["agrees"] is None


def test_who_is_no_member_has_no_certificate_on_the_ledger(porto):
    ledger = MemoryLedger.found(porto.founding.genesis, clock=lambda: NOW)
    cast(ledger, porto.keys.ledger, "leave")
    directory = MemberDirectory(porto, now=NOW)
    directory.follow(ledger.events())
    with contextlib.suppress(TimeoutError):
        told = ask(directory, {"bonn": honest(Chain(A)), "lund": honest(Chain(A))})
    assert told["tls"] == ""
