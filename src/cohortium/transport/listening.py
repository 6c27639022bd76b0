"""The end that is dialled: a gRPC server whose doors are the members' certificates.

The certificates that may enter are read anew for every connection, so a member is admitted or expelled without a
restart; every call is checked once more by fingerprint, because TLS sessions and streams outlive a change of members.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Final

from cohortium.errors import MissingExtra, PeerError, UsageError
from cohortium.transport.certificates import Identity, pem_of
from cohortium.transport.directory import Contact
from cohortium.transport.handshake import Greeting, caller_of, read_greeting
from cohortium.transport.links import Link
from cohortium.transport.pace import Pace
from cohortium.transport.streams import Streams
from cohortium.transport.traffic import Doorbook
from cohortium.transport.wire import MAX_MESSAGE_BYTES, STREAMS, Stream

try:
    import grpc
except ModuleNotFoundError:
    raise MissingExtra("the transport between machines", extra="node") from None

__all__ = ["METHODS", "WINDOW_BYTES", "Listener", "options"]

METHODS: dict[str, Stream] = {f"/cohortium.v1/{stream}": stream for stream in STREAMS}

WINDOW_BYTES: Final = 4 << 20
"""What may be on its way on one stream without being read: 80 MB/s where an answer takes 50 ms."""

_CALLS = 512
_CLOSE_S = 1.0


def options(pace: Pace) -> list[tuple[str, int | str]]:
    """What both ends set: sizes, signs of life, and nothing taken from the environment."""
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", int(pace.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(pace.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.bdp_probe", 0),  # a window of fixed size: what is in flight stays bounded on every line
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ]


class Listener:
    """One listening port. identity(): the own key and certificate as they are now."""

    def __init__(
        self,
        site: str,
        *,
        streams: Streams,
        contacts: Callable[[], Mapping[str, Contact]],
        identity: Callable[[], Identity],
        greeting: Greeting,
        doorbook: Doorbook,
        pace: Pace,
    ) -> None:
        self._site, self._streams, self._contacts = site, streams, contacts
        self._identity, self._greeting, self._doorbook = identity, greeting, doorbook
        server_options = [
            *options(pace),
            ("grpc.so_reuseport", 0),  # a second node on one port must fail, not share it
            ("grpc.max_concurrent_streams", 8),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        ]
        self._server = grpc.server(_Threads(site), options=server_options, maximum_concurrent_rpcs=_CALLS)
        self._server.add_generic_rpc_handlers((_Handlers(self),))

    def start(self, listen: str) -> int:
        """Bind and serve; the port that was bound. UsageError where it cannot be."""
        credentials = grpc.dynamic_ssl_server_credentials(self._doors(), self._newest_doors, True)
        try:
            port = int(self._server.add_secure_port(listen, credentials))
        except RuntimeError:
            raise UsageError(
                f"cannot listen at {listen!r}",
                hint="another process has the port, the address is not this machine's, or the port needs permission",
            ) from None
        self._server.start()
        return port

    def stop_listening(self) -> None:
        """Take no further call and end those that run."""
        self._stopped = self._server.stop(_CLOSE_S / 2)

    def join(self) -> None:
        """Wait until all calls have ended."""
        self._stopped.wait(_CLOSE_S)

    # --- doors

    def _doors(self) -> Any:
        identity = self._identity()
        members = [contact for contact in self._contacts().values() if contact.name != self._site]
        roots = b"".join(_readable(contact.certificate) for contact in members)
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.certificate)],
            root_certificates=roots or identity.certificate,  # nobody yet: then only the own one, which no peer holds
        )

    def _newest_doors(self) -> Any:
        self._doorbook.begun()
        return self._doors()

    # --- calls

    def serve(self, stream: Stream, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """One call: a stream of a member, or a refusal that says why."""
        self._doorbook.called(context.peer())
        try:
            caller = caller_of(context.auth_context(), self._contacts(), me=self._site)
            greeting = read_greeting((pair.key, pair.value) for pair in context.invocation_metadata())
        except PeerError as wrong:
            self._doorbook.refuse(str(wrong))
            context.abort(grpc.StatusCode.UNAUTHENTICATED, str(wrong))
        link = Link(
            peer=caller.contact.name,
            stream=stream,
            dialled=False,
            instance=greeting.instance,
            fingerprint=caller.contact.fingerprint,
            cut=lambda why: context.cancel(),
            relays=greeting.relays,
            secured=caller.secured,
        )
        if why := self._streams.begin(link):
            self._doorbook.refuse(why)
            context.abort(grpc.StatusCode.ALREADY_EXISTS, why)
        context.send_initial_metadata(self._greeting.metadata())
        reader = threading.Thread(target=self._read, args=(link, requests), name=f"{link.peer} {stream}", daemon=True)
        reader.start()
        if not context.add_callback(lambda: self._streams.end(link)):
            self._streams.end(link)
        return self._streams.outgoing(link)

    def _read(self, link: Link, requests: Iterator[bytes]) -> None:
        with contextlib.suppress(grpc.RpcError):  # the call was cancelled, or the connection is gone
            for message in requests:
                self._streams.incoming(link, message)
        self._streams.end(link)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Byte streams by method name; no protobuf."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def service(self, details: Any) -> Any:
        """The handler of a call, or None where there is no such method."""
        stream = METHODS.get(details.method)
        if stream is None:
            return None
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self._listener.serve(stream, requests, context)
        )


class _Threads(Executor):
    """A thread for each call, for as long as it lasts. None of them keeps a process alive that wants to end."""

    def __init__(self, site: str) -> None:
        self._site = site

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Run `work` in a thread of its own."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(work(*arguments, **named))
            except BaseException as failed:  # noqa: BLE001  gRPC reads it from the future
                future.set_exception(failed)

        threading.Thread(target=run, name=f"{self._site} serves", daemon=True).start()
        return future


def _readable(der: bytes) -> bytes:
    try:
        return pem_of(der)
    except ValueError:
        return b""
