"""`Home`: the folder of one node, what lies where in it, and the lock that lets one process at a time use it.

    node.toml, consortium.json      settings of this node; the agreed beginning           0644
    keys/                           born here, never leave                               0700, keys 0600
    chain.sqlite, node.sqlite       this node's copy of the ledger; its own facts          0600
    blobs/ runs/ studies/ peers/    payloads by digest, results, studies, the others' cards
    evidence/ logs/node.jsonl       proofs; the log
    lock, control.sock              one process; where commands reach it

The lock is `flock`: it dies with its process, so nothing is left to clean up after a kill, and there is no pid file to
go stale. What stands in the lock file only names the holder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

from cohortium.core.identity import check_site_name
from cohortium.errors import CohortiumError, UsageError
from cohortium.node.cards import Card, CardBook, make_card
from cohortium.node.founding import MAX_FOUNDING_BYTES, Founding
from cohortium.node.keys import (
    Entropy,
    Keys,
    finish_promotion,
    promote_keys,
    read_certificate,
    read_passphrase,
    stage_keys,
    write_keys,
    write_private,
)
from cohortium.node.settings import NodeSettings, check_settings, read_settings, settings_text

__all__ = ["DEFAULT_HOME", "Home"]

DEFAULT_HOME: Final = Path("~/.cohortium")
_FOLDERS = ("blobs", "runs", "peers", "studies", "evidence", "logs")
_MAX_HOLDER = 200


class Home:
    """One node's folder, opened. Settings are read once; keys when first used; the founding whenever asked."""

    def __init__(self, path: Path, settings: NodeSettings) -> None:
        self.path = path
        self.settings = settings

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        site: str,
        now: float,
        listen: str = "",
        advertise: str = "",
        contact: str = "",
        engine: str = "",
        passphrase_file: str = "",
        patients: bytes | None = None,
        entropy: Entropy = os.urandom,
    ) -> Home:
        """Make keys and folders. patients: the 32 bytes a simulation uses for this site. Raises UsageError.

        Refuses a folder that holds a node, or half of one: keys are never overwritten.
        """
        path = path.expanduser()
        check_site_name(site)
        for one in ("node.toml", "keys"):
            if (path / one).exists():
                raise UsageError(
                    f"'{path}' holds a node already ({one})", hint="choose another --home, or keep this one"
                )
        passphrase = read_passphrase(passphrase_file)
        text = settings_text(
            site=site,
            listen=listen,
            advertise=advertise,
            contact=contact,
            passphrase_file=str(Path(passphrase_file).resolve()) if passphrase_file else "",
            engine=engine,
        )
        check_settings(text)  # before any key is made
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            write_keys(path / "keys", site=site, now=now, passphrase=passphrase, patients=patients, entropy=entropy)
            for name in _FOLDERS:
                (path / name).mkdir(mode=0o700, exist_ok=True)
            write_private(path / "node.toml", text.encode())
            (path / "node.toml").chmod(0o644)
        except OSError as error:
            raise UsageError(f"cannot make a node in '{path}': {error.strerror}") from None
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Home:
        """The node in a folder. Raises UsageError where there is none, StudyError for settings, with lines."""
        path = path.expanduser().absolute()
        if not (path / "node.toml").is_file():
            raise UsageError(
                f"no node in '{path}'", hint="make one: cohortium node init --site NAME, or give --home DIR"
            )
        return cls(path, read_settings(path / "node.toml"))

    @property
    def site(self) -> str:
        """The site's name."""
        return self.settings.site

    @cached_property
    def keys(self) -> Keys:
        """The secrets. Raises CohortiumError for one that is missing, damaged or readable by others."""
        finish_promotion(self.key_folder)
        return Keys.read(self.key_folder, passphrase=self._passphrase)

    @property
    def founding(self) -> Founding | None:
        """The consortium's agreed beginning, None before there is one. Raises FrameError or SignatureError."""
        path = self.path / "consortium.json"
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return Founding.from_bytes(file.read(MAX_FOUNDING_BYTES + 1))

    def keep_founding(self, founding: Founding) -> None:
        """Write `consortium.json`. Raises UsageError where another consortium stands there."""
        present = self.founding
        if present is not None and present.genesis.consortium != founding.genesis.consortium:
            raise UsageError(
                f"'{self.path / 'consortium.json'}' is of another consortium ({present.fingerprint})",
                hint="one home serves one consortium; make another home with --home",
            )
        write_private(self.path / "consortium.json", founding.to_bytes())
        (self.path / "consortium.json").chmod(0o644)

    @property
    def ledger_host(self) -> str:
        """The site that hosts engine `local`: node.toml's word, else the founding's."""
        founding = self.founding
        return self.settings.ledger.host or (founding.host if founding is not None else "")

    def card(self, now: float) -> Card:
        """This site's own card, signed now."""
        return self._card(self.keys, now)

    def cards(self) -> CardBook:
        """Every card known here: those in `peers`, the founders'."""
        founding = self.founding
        self.peers.mkdir(mode=0o700, exist_ok=True)
        return CardBook(self.peers, founding.cards if founding is not None else ())

    # new keys

    def stage_keys(self, now: float) -> Card:
        """Make new TLS and seal keys beside the present ones; the card they will be known by."""
        return self._card(stage_keys(self.key_folder, site=self.site, now=now, passphrase=self._passphrase), now)

    def promote_keys(self) -> None:
        """Let the staged keys take over, once the ledger has them."""
        promote_keys(self.key_folder)
        self.__dict__.pop("keys", None)

    def staged_digest(self) -> bytes | None:
        """SHA-256 of the staged certificate, None where no keys are staged."""
        path = self.key_folder / "next" / "tls.crt"
        return hashlib.sha256(read_certificate(path)).digest() if path.is_file() else None

    # one process at a time

    @contextmanager
    def lock(self, what: str = "cohortium node") -> Iterator[None]:
        """Hold this home. Raises CohortiumError (exit 1) that names who holds it."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(handle, _MAX_HOLDER, 0).decode("utf-8", "replace").strip() or "another process"
                hint = f"stop it first, or ask it: cohortium node status --home {shlex.quote(str(self.path))}"
                raise CohortiumError(f"'{self.path}' is in use by {who}", hint=hint) from None
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{what}, process {os.getpid()} on {socket.gethostname()} since {since}\n".encode(), 0)
            yield
        finally:
            os.close(handle)

    def holder(self) -> str:
        """Who holds this home now, empty where nobody does."""
        try:
            handle = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(handle, _MAX_HOLDER, 0).decode("utf-8", "replace").strip() or "another process"
        finally:
            os.close(handle)
        return ""

    # what lies where

    @property
    def key_folder(self) -> Path:
        """The secrets."""
        return self.path / "keys"

    @property
    def chain(self) -> Path:
        """This node's copy of the ledger."""
        return self.path / "chain.sqlite"

    @property
    def store(self) -> Path:
        """The node's own facts."""
        return self.path / "node.sqlite"

    @property
    def blobs(self) -> Path:
        """Payloads by digest."""
        return self.path / "blobs"

    @property
    def runs(self) -> Path:
        """Records and reports, one folder a run."""
        return self.path / "runs"

    @property
    def peers(self) -> Path:
        """The other sites' cards."""
        return self.path / "peers"

    @property
    def studies(self) -> Path:
        """Studies by digest."""
        return self.path / "studies"

    @property
    def evidence(self) -> Path:
        """Proofs of what others did wrong."""
        return self.path / "evidence"

    @property
    def log(self) -> Path:
        """The log, JSON lines."""
        return self.path / "logs" / "node.jsonl"

    @property
    def control(self) -> Path:
        """The socket by which commands reach the running node."""
        return self.path / "control.sock"

    @property
    def table(self) -> Path | None:
        """The site's table; relative paths start at the home."""
        return self.path / self.settings.data.table if self.settings.data.table else None

    @property
    def mapping(self) -> Path | None:
        """The site's column mapping; relative paths start at the home."""
        return self.path / self.settings.data.mapping if self.settings.data.mapping else None

    @property
    def _passphrase(self) -> bytes | None:
        return read_passphrase(self.settings.node.passphrase_file)

    def _card(self, keys: Keys, now: float) -> Card:
        network, contact = self.settings.network, self.settings.node.contact
        return make_card(
            keys,
            site=self.site,
            issued=int(now),
            endpoint=network.advertise,
            contact=contact,
            relays=network.relays,
        )
