"""The studies known to this node, by digest, and how they travel: the ledger holds 32 bytes, members send the text.

    studies/<digest>/study.toml          what sites approve; its digest is computed anew whenever it is read
    studies/<digest>/net.py              the code it brings along, if any: the very bytes whose digest it names

A study that a peer sends is believed only if it hashes to what the ledger says; its code only if it hashes to what
the study says. Nothing is run here: a person, or `[consent] code_digests`, approves code by its digest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cohortium.core.study import Study
from cohortium.core.study_text import MAX_STUDY_BYTES, parse_study
from cohortium.errors import FrameError, PeerError, Problem, StudyError, UsageError
from cohortium.node.keys import write_private
from cohortium.sim.own_code import MAX_CODE_BYTES, find_code

__all__ = ["TOPIC", "Library", "Parcel", "difference", "parcel_of"]

TOPIC = "study"
_PIECE = 512 << 10
_MAX_BYTES = MAX_STUDY_BYTES + MAX_CODE_BYTES + 4096

Ask = Callable[[str, bytes], Awaitable[bytes]]
"""(peer, request) -> answer about `TOPIC`; raises PeerError or TimeoutError."""


class Parcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A study as it travels: its text, and the file its factory is in."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_STUDY_BYTES)]
    code: Annotated[bytes, msgspec.Meta(max_length=MAX_CODE_BYTES)] = b""


class _Wish(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    digest: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=_MAX_BYTES)] = 0


class _Piece(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    total: Annotated[int, msgspec.Meta(ge=1, le=_MAX_BYTES)]
    data: Annotated[bytes, msgspec.Meta(max_length=_PIECE)]


_ENCODER = msgspec.msgpack.Encoder()
_PARCEL = msgspec.msgpack.Decoder(Parcel)
_WISH = msgspec.msgpack.Decoder(_Wish)
_TOLD = msgspec.msgpack.Decoder(_Piece)


def parcel_of(path: Path) -> Parcel:
    """The study in a file, with the code beside it. Raises StudyError, UsageError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_STUDY_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read study '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"study '{path}' is not UTF-8 text") from None
    code = find_code(parse_study(text, path=str(path)), path.parent)
    return Parcel(text, b"" if code is None else code.source)


class Library:
    """The folder of studies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[bytes, Study] = {}

    def path(self, digest: bytes) -> Path:
        """Where the text of a study is or would be."""
        return self._folder / digest.hex() / "study.toml"

    def add(self, parcel: Parcel) -> Study:
        """Keep a study. Raises StudyError for one that is wrong, or whose code is not the one it names."""
        study = parse_study(parcel.text)
        digest, named = hashlib.sha256(parcel.code).hexdigest(), study.model.code_digest
        if parcel.code and digest != named:
            raise StudyError([Problem("model.code_digest", f"the code has digest {digest}, the study names {named}")])
        if named is not None and not parcel.code:
            raise StudyError([Problem("model.code_digest", "the study names code, which did not come with it")])
        path = self.path(study.digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if parcel.code:
            write_private(path.with_name(f"{_module(study)}.py"), parcel.code)
        write_private(path, parcel.text.encode())
        self._held[study.digest] = study
        return study

    def get(self, digest: bytes) -> Study | None:
        """The study of this digest, None where it is not here or its file has changed."""
        if digest not in self._held:
            try:
                study = parse_study(self.path(digest).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, StudyError):
                return None
            if study.digest != digest:
                return None
            self._held[digest] = study
        return self._held[digest]

    def parcel(self, digest: bytes) -> Parcel | None:
        """What a peer gets who asks for it."""
        study = self.get(digest)
        if study is None:
            return None
        path = self.path(digest)
        code = path.with_name(f"{_module(study)}.py").read_bytes() if study.model.code_digest else b""
        return Parcel(path.read_text(encoding="utf-8"), code)

    # --- travelling ---------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes:
        """One piece of a study. Raises PeerError for a request that is none, or a study that is not here."""
        try:
            wish = _WISH.decode(request)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise FrameError("a request for a study holds its digest and an offset") from None
        parcel = self.parcel(wish.digest)
        if parcel is None:
            raise PeerError(f"study {wish.digest.hex()[:16]} is not here")
        whole = _ENCODER.encode(parcel)
        return _ENCODER.encode(_Piece(len(whole), whole[wish.offset : wish.offset + _PIECE]))

    async def fetch(self, digest: bytes, peer: str, ask: Ask) -> Study:
        """Get a study from a peer and keep it. Raises PeerError, StudyError or TimeoutError."""
        whole, total = bytearray(), 0
        while not total or len(whole) < total:
            try:
                piece = _TOLD.decode(await ask(peer, _ENCODER.encode(_Wish(digest, len(whole)))))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise FrameError(f"{peer!r} answers a request for a study with something else") from None
            total = total or piece.total
            if piece.total != total or len(piece.data) != min(_PIECE, total - len(whole)):
                raise FrameError(f"{peer!r} sends a study in other pieces than were asked for", site=peer)
            whole += piece.data
        try:
            parcel = _PARCEL.decode(bytes(whole))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise FrameError(f"{peer!r} sent no study") from None
        found = parse_study(parcel.text).digest
        if found != digest:
            raise PeerError(f"{peer!r} sent study {found.hex()[:16]}, asked for {digest.hex()[:16]}", site=peer)
        return self.add(parcel)


def difference(new: Study, old: Study) -> list[str]:
    """What changed from one study to the next, setting by setting, for the person who approves."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    return [f"{key}: {_shown(before.get(key))} -> {_shown(after.get(key))}" for key in changed]


def _flat(content: Any, at: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {at: content}
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{at}.{key}" if at else str(key))
    return found


def _shown(value: Any) -> str:
    return "not set" if value is None else f"{value!r:.80}"


def _module(study: Study) -> str:
    """The name of the file a study's code is in; checked, as it becomes a path."""
    name = str(study.model.options.get("factory", "")).partition(":")[0]
    if not name.isidentifier():
        raise StudyError([Problem("model.factory", f"'{name:.40}' is no name of a Python file")])
    return name
