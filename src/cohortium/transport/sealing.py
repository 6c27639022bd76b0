"""Frames sealed from one member to another, so that whoever forwards them sees sizes and nothing else.

Theory of operation. The sender draws an X25519 key pair for each session and agrees with the receiver's static seal
key, which stands on the ledger by its digest. Both derive one key:

    key = HKDF-SHA256(X25519(ephemeral, seal), salt = ephemeral public | seal public,
                      info = "cohortium-seal-1" | sender | receiver)

A frame is ChaCha20-Poly1305 under that key with a counter as nonce, never used twice; sender, receiver and counter
are bound in. The ephemeral key is signed by the sender's ledger key, so a relay, or another member, can neither read
nor invent. A session ends after 2^20 frames or an hour; a new process begins a new one. The receiver takes every
counter once, within a window, and never a session again that it has let go.

    sealed = ephemeral public (32) | signature (65) | counter (8) | ciphertext and tag (16 more than the frame)

Guarantee: confidentiality and integrity of frames against everybody but sender and receiver, while the receiver's
seal key is secret. Not hidden: who sends to whom, when, and how much.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cohortium.core.identity import SIGNATURE_BYTES, recover
from cohortium.errors import FrameError, SignatureError
from cohortium.transport.directory import SEAL_BYTES, Contact

__all__ = ["SEALED_MORE_BYTES", "Opener", "Sealer", "seal_public"]

_DOMAIN = b"cohortium-seal-1"
_COUNTER_BYTES = 8
_HEAD_BYTES = SEAL_BYTES + SIGNATURE_BYTES + _COUNTER_BYTES

SEALED_MORE_BYTES: Final = _HEAD_BYTES + 16
"""How much longer a frame is when sealed."""

_MAX_FRAMES = 1 << 20
_MAX_AGE_S = 3600.0
_WINDOW = 4096
_SESSIONS = 4
_PAST_SESSIONS = 4096


def seal_public(seal_key: bytes) -> bytes:
    """The public half of a seal key (32 bytes each)."""
    return X25519PrivateKey.from_private_bytes(seal_key).public_key().public_bytes_raw()


def _names(sender: str, receiver: str) -> bytes:
    return b"".join(bytes([len(name)]) + name for name in (sender.encode(), receiver.encode()))


def _derive(shared: bytes, *, ephemeral: bytes, seal: bytes, names: bytes) -> ChaCha20Poly1305:
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=ephemeral + seal, info=_DOMAIN + names)
    return ChaCha20Poly1305(kdf.derive(shared))


def _signed(ephemeral: bytes, *, seal: bytes, names: bytes) -> bytes:
    """What the sender signs (32 bytes)."""
    return hashlib.sha256(_DOMAIN + names + ephemeral + seal).digest()


def _nonce(counter: bytes) -> bytes:
    return bytes(4) + counter


@dataclass
class _Outgoing:
    """One session as its sender holds it."""

    head: bytes
    cipher: ChaCha20Poly1305
    seal: bytes
    began_s: float
    sent: int = 0


class Sealer:
    """One site's sealing. sign: the ledger key's signature over a 32-byte digest. May be used from any thread."""

    def __init__(
        self, site: str, *, sign: Callable[[bytes], bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._site, self._sign, self._clock = site, sign, clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Outgoing] = {}

    def seal(self, receiver: Contact, frame: bytes) -> bytes:
        """The frame for the eyes of `receiver` only."""
        names = _names(self._site, receiver.name)
        with self._lock:
            session = self._session(receiver, names)
            counter = session.sent.to_bytes(_COUNTER_BYTES, "big")
            session.sent += 1
        return session.head + counter + session.cipher.encrypt(_nonce(counter), frame, names + counter)

    def _session(self, receiver: Contact, names: bytes) -> _Outgoing:
        now, session = self._clock(), self._sessions.get(receiver.name)
        if (
            session is None
            or session.seal != receiver.seal
            or session.sent >= _MAX_FRAMES
            or now - session.began_s >= _MAX_AGE_S
        ):
            session = self._sessions[receiver.name] = self._begin(receiver, names, now)
        return session

    def _begin(self, receiver: Contact, names: bytes, now: float) -> _Outgoing:
        key = X25519PrivateKey.generate()
        ephemeral = key.public_key().public_bytes_raw()
        shared = key.exchange(X25519PublicKey.from_public_bytes(receiver.seal))
        cipher = _derive(shared, ephemeral=ephemeral, seal=receiver.seal, names=names)
        signature = self._sign(_signed(ephemeral, seal=receiver.seal, names=names))
        return _Outgoing(ephemeral + signature, cipher, receiver.seal, now)


@dataclass
class _Incoming:
    """One session as its receiver holds it: which counters were taken, as bits below the newest."""

    cipher: ChaCha20Poly1305
    newest: int = -1
    taken: int = 0

    def take(self, counter: int) -> bool:
        """Whether this counter is new; if so it is not from now on."""
        if counter > self.newest:
            self.taken = (self.taken << min(counter - self.newest, _WINDOW) | 1) & ((1 << _WINDOW) - 1)
            self.newest = counter
            return True
        bit = 1 << (self.newest - counter) if self.newest - counter < _WINDOW else 0
        if not bit or self.taken & bit:
            return False
        self.taken |= bit
        return True


@dataclass
class _Sender:
    sessions: OrderedDict[bytes, _Incoming] = field(default_factory=OrderedDict)
    past: OrderedDict[bytes, None] = field(default_factory=OrderedDict)


class Opener:
    """One site's opening of sealed frames. address_of(site): its ledger address. May be used from any thread."""

    def __init__(self, site: str, seal_key: bytes, *, address_of: Callable[[str], bytes]) -> None:
        self._site, self._address_of = site, address_of
        self._key = X25519PrivateKey.from_private_bytes(seal_key)
        self._public = self._key.public_key().public_bytes_raw()
        self._lock = threading.Lock()
        self._senders: dict[str, _Sender] = {}

    def open(self, sender: str, sealed: bytes) -> bytes:
        """The frame. SignatureError unless `sender` sealed it for this site; FrameError if it came before."""
        if len(sealed) < SEALED_MORE_BYTES:
            raise FrameError(f"sealed frame of {sender!r} has {len(sealed)} bytes, fewer than {SEALED_MORE_BYTES}")
        view = memoryview(sealed)
        head, counter = bytes(view[: _HEAD_BYTES - _COUNTER_BYTES]), bytes(view[_HEAD_BYTES - _COUNTER_BYTES :][:8])
        with self._lock:
            session = self._session(sender, head)
        names = _names(sender, self._site)
        try:
            frame = session.cipher.decrypt(_nonce(counter), view[_HEAD_BYTES:], names + counter)
        except InvalidTag:
            raise SignatureError(
                f"sealed frame of {sender!r} was changed on its way, or is not for this site"
            ) from None
        with self._lock:
            if not session.take(int.from_bytes(counter, "big")):
                raise FrameError(f"sealed frame of {sender!r} came before")
        return frame

    def _session(self, sender: str, head: bytes) -> _Incoming:
        known = self._senders.setdefault(sender, _Sender())
        session = known.sessions.get(head)
        if session is not None:
            known.sessions.move_to_end(head)
            return session
        if head in known.past:
            raise FrameError(f"sealed frame of {sender!r} belongs to a session that has ended")
        session = known.sessions[head] = self._begin(sender, head[:SEAL_BYTES], head[SEAL_BYTES:])
        if len(known.sessions) > _SESSIONS:
            known.past[known.sessions.popitem(last=False)[0]] = None
        if len(known.past) > _PAST_SESSIONS:
            known.past.popitem(last=False)
        return session

    def _begin(self, sender: str, ephemeral: bytes, signature: bytes) -> _Incoming:
        names = _names(sender, self._site)
        if recover(_signed(ephemeral, seal=self._public, names=names), signature) != self._address_of(sender):
            raise SignatureError(f"sealed frame is not signed by {sender!r} for this site's seal key")
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        except ValueError:
            raise SignatureError(f"sealed frame of {sender!r} names a key no one may use") from None
        return _Incoming(_derive(shared, ephemeral=ephemeral, seal=self._public, names=names))
