"""A card is believed only whole: three signatures, one certificate for its name, nothing changed, nothing too long."""

import base64
import contextlib
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortium.core.identity import Site
from cohortium.errors import FrameError, PeerError, SignatureError, UsageError
from cohortium.node.cards import MAX_CARD_BYTES, Card, CardBook, make_card, read_card
from cohortium.node.keys import Keys, write_keys

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    for name, site in (("porto", "porto"), ("other", "porto"), ("bonn", "bonn")):
        write_keys(folder / name, site=site, now=float(NOW))
    return {name: Keys.read(folder / name, passphrase=None) for name in ("porto", "other", "bonn")}


@pytest.fixture(scope="module")
def card(keys):
    return make_card(
        keys["porto"], site="porto", issued=NOW, endpoint="swarm.porto.example:443", contact="it", relays=("lund",)
    )


def changed(card, **fields):
    said = json.loads(card.to_bytes())
    said.update(fields)
    return json.dumps(said).encode()


def on_ledger(card, **other):
    facts = {"name": card.site, "address": card.address, "tls": card.tls, "seal": card.seal_digest}
    return Site(**{**facts, **other})


def test_a_card_is_read_as_it_was_written_and_is_small(card):
    raw = card.to_bytes()
    assert Card.from_bytes(raw) == card
    assert len(raw) < MAX_CARD_BYTES
    assert (card.tls, card.seal_digest) == (
        hashlib.sha256(card.certificate).digest(),
        hashlib.sha256(card.seal).digest(),
    )


def test_a_card_is_what_a_transport_needs(card):
    contact = card.to_contact()
    assert (contact.name, contact.endpoint, contact.seal) == ("porto", "swarm.porto.example:443", card.seal)
    assert contact.fingerprint == card.tls
    assert contact.relays == ("lund",)


def test_the_fingerprint_is_of_the_keys_and_not_of_the_address_on_the_network(keys, card):
    moved = make_card(keys["porto"], site="porto", issued=NOW + 5, endpoint="new.porto.example:443")
    other = make_card(keys["other"], site="porto", issued=NOW, endpoint="swarm.porto.example:443")
    assert moved.fingerprint == card.fingerprint
    assert other.fingerprint != card.fingerprint
    assert [len(group) for group in card.fingerprint.split()] == [4] * 8


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "evil.example:443"},
        {"contact": "call me"},
        {"issued": NOW + 1},
        {"relays": []},
        {"address": "11" * 20},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_changed_field_is_seen(card, fields):
    with pytest.raises(SignatureError, match="not signed by all three"):
        Card.from_bytes(changed(card, **fields))


@pytest.mark.parametrize("name", ["ledger", "seal", "tls"])
def test_each_of_the_three_signatures_is_needed(keys, card, name):
    other = make_card(
        keys["other"], site="porto", issued=NOW, endpoint="swarm.porto.example:443", contact="it", relays=("lund",)
    )
    signs = json.loads(card.to_bytes())["signatures"]
    foreign = json.loads(other.to_bytes())["signatures"]
    with pytest.raises(SignatureError):
        Card.from_bytes(changed(card, signatures={**signs, name: foreign[name]}))


def test_a_seal_key_that_is_not_held_is_refused(keys, card):
    """Mallory puts porto's seal key on a card of her own: two signatures are hers, the third she cannot give."""
    with pytest.raises(SignatureError):
        Card.from_bytes(changed(card, seal=keys["bonn"].seal_public.hex()))


