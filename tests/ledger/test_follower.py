"""What a follower reads is its own replica; what needs news asks for all of it first, pages and all."""

import pytest

from cohortium.errors import LedgerRefused, LedgerUnreachable
from cohortium.ledger.blocks import read_header
from cohortium.ledger.follower import Follower
from cohortium.ledger.replica import Replica
from cohortium.ledger.transactions import sign_call


class Pages(Follower):
    """News come from another ledger, a block a page; `down` for nobody there."""

    def __init__(self, replica, *, source, clock, key):
        super().__init__(replica, clock=clock, key=key)
        self.source, self.down, self.asked = source, False, 0

    def _follow(self):
        self.asked += 1
        if self.down:
            raise LedgerUnreachable("nobody there")
        mine = self._chain.head().height
        for block in self.source.blocks(mine + 1, n=1):
            with self._chain.lock:
                self._chain.replica.apply(block.raw, time=read_header(block.header).time, header=block.header)
        return self._chain.head().height > mine


@pytest.fixture
def pair(hospitals, tmp_path):
    one = hospitals.found("local", tmp_path)
    replica = Replica.found(tmp_path / "graz.sqlite", one.genesis)
    follower = Pages(replica, source=one.ledger, clock=one.clock, key=hospitals.key_of("graz"))
    yield one, follower
    follower.close()
    one.ledger.close()


def test_what_needs_news_takes_all_pages_and_what_does_not_asks_nobody(pair):
    one, follower = pair
    for _ in range(3):
        one.put("bonn", "heartbeat")
    before = follower.head()
    assert (follower.asked, follower.hash_at(before.height)) == (0, before.hash)
    assert list(follower.events_here()) == list(one.ledger.events())[: len(list(follower.events_here()))]
    assert follower.asked == 0
    assert list(follower.events()) == list(one.ledger.events())
    assert follower.head() == one.ledger.head() != before
    assert not follower.sync()


def test_without_news_reading_here_goes_on_and_the_rest_says_so(pair):
    _, follower = pair
    follower.down = True
    assert follower.head().height >= 0
    for needs_news in (follower.sync, follower.events, lambda: follower.nonce(bytes(20)),
                       lambda: follower.call("members")):  # fmt: skip
        with pytest.raises(LedgerUnreachable, match="nobody there"):
            needs_news()


def test_a_transaction_is_judged_as_things_stand_here(pair, hospitals):
    _, follower = pair
    follower.sync()

    def signed(site, nonce):
        key = hospitals.key_of(site)
        return sign_call(key, chain_id=follower.chain_id, nonce=nonce, contract=follower.contract,
                         function="heartbeat", args=())  # fmt: skip

    mine = hospitals.key_of("graz").address
    now = follower.nonce(mine)
    assert follower._check(signed("graz", now), mine).function == "heartbeat"
    with pytest.raises(LedgerRefused):
        follower._check(signed("graz", now + 1), mine)
    with pytest.raises(LedgerRefused):
        follower._check(signed("graz", now), hospitals.key_of("bonn").address)
    assert follower._receipt_of(signed("graz", now)) is None
