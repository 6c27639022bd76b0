"""The secrets of one node: born here, 0600, never shown and never sent.

    ledger.key    secp256k1, signs transactions and messages          32 bytes
    tls.key       P-256, answers for the certificate in `tls.crt`      PEM
    seal.key      opens what was sealed for this site (X25519)         seed of 32 bytes
    patients.key  turns patient numbers into keys and draws the parts  32 bytes

With a passphrase file each is wrapped by AES-256-GCM under scrypt(passphrase); without one it lies as it is. A key
that others may read is refused with the command to type. The seal key is born as an Ed25519 seed: its X25519 form
opens, its Ed25519 form proves on the card that whoever asks for admission holds it (the pair libsodium calls
`crypto_sign_ed25519_sk_to_curve25519`).

New TLS and seal keys (`rotate`) are staged in `keys/next` and take over when the ledger has them.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cohortium.core.identity import LedgerKey
from cohortium.errors import CohortiumError, UsageError
from cohortium.transport.certificates import new_certificate, new_key, pem_of

__all__ = [
    "KEY_FILES",
    "Keys",
    "check_private",
    "finish_promotion",
    "promote_keys",
    "read_certificate",
    "read_passphrase",
    "stage_keys",
    "write_keys",
    "write_private",
]

KEY_FILES: Final = ("ledger.key", "tls.key", "seal.key", "patients.key")
_ROTATED: Final = ("tls.key", "seal.key")
_NEXT, _MARK = "next", "promoted"
_MAX_KEY_BYTES = 8192
_WRAPPED = b"cohortium-wrapped-1\n"
_SALT, _NONCE = 16, 12
_COST = 2**15  # scrypt n with r = 8: 32 MiB, about 0.1 s

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, eq=False)
class Keys:
    """All of them, opened. tls_key, certificate_pem: PEM; certificate: DER; seal: X25519 private (32 bytes)."""

    ledger: LedgerKey
    tls_key: bytes
    certificate: bytes
    patients: bytes
    seal_seed: bytes

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as a TLS library wants it."""
        return pem_of(self.certificate)

    @property
    def seal(self) -> bytes:
        """The private X25519 key (32 bytes)."""
        return hashlib.sha512(self.seal_seed).digest()[:32]

    @property
    def seal_public(self) -> bytes:
        """The public X25519 key (32 bytes); its SHA-256 is on the ledger."""
        return X25519PrivateKey.from_private_bytes(self.seal).public_key().public_bytes_raw()

    def sign_as_seal(self, message: bytes) -> bytes:
        """The proof that the seal key is held: an Ed25519 signature (64 bytes)."""
        return Ed25519PrivateKey.from_private_bytes(self.seal_seed).sign(message)

    def sign_as_tls(self, message: bytes) -> bytes:
        """The certificate key's ECDSA signature over SHA-256 (DER)."""
        key = serialization.load_pem_private_key(self.tls_key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CohortiumError("keys/tls.key is no elliptic-curve key; restore it from the backup, or 'node rotate'")
        return key.sign(message, ec.ECDSA(hashes.SHA256()))

    def __repr__(self) -> str:
        return f"Keys({self.ledger!r})"

    @classmethod
    def read(cls, folder: Path, *, passphrase: bytes | None) -> Keys:
        """The keys in a folder. Raises CohortiumError for one that is missing, damaged or readable by others."""
        secret = {name: _read(folder / name, passphrase) for name in KEY_FILES}
        for name in KEY_FILES:
            if name != "tls.key" and len(secret[name]) != 32:
                raise CohortiumError(f"'{folder / name}' holds {len(secret[name])} bytes, expected 32", hint=_RESTORE)
        return cls(
            ledger=LedgerKey.from_bytes(secret["ledger.key"]),
            tls_key=secret["tls.key"],
            certificate=read_certificate(folder / "tls.crt"),
            patients=secret["patients.key"],
            seal_seed=secret["seal.key"],
        )


_RESTORE = "restore the file from the backup of this home; 'docs/how-to/join-as-a-hospital.md' says what to do without"


def write_keys(
    folder: Path,
    *,
    site: str,
    now: float,
    passphrase: bytes | None = None,
    patients: bytes | None = None,
    entropy: Entropy = os.urandom,
) -> None:
    """Make all keys in a new folder (0700). patients: 32 bytes given by a simulation instead of fresh ones."""
    folder.mkdir(mode=0o700)
    secrets = {
        "ledger.key": LedgerKey.new(entropy).secret_bytes(),
        "patients.key": entropy(32) if patients is None else patients,
        **_transport_keys(entropy),
    }
    _write_all(folder, secrets, site=site, now=now, passphrase=passphrase, entropy=entropy)


def stage_keys(
    folder: Path, *, site: str, now: float, passphrase: bytes | None = None, entropy: Entropy = os.urandom
) -> Keys:
    """New TLS and seal keys in `next` below the key folder, beside the present ledger and patient keys.

    Staged keys that nobody promoted yet are used again: a rotation that was interrupted goes on with them.
    """
    finish_promotion(folder)
    present = Keys.read(folder, passphrase=passphrase)
    staged = folder / _NEXT
    if not all((staged / name).is_file() for name in (*_ROTATED, "tls.crt")):
        staged.mkdir(mode=0o700, exist_ok=True)
        secrets = _transport_keys(entropy)
        _write_all(staged, secrets, site=site, now=now, passphrase=passphrase, entropy=entropy)
    return Keys(
        ledger=present.ledger,
        tls_key=_read(staged / "tls.key", passphrase),
        certificate=read_certificate(staged / "tls.crt"),
        patients=present.patients,
        seal_seed=_read(staged / "seal.key", passphrase),
    )


def promote_keys(folder: Path) -> None:
    """Let staged keys take over. A kill in the middle is mended by `finish_promotion`."""
    if (folder / _NEXT).is_dir():
        write_private(folder / _NEXT / _MARK, b"")
        finish_promotion(folder)


def finish_promotion(folder: Path) -> None:
    """Go on with a promotion that a kill has cut short; nothing where there is none."""
    staged = folder / _NEXT
    if not (staged / _MARK).is_file():
        return
    for name in ("seal.key", "tls.key", "tls.crt"):
        if (staged / name).is_file():
            (staged / name).replace(folder / name)
    (staged / _MARK).unlink()
    staged.rmdir()


def read_passphrase(path: str) -> bytes | None:
    """The first line of a passphrase file that only its owner can read; None for an empty path."""
    if not path:
        return None
    check_private(Path(path))
    words = Path(path).read_bytes()[:_MAX_KEY_BYTES].split(b"\n")[0].strip()
    if not words:
        raise UsageError(f"passphrase file '{path}' is empty; its first line opens the keys")
    return words


def check_private(path: Path) -> None:
    """Refuse a secret that group or world can read. Raises CohortiumError with the command to type."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise CohortiumError(f"cannot read '{path}': {error.strerror}", hint=_RESTORE) from None
    if mode & 0o077:
        raise CohortiumError(
            f"'{path}' can be read by others (mode {mode:04o}, expected 0600)",
            hint=f"chmod 600 {shlex.quote(str(path))}; if others had an account here, replace the key",
        )


def write_private(path: Path, content: bytes) -> None:
    """A new file, 0600 from the first moment, on disk before it is seen; replaces an older one."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _transport_keys(entropy: Entropy) -> dict[str, bytes]:
    return {"tls.key": new_key(), "seal.key": entropy(32)}


def _write_all(
    folder: Path, secrets: Mapping[str, bytes], *, site: str, now: float, passphrase: bytes | None, entropy: Entropy
) -> None:
    for name, secret in secrets.items():
        write_private(folder / name, secret if passphrase is None else _wrap(secret, passphrase, entropy))
    path = folder / "tls.crt"
    write_private(path, new_certificate(site, secrets["tls.key"], now_s=now))
    path.chmod(0o644)


def read_certificate(path: Path) -> bytes:
    """DER of the PEM file. Raises CohortiumError."""
    try:
        with path.open("rb") as file:
            made = x509.load_pem_x509_certificate(file.read(_MAX_KEY_BYTES))
    except OSError as error:
        raise CohortiumError(f"cannot read '{path}': {error.strerror}", hint=_RESTORE) from None
    except ValueError:
        raise CohortiumError(f"'{path}' is no certificate in PEM form", hint=_RESTORE) from None
    return made.public_bytes(serialization.Encoding.DER)


def _read(path: Path, passphrase: bytes | None) -> bytes:
    check_private(path)
    with path.open("rb") as file:
        content = file.read(_MAX_KEY_BYTES)
    if not content.startswith(_WRAPPED):
        return content
    if passphrase is None:
        hint = "write its path to node.toml as passphrase_file in [node]"
        raise CohortiumError(f"'{path}' needs the passphrase file it was made with", hint=hint)
    body = content[len(_WRAPPED) :]
    salt, nonce, sealed = body[:_SALT], body[_SALT : _SALT + _NONCE], body[_SALT + _NONCE :]
    try:
        return AESGCM(_stretched(passphrase, salt)).decrypt(nonce, sealed, _WRAPPED)
    except (InvalidTag, ValueError):
        raise CohortiumError(f"the passphrase does not open '{path}', or the file is damaged", hint=_RESTORE) from None


def _wrap(secret: bytes, passphrase: bytes, entropy: Entropy) -> bytes:
    salt, nonce = entropy(_SALT), entropy(_NONCE)
    return _WRAPPED + salt + nonce + AESGCM(_stretched(passphrase, salt)).encrypt(nonce, secret, _WRAPPED)


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase)
