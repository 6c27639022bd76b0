"""A site's own way to the ledger's processes: plain forwarding of connections that the lab can cut.

A hospital that is cut off loses its peers and its ledger together. Peers are cut in the transport; etcd and anvil are
reached over these wires, which pass bytes on as they are (TLS included) and close when the site is cut off.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping

__all__ = ["Wires"]

_LOOK_S = 0.1
_PIECE = 64 << 10
_CALL_S = 5.0


class Wires:
    """Wires of one site. targets: own port -> the member's port, both on loopback. is_cut: asked 10 times a second."""

    def __init__(self, targets: Mapping[int, int], *, is_cut: Callable[[], bool]) -> None:
        self._is_cut = is_cut
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._ends = [(_listening(port), target) for port, target in targets.items()]
        self._threads = [
            threading.Thread(target=self._accept, args=end, name="cohortium-wire", daemon=True) for end in self._ends
        ]
        self._threads.append(threading.Thread(target=self._watch, name="cohortium-wires", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take no further connection, cut those there are."""
        self._closed.set()
        for end, _ in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._cut()

    def _accept(self, end: socket.socket, target: int) -> None:
        while not self._closed.is_set():
            try:
                near, _ = end.accept()
            except OSError:
                return
            if self._is_cut():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", target), timeout=_CALL_S)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                to.sendall(piece)
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with self._lock:
                known = one in self._open
                self._open.discard(one)
            if known:
                one.close()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            if self._is_cut():
                self._cut()

    def _cut(self) -> None:
        with self._lock:
            held = [*self._open]
        for one in held:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _listening(port: int) -> socket.socket:
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.bind(("127.0.0.1", port))
    end.listen(64)
    return end