@pytest.mark.parametrize("seal", ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f"])
def test_a_seal_key_for_which_anybody_could_sign_is_refused(card, seal):
    with pytest.raises(SignatureError):
        Card.from_bytes(changed(card, seal=seal))


def test_a_certificate_for_another_name_is_refused(keys):
    card = make_card(keys["bonn"], site="bonn", issued=NOW)
    with pytest.raises(FrameError, match=r"not for the name porto\.cohortium"):
        Card.from_bytes(changed(card, site="porto"))


@pytest.mark.parametrize("name", ["lund", "\uffff", "porto"], ids=["another's", "none TLS can read", "one more fact"])
def test_a_certificate_of_another_form_than_ours_is_refused_before_it_becomes_a_root_of_trust(card, name):
    """At every other member it would hide the roots behind it, or stand in the way of whoever has that subject."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.fromtimestamp(NOW, UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    named = x509.SubjectAlternativeName([x509.DNSName("porto.cohortium")])
    form = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    form = form.serial_number(5).not_valid_before(now).not_valid_after(now + timedelta(days=9))
    form = form.add_extension(named, critical=False).add_extension(x509.BasicConstraints(False, None), critical=True)
    if name == "porto":
        form = form.add_extension(x509.SubjectKeyIdentifier(b"x"), critical=False)
    der = form.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(FrameError, match="the certificates this program makes"):
        Card.from_bytes(changed(card, certificate=base64.b64encode(der).decode()))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"site":"porto"}',
        b"{" * 5000,
        b"[" * 4000,
    ],
    ids=["empty", "list", "nothing", "no text", "one field", "too long", "deep"],
)
def test_what_is_no_card_is_refused_in_one_sentence(raw):
    with pytest.raises(FrameError, match="card") as caught:
        Card.from_bytes(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "PORTO"),
        ("endpoint", "no port"),
        ("endpoint", 7),
        ("issued", 1.5),
        ("issued", 0),
        ("relays", ["a"] * 9),
        ("relays", [1]),
        ("seal", "00"),
        ("certificate", "!!"),
        ("certificate", ""),
        ("contact", "two\nlines"),
        ("signatures", {}),
        ("format", "cohortium-card-2"),
    ],
)
def test_each_field_has_its_form(card, field, value):
    with pytest.raises(PeerError):
        Card.from_bytes(changed(card, **{field: value}))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 5000), byte=st.integers(0, 255))
def test_no_changed_byte_gives_another_believed_card(card, at, byte):
    raw = bytearray(card.to_bytes())
    raw[at % len(raw)] = byte
    with contextlib.suppress(PeerError):
        assert Card.from_bytes(bytes(raw)) == card


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # an error in later versions of cryptography
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_certificate_with_any_byte_changed_is_refused(card, at, byte):
    der = bytearray(card.certificate)
    der[at % len(der)] = byte
    if der != card.certificate:
        with pytest.raises(PeerError):
            Card.from_bytes(changed(card, certificate=base64.b64encode(der).decode()))


# the book


def test_the_newest_card_of_the_ledgers_keys_is_taken(keys, card, tmp_path):
    book = CardBook(tmp_path)
    assert book.fitting(on_ledger(card)) is None
    book.put(card)
    moved = make_card(keys["porto"], site="porto", issued=NOW + 9, endpoint="new.porto.example:443")
    book.put(moved)
    book.put(card)
    assert book.fitting(on_ledger(card)).endpoint == "new.porto.example:443"
    assert CardBook(tmp_path).fitting(on_ledger(card)) == moved


@pytest.mark.parametrize("other", [{"tls": bytes(32)}, {"seal": bytes(32)}, {"address": bytes(20)}, {"name": "bonn"}])
def test_a_card_of_other_keys_than_the_ledgers_fits_nobody(card, tmp_path, other):
    book = CardBook(tmp_path, [card])
    assert book.fitting(on_ledger(card)) == card
    assert book.fitting(on_ledger(card, **other)) is None


def test_the_book_holds_four_cards_a_site_at_most(keys, tmp_path):
    for n in range(6):
        write_keys(tmp_path / f"keys-{n}", site="porto", now=float(NOW))
    book = CardBook(tmp_path)
    for n in range(6):
        book.put(make_card(Keys.read(tmp_path / f"keys-{n}", passphrase=None), site="porto", issued=NOW + n))
    assert [card.issued - NOW for card in book.of("porto")] == [5, 4, 3, 2]
    assert len(list(tmp_path.glob("*.request.json"))) == 4, "a member announces new keys as often as it likes"
    assert len(CardBook(tmp_path).of("porto")) == 4


def test_a_damaged_file_is_named_and_the_others_are_read(card, tmp_path):
    CardBook(tmp_path).put(card)
    (tmp_path / "bonn.request.json").write_bytes(b"{}")
    book = CardBook(tmp_path)
    assert book.unreadable == ["bonn.request.json"]
    assert book.of("porto") == (card,)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_card(tmp_path / "porto.request.json")
