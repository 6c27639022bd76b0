"""Keys, signatures and names against published vectors and a second implementation (eth-keys)."""

import copy
import pickle

import pytest
from eth_keys import keys as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.identity import (
    LedgerKey,
    Membership,
    Peer,
    Site,
    check_site_name,
    fingerprint,
    keccak,
    message_digest,
    recover,
    recover_message,
)
from cohortium.errors import SignatureError

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ONE = LedgerKey.from_bytes((1).to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32)
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))


def test_keccak_is_ethereums_and_not_sha3():
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak(b"abc").hex() == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"


def test_address_of_the_smallest_key_is_the_published_one():
    assert ONE.address.hex() == "7e5f4552091a69125d5dfcb7b8c2659029395bdf"


def test_envelope_of_a_message_is_that_of_eip_191():
    digest = keccak(b"cohortium")
    assert message_digest(digest) == keccak(b"\x19Ethereum Signed Message:\n32" + digest)


@given(secrets, digests)
@settings(max_examples=25)
def test_signatures_and_addresses_equal_those_of_eth_keys(secret, digest):
    key, other = LedgerKey.from_bytes(secret), oracle.PrivateKey(secret)
    theirs = other.sign_msg_hash(digest).to_bytes()
    assert key.address == other.public_key.to_canonical_address()
    assert key.sign(digest) == theirs[:64] + bytes([27 + theirs[64]])
    assert recover(digest, key.sign(digest)) == key.address


@given(digests)
@settings(max_examples=50)
def test_signatures_have_a_low_s(digest):
    assert int.from_bytes(ONE.sign(digest)[32:64], "big") <= ORDER // 2


def test_the_high_twin_of_a_signature_is_refused():
    digest = keccak(b"vote")
    signature = ONE.sign(digest)
    high = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    twin = signature[:32] + high + bytes([55 - signature[64]])
    other = oracle.Signature(twin[:64] + bytes([twin[64] - 27]))
    assert other.recover_public_key_from_msg_hash(digest).to_canonical_address() == ONE.address  # it is a twin
    with pytest.raises(SignatureError, match="high s"):
        recover(digest, twin)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda s: s[:64], "64 bytes"),
        (lambda s: s + b"\0", "66 bytes"),
        (lambda s: s[:64] + b"\0", "v = 0"),
        (lambda s: s[:64] + b"\x1d", "v = 29"),
        (lambda s: bytes(32) + s[32:], "not one of any key"),
        (lambda s: s[:32] + bytes(32) + s[64:], "not one of any key"),
        (lambda s: b"\xff" * 32 + s[32:], "not one of any key"),
    ],
)
def test_spoiled_signatures_are_refused_by_name(spoil, says):
    digest = keccak(b"vote")
    with pytest.raises(SignatureError, match=says):
        recover(digest, spoil(ONE.sign(digest)))


@given(st.integers(0, 511))
@settings(max_examples=40)
def test_a_flipped_bit_never_gives_the_signers_address(bit):
    digest = keccak(b"vote")
    signature = bytearray(ONE.sign(digest))
    signature[bit // 8] ^= 1 << bit % 8
    try:
        found = recover(digest, bytes(signature))
    except SignatureError:
        return
    assert found != ONE.address


def test_a_message_signature_is_not_a_plain_one():
    digest = keccak(b"manifest")
    assert recover_message(digest, ONE.sign_message(digest)) == ONE.address
    assert recover_message(digest, ONE.sign(digest)) != ONE.address


def test_a_key_never_shows_its_secret():
    key = LedgerKey.from_bytes(bytes(range(1, 33)))
    shown = repr(key) + str(key) + f"{[key]}" + f"{vars(Site(name='a', address=key.address))}"
    assert bytes(range(1, 33)).hex() not in shown
    assert key.address.hex() in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)
    assert key.secret_bytes() == bytes(range(1, 33))


def test_equal_secrets_are_equal_keys():
    again = LedgerKey.from_bytes((1).to_bytes(32, "big"))
    assert again == ONE
    assert len({again, ONE}) == 1
    assert LedgerKey.from_bytes((2).to_bytes(32, "big")) != ONE
    assert ONE != "7e5f"


@pytest.mark.parametrize("number", [0, ORDER, 2**256 - 1])
def test_numbers_outside_the_group_are_no_keys(number):
    with pytest.raises(ValueError, match="order"):
        LedgerKey.from_bytes(number.to_bytes(32, "big"))


def test_a_new_key_draws_again_when_the_number_is_no_key():
    drawn = iter([b"\xff" * 32, bytes(32), (1).to_bytes(32, "big")])
    assert LedgerKey.new(lambda n: next(drawn)) == ONE


def test_short_entropy_is_refused():
    with pytest.raises(ValueError, match="entropy must be 32 bytes, got 4 bytes"):
        LedgerKey.new(lambda n: b"abcd")


@pytest.mark.parametrize("name", ["porto", "a", "0-9", "x" * 32])
def test_site_names_pass(name):
    assert check_site_name(name) == name


@pytest.mark.parametrize("name", ["", "Porto", "x" * 33, "são", "a b", "a\n", "a_b", 7, None])
def test_other_names_do_not(name):
    with pytest.raises(ValueError, match="site name must be"):
        check_site_name(name)


def test_a_site_checks_its_digests():
    with pytest.raises(ValueError, match="site 'a': address must be 20 bytes, got 3 bytes"):
        Site(name="a", address=b"abc")
    with pytest.raises(ValueError, match="tls digest must be 32 bytes, got str"):
        Site(name="a", address=bytes(20), tls="00")  # type: ignore[arg-type]


def test_members_are_sorted_and_found_by_name_and_address():
    b = Site(name="b", address=b"\2" * 20)
    a = Site(name="a", address=b"\1" * 20, status="left")
    members = Membership([b, a], epoch=3)
    assert [site.name for site in members] == ["a", "b"]
    assert members.active == (b,)
    assert members.named("a") is members.at(b"\1" * 20) is a
    assert members.named("c") is members.at(bytes(20)) is None
    assert len(members) == 2
    assert Peer(site=b).name == "b"


@pytest.mark.parametrize("twin", [Site(name="a", address=b"\2" * 20), Site(name="b", address=b"\1" * 20)])
def test_two_members_share_neither_name_nor_key(twin):
    with pytest.raises(ValueError, match="stands twice"):
        Membership([Site(name="a", address=b"\1" * 20), twin])


def test_a_fingerprint_is_eight_groups_of_four():
    assert fingerprint(bytes(range(32))) == "0001 0203 0405 0607 0809 0a0b 0c0d 0e0f"
