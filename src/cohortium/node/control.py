"""How commands reach a running node: a Unix socket in its home that only its owner may open, one JSON line a word.

    {"do": "approve", "run": 3}                  ->  {"ok": true, ...}
    {"do": "watch", "run": 3}                    ->  {"event": "round", ...} line by line, until the run has ended
    anything wrong                               ->  {"error": "sentence", "hint": "...", "exit_code": 2}

One request a connection. A line has a limit, a request its type; what a handler raises comes back as a sentence, and a
caller that goes away stops nothing but its own watching. `ask_node` and `watch_node` are the other end, for commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cohortium.core.foreign_json import read_json
from cohortium.errors import CohortiumError, UsageError
from cohortium.node.failures import sentence_of

__all__ = ["MAX_REQUEST_BYTES", "Control", "NodeAway", "ask_node", "watch_node"]

MAX_REQUEST_BYTES = 8 << 20
_MAX_ANSWER_BYTES = 64 << 20
_MAX_DEPTH = 16
_CALLERS = 32
_REQUEST_S = 10.0
_OUR_BUG = 70

Request = Mapping[str, Any]
Handler = Callable[[Request], Awaitable[Mapping[str, Any]]]
Stream = Callable[[Request], AsyncIterator[Mapping[str, Any]]]


class NodeAway(UsageError):
    """No node runs in this home."""

    exit_code = 1


class Control:
    """The node's end. handlers: by the request's `do`; streams: those that answer with many lines."""

    def __init__(self, path: Path, *, handlers: Mapping[str, Handler], streams: Mapping[str, Stream]) -> None:
        self._path, self._handlers, self._streams = path, handlers, streams
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket. Whoever holds the home's lock may replace one that was left behind."""
        self._path.unlink(missing_ok=True)
        with _short(self._path) as path:
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            try:
                end.bind(path)
            finally:
                os.umask(before)
        self._path.chmod(0o600)
        try:
            self._server = await asyncio.start_unix_server(self._serve, sock=end, limit=MAX_REQUEST_BYTES)
        except BaseException:
            end.close()
            raise

    async def close(self) -> None:
        """Take no further request, end those that are watching."""
        if self._server is not None:
            self._server.close()
        for caller in [*self._callers]:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = asyncio.current_task()
        assert caller is not None  # noqa: S101 - a coroutine runs in a task
        self._callers.add(caller)
        try:
            if len(self._callers) > _CALLERS:
                await _say(writer, _error(UsageError(f"more than {_CALLERS} commands at once; try again")))
                return
            async with asyncio.timeout(_REQUEST_S):
                line = await reader.readline()
            await self._answer(line, reader, writer)
        except (TimeoutError, ConnectionError, asyncio.LimitOverrunError, ValueError):
            return  # whoever says nothing, too much, or goes away
        finally:
            self._callers.discard(caller)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = _request(line)
            word = request["do"]
            if stream := self._streams.get(word):
                await _told(stream(request), reader, writer)
                return
            if (handler := self._handlers.get(word)) is None:
                known = ", ".join(sorted([*self._handlers, *self._streams]))
                raise UsageError(f"a node does not {word!r:.40}; it does: {known}")
            answer = {"ok": True, **await handler(request)}
        except CohortiumError as error:
            answer = _error(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - a command must not stop the node; it hears that this is our bug
            answer = {"error": f"{sentence_of(error)} inside the node; see its log", "hint": "", "exit_code": _OUR_BUG}
            asyncio.get_running_loop().call_exception_handler({"message": "a command failed", "exception": error})
        await _say(writer, answer)


async def _told(
    lines: AsyncIterator[Mapping[str, Any]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass lines on until there are no more or the caller has gone."""
    gone = asyncio.ensure_future(reader.read(1))
    try:
        async for line in _until(lines, gone):
            await _say(writer, line)
    except CohortiumError as error:
        await _say(writer, _error(error))
    finally:
        gone.cancel()


async def _until(
    lines: AsyncIterator[Mapping[str, Any]], gone: asyncio.Future[bytes]
) -> AsyncIterator[Mapping[str, Any]]:
    """The lines, until there are no more or the caller has gone."""
    while True:
        step = asyncio.ensure_future(_next(lines))
        try:
            waits: set[asyncio.Future[Any]] = {step, gone}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            line = step.result() if step.done() else None
        finally:
            step.cancel()
        if line is None:
            return
        yield line


async def _next(lines: AsyncIterator[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    async for line in lines:
        return line
    return None


async def _say(writer: asyncio.StreamWriter, line: Mapping[str, Any]) -> None:
    writer.write(json.dumps(line, ensure_ascii=True, default=str).encode() + b"\n")
    await writer.drain()


def _request(line: bytes) -> dict[str, Any]:
    try:
        found = read_json(line, max_depth=_MAX_DEPTH)
    except ValueError as error:
        raise UsageError(f"a request is one line of JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("do"), str):
        raise UsageError('a request is an object with "do"')
    return found


def _error(error: CohortiumError) -> dict[str, Any]:
    return {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}


# --- the other end ---------------------------------------------------------------------------------------------


class _Told(CohortiumError):
    """What the node answered instead."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def ask_node(path: Path, request: Request, *, timeout_s: float = 120.0) -> dict[str, Any]:
    """A running node's answer. path: of its socket. Raises NodeAway, or the error the node tells of."""
    for line in watch_node(path, request, timeout_s=timeout_s):
        return line
    raise NodeAway("the node stopped before it answered")


def watch_node(path: Path, request: Request, *, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
    """All lines of a running node's answer. Raises NodeAway, or the error the node tells of."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as end:
        end.settimeout(timeout_s)
        try:
            with _short(path) as short:
                end.connect(short)
        except OSError:
            hint = f"start it: cohortium node start --home {path.parent}"
            raise NodeAway(f"no node runs in '{path.parent}'", hint=hint) from None
        try:
            end.sendall(json.dumps(dict(request)).encode() + b"\n")
            with end.makefile("rb") as stream:
                while line := stream.readline(_MAX_ANSWER_BYTES):
                    yield _opened(line)
        except TimeoutError:
            raise NodeAway(f"the node gave no answer within {timeout_s:g} s", hint="see its log") from None
        except OSError:
            raise NodeAway("the node stopped before it answered") from None


def _opened(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    if "error" in found:
        raise _Told(found["error"], hint=found.get("hint", ""), exit_code=int(found.get("exit_code", 1)))
    return found


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path of a socket; through the open folder where it is longer than a socket's name may be."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
