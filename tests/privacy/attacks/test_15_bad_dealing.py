"""Attack 15: deal shares that do not fit each other, or show different public parts to different sites."""

import numpy as np
import pytest

from cohortium.core.identity import message_digest
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.ledger.rules.evidence import slot_digest
from cohortium.privacy.secagg import leader
from cohortium.privacy.secagg.member import deal_shares
from cohortium.privacy.secagg.secrets import Secrets
from cohortium.swarm.gate import STEP_SLOT, Witness

DEALER = "site-02"


def deal(world):
    """Shares that open and match their digests, but are of another secret than the one announced."""
    world.run("keys", "shares")
    own = world.secrets(DEALER)
    other = Secrets(a=own.a, e=own.e, b=b"\1" * 31, seeds=own.seeds)
    world.received["shares"][DEALER] = deal_shares(world.binding(), DEALER, other, world.keys()).to_parameters()
    return world.run("masked").run("unmask")


def test_where_rebuilt_secrets_are_not_checked_the_sum_fails_and_nobody_is_named(world, monkeypatch) -> None:
    monkeypatch.setattr(leader, "_fits", lambda *args: True)  # weak
    with pytest.raises(PeerError, match="did not cancel") as failed:
        deal(world()).open()
    assert failed.value.site == ""


def test_ours_names_the_dealer(world) -> None:
    with pytest.raises(PeerError, match="'site-02' dealt shares of another secret than it announced") as failed:
        deal(world()).open()
    assert failed.value.site == DEALER


def test_shares_that_do_not_open_name_their_dealer_once_more_sites_than_can_collude_say_so(world) -> None:
    ours = world().run("keys", "shares")
    sealed = np.array(ours.received["shares"][DEALER]["sealed"])
    sealed[[0, 1, 3]] ^= 1
    ours.received["shares"][DEALER] |= Parameters({"sealed": sealed})
    with pytest.raises(PeerError, match="2 of 4 shares of site 'site-02' are here") as failed:
        ours.run("masked").run("unmask").open()
    assert failed.value.site == DEALER


def test_two_signed_public_parts_are_evidence_that_excludes_the_dealer(attacker) -> None:
    court, witness = attacker.Court(5), Witness()
    slot, key = (1, 1, 1, STEP_SLOT + 1), court.keys[DEALER]
    said = [
        witness.note(DEALER, slot, part, key.sign(message_digest(slot_digest(bytes(19) + b"\1", 7, *slot, part))))
        for part in (b"a" * 32, b"a" * 32, b"b" * 32)
    ]
    assert said[:2] == [None, None]
    court.do("site-01", "report_equivocation", *slot, *said[2])
    assert court.named("Equivocated")[0]["site"] == DEALER
