"""Keys are born private, open again as they were, and are refused when others can read them."""

import os
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cohortium.errors import CohortiumError, UsageError
from cohortium.node.keys import (
    KEY_FILES,
    Keys,
    finish_promotion,
    promote_keys,
    read_certificate,
    read_passphrase,
    stage_keys,
    write_keys,
    write_private,
)
from cohortium.transport.certificates import VALID_DAYS

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path):
    write_keys(tmp_path / "keys", site="porto", now=NOW)
    return tmp_path / "keys"


def test_keys_and_folder_are_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_keys(tmp_path / "keys", site="porto", now=NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) for name in KEY_FILES} == {0o600}


def test_keys_open_as_they_were_born(folder):
    one, two = Keys.read(folder, passphrase=None), Keys.read(folder, passphrase=None)
    assert one.ledger == two.ledger
    assert (one.seal_public, one.patients, one.certificate) == (two.seal_public, two.patients, two.certificate)


def test_two_births_share_nothing(folder, tmp_path):
    write_keys(tmp_path / "other", site="porto", now=NOW)
    for name in (*KEY_FILES, "tls.crt"):
        assert (folder / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_the_certificate_is_for_the_site_no_authority_and_two_years(folder):
    made = x509.load_der_x509_certificate(Keys.read(folder, passphrase=None).certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["porto.cohortium"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (made.not_valid_after_utc.timestamp() - NOW) / 86_400 == VALID_DAYS
    assert made.not_valid_before_utc.timestamp() == NOW - 3600


def test_the_seal_key_opens_what_was_sealed_for_its_public_form(folder):
    keys, other = Keys.read(folder, passphrase=None), X25519PrivateKey.generate()
    theirs = other.exchange(X25519PublicKey.from_public_bytes(keys.seal_public))
    assert X25519PrivateKey.from_private_bytes(keys.seal).exchange(other.public_key()) == theirs


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_others_can_read_is_refused_with_the_command_to_type(folder, mode):
    (folder / "tls.key").chmod(mode)
    with pytest.raises(CohortiumError, match=f"mode {mode:04o}, expected 0600") as caught:
        Keys.read(folder, passphrase=None)
    assert f"chmod 600 {folder / 'tls.key'}" in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["ledger.key", "seal.key", "patients.key"])
def test_a_damaged_key_is_named(folder, name):
    write_private(folder / name, b"short")
    with pytest.raises(CohortiumError, match=f"{name}' holds 5 bytes, expected 32"):
        Keys.read(folder, passphrase=None)


def test_a_missing_key_is_named(folder):
    (folder / "seal.key").unlink()
    with pytest.raises(CohortiumError, match=r"seal\.key.*No such file"):
        Keys.read(folder, passphrase=None)


def test_a_certificate_that_is_none_is_named(folder):
    (folder / "tls.crt").write_text("nothing")
    with pytest.raises(CohortiumError, match=r"tls\.crt' is no certificate"):
        Keys.read(folder, passphrase=None)


def test_no_secret_shows_in_repr(folder):
    keys = Keys.read(folder, passphrase=None)
    shown = repr(keys) + str(keys)
    for secret in (keys.ledger.secret_bytes(), keys.seal, keys.patients):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


# with a passphrase


def test_a_passphrase_wraps_every_key_and_only_it_opens_them(tmp_path):
    write_keys(tmp_path / "keys", site="porto", now=NOW, passphrase=b"correct horse", patients=b"p" * 32)
    stored = b"".join((tmp_path / "keys" / name).read_bytes() for name in KEY_FILES)
    assert b"p" * 32 not in stored
    assert b"PRIVATE KEY" not in stored
    assert Keys.read(tmp_path / "keys", passphrase=b"correct horse").patients == b"p" * 32
    with pytest.raises(CohortiumError, match="does not open"):
        Keys.read(tmp_path / "keys", passphrase=b"wrong horse")
    with pytest.raises(CohortiumError, match="needs the passphrase file"):
        Keys.read(tmp_path / "keys", passphrase=None)


def test_a_passphrase_file_must_be_private_and_say_something(tmp_path):
    path = tmp_path / "passphrase"
    write_private(path, b"correct horse\nsecond line\n")
    assert read_passphrase(str(path)) == b"correct horse"
    assert read_passphrase("") is None
    path.chmod(0o644)
    with pytest.raises(CohortiumError, match="can be read by others"):
        read_passphrase(str(path))
    write_private(path, b"\n")
    with pytest.raises(UsageError, match="empty"):
        read_passphrase(str(path))


# new keys


def test_staged_keys_take_over_only_when_promoted(folder):
    before = Keys.read(folder, passphrase=None)
    staged = stage_keys(folder, site="porto", now=NOW + 1)
    assert Keys.read(folder, passphrase=None).certificate == before.certificate
    assert stage_keys(folder, site="porto", now=NOW + 2).certificate == staged.certificate
    promote_keys(folder)
    after = Keys.read(folder, passphrase=None)
    assert (after.certificate, after.seal) == (staged.certificate, staged.seal)
    assert (after.ledger, after.patients) == (before.ledger, before.patients)
    assert after.certificate != before.certificate
    assert not (folder / "next").exists()
    promote_keys(folder)


@pytest.mark.parametrize("moved", [(), ("seal.key",), ("seal.key", "tls.key"), ("seal.key", "tls.key", "tls.crt")])
def test_a_promotion_cut_short_is_finished(folder, moved):
    staged = stage_keys(folder, site="porto", now=NOW)
    write_private(folder / "next" / "promoted", b"")
    for name in moved:
        (folder / "next" / name).replace(folder / name)
    finish_promotion(folder)
    after = Keys.read(folder, passphrase=None)
    assert (after.certificate, after.seal, after.tls_key) == (staged.certificate, staged.seal, staged.tls_key)


def test_keys_that_nobody_promoted_stay_where_they_are(folder):
    before = Keys.read(folder, passphrase=None)
    stage_keys(folder, site="porto", now=NOW)
    finish_promotion(folder)
    assert Keys.read(folder, passphrase=None).seal == before.seal
    assert read_certificate(folder / "next" / "tls.crt") != before.certificate
