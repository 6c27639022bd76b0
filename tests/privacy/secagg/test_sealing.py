import pytest

from cohortium.privacy.secagg.messages import SEALED_BYTES
from cohortium.privacy.secagg.sealing import seal, unseal
from cohortium.privacy.secagg.secrets import Secrets

PAIR = (b"b" * 32, b"a" * 32)
DEALER, HOLDER, RELAY = (Secrets.from_root(bytes([i]) * 32, b"c" * 32) for i in (1, 2, 3))


def public(secrets):
    return secrets.seal_key.public_key().public_bytes_raw()


def sealed(**change):
    shared = DEALER.seal_with(public(HOLDER), site="porto")
    return seal(PAIR, **{"shared": shared, "ctx": b"c" * 32, "dealer": "bonn", "holder": "porto", **change})


def opened(data, **change):
    shared = HOLDER.seal_with(public(DEALER), site="bonn")
    return unseal(data, **{"shared": shared, "ctx": b"c" * 32, "dealer": "bonn", "holder": "porto", **change})


def test_holder_opens_what_the_dealer_sealed() -> None:
    assert len(sealed()) == SEALED_BYTES
    assert opened(sealed()) == PAIR


@pytest.mark.parametrize(
    "change",
    [
        {"shared": RELAY.seal_with(public(DEALER), site="bonn")},
        {"shared": HOLDER.seal_with(public(RELAY), site="lund")},
        {"ctx": b"d" * 32},
        {"dealer": "lund"},
        {"holder": "lund"},
    ],
)
def test_shares_open_for_nobody_else_and_in_no_other_attempt(change) -> None:
    assert opened(sealed(), **change) is None


def test_one_changed_bit_anywhere_is_noticed_and_no_share_is_readable() -> None:
    data = sealed()
    assert PAIR[0] not in data
    assert PAIR[1] not in data
    for at in range(0, SEALED_BYTES, 7):
        assert opened(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None


def test_both_directions_have_keys_of_their_own() -> None:
    back = seal(PAIR, shared=HOLDER.seal_with(public(DEALER), site="bonn"), ctx=b"c" * 32, dealer="porto",
                holder="bonn")  # fmt: skip
    assert back != sealed()
