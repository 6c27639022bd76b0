import contextlib
import socket
import threading
import time

import pytest

from cohortium.lab.ports import free_ports
from cohortium.lab.wires import Wires


@pytest.fixture
def echo():
    """The port of a server that gives back what it gets."""
    end = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                one, _ = end.accept()
            except OSError:
                return
            threading.Thread(target=give_back, args=(one,), daemon=True).start()

    def give_back(one):
        with contextlib.suppress(OSError), one:
            while piece := one.recv(1000):
                one.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    yield end.getsockname()[1]
    end.shutdown(socket.SHUT_RDWR)
    end.close()


@pytest.fixture
def wired(echo):
    """(own port, {"cut": whether it is cut})."""
    state, port = {"cut": False}, free_ports(1)[0]
    with contextlib.closing(Wires({port: echo}, is_cut=lambda: state["cut"])):
        yield port, state


def call(port):
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_bytes_are_passed_on_both_ways(wired):
    port, _ = wired
    with call(port) as one, call(port) as other:
        for end, text in ((one, b"one"), (other, b"x" * 100_000)):
            end.sendall(text)
            found = b""
            while len(found) < len(text):
                found += end.recv(100_000)
            assert found == text


def test_a_cut_ends_what_is_open_and_takes_nothing_new_until_it_is_healed(wired):
    port, state = wired
    with call(port) as one:
        one.sendall(b"a")
        assert one.recv(1) == b"a"
        state["cut"] = True
        assert one.recv(1) == b"", "the connection ends"
    with call(port) as one:
        assert one.recv(1) == b""
    state["cut"] = False
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with call(port) as one, contextlib.suppress(OSError):
            one.sendall(b"b")
            if one.recv(1) == b"b":
                return
    raise AssertionError("not healed")


def test_a_member_that_is_gone_is_a_connection_that_ends(echo):
    port, nobody = free_ports(2)
    with contextlib.closing(Wires({port: nobody}, is_cut=lambda: False)), call(port) as one:
        assert one.recv(1) == b""


def test_closed_wires_take_no_connection(echo):
    (port,) = free_ports(1)
    Wires({port: echo}, is_cut=lambda: False).close()
    with pytest.raises(ConnectionRefusedError):
        call(port)
