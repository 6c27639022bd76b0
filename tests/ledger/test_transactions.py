"""Raw transactions against py-evm, which reads the same bytes."""

import pytest
from eth.vm.forks.london import LondonVM
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.identity import LedgerKey
from cohortium.errors import LedgerRefused
from cohortium.ledger import rlp
from cohortium.ledger.interface import consortium
from cohortium.ledger.transactions import (
    CALL_GAS,
    MAX_TRANSACTION_BYTES,
    Transaction,
    check_entry,
    open_transaction,
    sign_call,
    sign_deployment,
)

KEY = LedgerKey.from_bytes(b"\x05" * 32)
CONTRACT = b"\xcc" * 20
oracle = LondonVM.get_transaction_builder()


def call(**changed):
    given = {"chain_id": 7001, "nonce": 3, "contract": CONTRACT, "function": "decline", "args": (12,)}
    return sign_call(KEY, **{**given, **changed})


@given(st.integers(0, 2**64 - 2), st.integers(1, 2**53 - 1), st.integers(0, 2**256 - 1))
@settings(max_examples=50, deadline=None)
def test_py_evm_reads_what_we_sign(nonce, chain_id, run):
    raw = call(nonce=nonce, chain_id=chain_id, args=(run,))
    seen = oracle.decode(raw)
    seen.validate()
    assert seen.chain_id == chain_id
    assert (seen.sender, seen.nonce, seen.to, seen.gas) == (KEY.address, nonce, CONTRACT, CALL_GAS)
    assert (seen.gas_price, seen.value) == (0, 0)
    assert seen.data == consortium().interface.encode_call("decline", (run,))
    assert seen.encode() == raw
    assert open_transaction(raw, chain_id=chain_id) == (KEY.address, nonce, CONTRACT, "decline", (run,), CALL_GAS)


def test_known_transaction_of_eip_155():
    """The example in EIP-155, which is no call of ours, has the digest and signature we compute."""
    from cohortium.ledger.transactions import _sign

    key = LedgerKey.from_bytes(b"\x46" * 32)
    fields = [b"\x09", rlp.to_bytes(20 * 10**9), rlp.to_bytes(21000), b"\x35" * 20, rlp.to_bytes(10**18), b""]
    assert _sign(key, 1, fields).hex() == (
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080"
        "25a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
        "a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    )


def test_signing_twice_gives_the_same_bytes():
    assert call() == call()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_one_changed_byte_is_refused_or_another_sender_or_call(data):
    raw = bytearray(call())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        opened = open_transaction(bytes(raw), chain_id=7001)
    except LedgerRefused:
        return
    assert opened.sender != KEY.address


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_random_bytes_are_refused(data):
    with pytest.raises(LedgerRefused) as refused:
        open_transaction(data, chain_id=7001)
    assert refused.value.reason in ("undecodable", "chain")


def test_transaction_of_another_chain_is_refused_and_named():
    with pytest.raises(LedgerRefused, match="a transaction for chain 7002, here is 7001") as refused:
        open_transaction(call(chain_id=7002), chain_id=7001)
    assert refused.value.reason == "chain"


def test_transaction_for_no_chain_is_refused():
    fields = list(rlp.decode(call()))
    with pytest.raises(LedgerRefused, match="for chain none"):
        open_transaction(rlp.encode([*fields[:6], b"\x1c", *fields[7:]]), chain_id=7001)


def test_size_limit_holds_on_both_sides():
    args = (1, 0, b"\1" * 32, bytes(MAX_TRANSACTION_BYTES), 0)
    with pytest.raises(ValueError, match="a transaction has at most 65536"):
        call(function="spend", args=args)
    with pytest.raises(LedgerRefused) as refused:
        open_transaction(bytes(MAX_TRANSACTION_BYTES + 1), chain_id=7001)
    assert refused.value.reason == "size"


@pytest.mark.parametrize("chain_id", [0, -1, 2**53])
def test_chain_ids_outside_the_range_are_refused(chain_id):
    with pytest.raises(ValueError, match="chain id must be"):
        call(chain_id=chain_id)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"to": b"\1" * 20}, "contract"),
        ({"active": False}, "stranger"),
        ({"nonce": 4}, "nonce"),
        ({"nonce": 2}, "nonce"),
        ({"gas": CALL_GAS + 1}, "gas"),
        ({"gas": 21_000}, "gas"),
        ({"to": b"\1" * 20, "active": False, "gas": 0}, "contract"),
        ({"active": False, "nonce": 9, "gas": 0}, "stranger"),
        ({"nonce": 9, "gas": 0}, "nonce"),
    ],
)
def test_entry_rules_in_their_order(changed, reason):
    active = changed.pop("active", True)
    opened = Transaction(KEY.address, 3, CONTRACT, "heartbeat", (), CALL_GAS)._replace(**changed)
    with pytest.raises(LedgerRefused) as refused:
        check_entry(opened, contract=CONTRACT, active=active, nonce=3)
    assert refused.value.reason == reason


def test_an_honest_entry_passes():
    check_entry(open_transaction(call(), chain_id=7001), contract=CONTRACT, active=True, nonce=3)


def test_a_deployment_is_a_creation_that_py_evm_reads():
    raw = sign_deployment(KEY, chain_id=7001, args=([KEY.address], ["bonn"], [bytes(32)], [bytes(32)]))
    seen = oracle.decode(raw)
    assert (seen.sender, seen.to, seen.nonce) == (KEY.address, b"", 0)
    assert seen.data.startswith(consortium().code)
    with pytest.raises(LedgerRefused, match="undecodable"):
        open_transaction(raw, chain_id=7001)
