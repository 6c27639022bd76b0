import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cohortium.errors import PeerError
from cohortium.privacy.secagg.secrets import Secrets, agree, clamped, public_key, self_digest, share_digest
from cohortium.privacy.secagg.shamir import PRIME


def test_agreement_is_x25519_as_in_rfc_7748() -> None:
    # section 5.2, first vector: scalar, u-coordinate, output
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    u = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    expected = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert agree(X25519PrivateKey.from_private_bytes(scalar), u, site="b").hex() == expected


def test_clamped_key_is_the_same_key_and_fits_below_the_prime() -> None:
    for first in (bytes(32), b"\xff" * 32, bytes(range(32))):
        key = clamped(first)
        assert public_key(key) == X25519PrivateKey.from_private_bytes(first).public_key().public_bytes_raw()
        assert clamped(key) == key
    assert int.from_bytes(clamped(b"\xff" * 32), "little") >= PRIME - 8  # the only keys that must be drawn again


def test_secrets_repeat_from_their_root_and_differ_in_every_other_attempt() -> None:
    one = Secrets.from_root(b"r" * 32, b"c" * 32)
    assert Secrets.from_root(b"r" * 32, b"c" * 32) == one
    other, third = Secrets.from_root(b"r" * 32, b"d" * 32), Secrets.from_root(b"s" * 32, b"c" * 32)
    parts = [part for s in (one, other, third) for part in (s.a, s.e, s.b, *s.seeds)]
    assert len(set(parts)) == 15
    assert int.from_bytes(one.a, "little") < PRIME
    assert len(one.b) == 31


def test_keys_are_those_of_their_bytes_and_two_sites_seal_alike() -> None:
    one, other = (Secrets.from_root(root * 32, b"c" * 32) for root in (b"r", b"s"))
    assert one.mask_key.private_bytes_raw() == one.a
    assert one.seal_key.private_bytes_raw() == one.e
    ends = [a.seal_with(public_key(b.e), site="x") for a, b in ((one, other), (other, one), (one, other))]
    assert ends[0] == ends[1] == ends[2] == agree(one.seal_key, public_key(other.e), site="x")


def test_secrets_do_not_show_themselves() -> None:
    secrets = Secrets.from_root(b"r" * 32, b"c" * 32)
    assert secrets.b.hex() not in repr(secrets)
    assert repr(secrets.b) not in repr(secrets)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_key_on_a_small_subgroup_is_refused_by_name(point) -> None:
    with pytest.raises(PeerError, match="'porto' sent a key that lies on a small subgroup") as refused:
        agree(X25519PrivateKey.from_private_bytes(b"k" * 32), point, site="porto")
    assert refused.value.site == "porto"


def test_digests_belong_to_one_dealer_holder_kind_and_attempt() -> None:
    def digest(ctx=b"c" * 32, dealer="a", holder="b", kind=0, share=b"s" * 32):
        return share_digest(ctx, dealer=dealer, holder=holder, kind=kind, share=share)

    found = {digest(), digest(ctx=b"d" * 32), digest(dealer="b"), digest(holder="c"), digest(kind=1),
             digest(share=b"t" * 32)}  # fmt: skip
    assert len(found) == 6
    assert self_digest(b"c" * 32, b"b") != self_digest(b"d" * 32, b"b")
