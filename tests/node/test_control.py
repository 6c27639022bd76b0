"""The socket: owner only, one typed line a request, errors as sentences, a caller that goes stops nothing."""

import asyncio
import json
import socket
import threading

import pytest

from cohortium.errors import CohortiumError, PolicyRefused, UsageError
from cohortium.node import control as module
from cohortium.node.control import Control, NodeAway, ask_node, watch_node


class Node:
    """A control socket in a loop of its own thread."""

    def __init__(self, path):
        self.path, self.watching, self.errors = path, 0, []
        self._ready, self._loop = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _live(self):
        async def echo(asked):
            return {"heard": asked}

        async def refuse(asked):
            raise PolicyRefused("not today", hint="ask tomorrow")

        async def fail(asked):
            raise ValueError("patient P-0007")

        async def count(asked):
            self.watching += 1
            try:
                for number in range(asked.get("to", 3)):
                    yield {"event": "number", "number": number}
                if asked.get("for ever"):
                    while True:
                        await asyncio.sleep(0.01)
                        yield {"event": "tick"}
                if asked.get("break"):
                    raise UsageError("cut off")
            finally:
                self.watching -= 1

        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda loop, context: self.errors.append(context))
        control = Control(self.path, handlers={"echo": echo, "refuse": refuse, "fail": fail}, streams={"count": count})
        await control.start()
        self._ready.set()
        await self._end.wait()
        await control.close()

    def close(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "control.sock")
    yield made
    made.close()


def raw(node, data):
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(node.path))
        end.sendall(data)
        end.settimeout(10)
        return json.loads(end.makefile("rb").readline() or b"null")


def test_a_request_is_answered_and_only_its_owner_may_ask(node):
    assert ask_node(node.path, {"do": "echo", "x": 1}) == {"ok": True, "heard": {"do": "echo", "x": 1}}
    assert node.path.stat().st_mode & 0o777 == 0o600


def test_what_a_handler_refuses_comes_back_with_hint_and_exit_code(node):
    with pytest.raises(CohortiumError, match="not today") as caught:
        ask_node(node.path, {"do": "refuse"})
    assert (caught.value.hint, caught.value.exit_code) == ("ask tomorrow", 1)


def test_our_own_bug_is_told_without_its_text_and_the_node_goes_on(node):
    with pytest.raises(CohortiumError, match="ValueError inside the node") as caught:
        ask_node(node.path, {"do": "fail"})
    assert caught.value.exit_code == 70
    assert "P-0007" not in str(caught.value)
    assert ask_node(node.path, {"do": "echo"})["ok"]
    assert len(node.errors) == 1


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"[]\n", b"{}\n", b'{"do": 3}\n', b'{"do": "a", "do": "b"}\n', b'{"do": ' + b"[" * 99 + b"\n",
     b'{"do": "export"}\n', b'{"do": "echo", "x": NaN}\n'],
)  # fmt: skip
def test_anything_else_is_refused_in_one_sentence(node, line):
    answer = raw(node, line)
    assert answer["exit_code"] == 2
    assert answer["error"]
    assert ask_node(node.path, {"do": "echo"})["ok"]


def test_a_line_too_long_is_cut(node, monkeypatch):
    with pytest.raises((ConnectionError, TypeError, AssertionError)):
        assert raw(node, b"x" * (module.MAX_REQUEST_BYTES + (1 << 20))) is not None
    assert ask_node(node.path, {"do": "echo"})["ok"]


def test_a_stream_ends_by_itself_or_with_an_error(node):
    assert [line["number"] for line in watch_node(node.path, {"do": "count"})] == [0, 1, 2]
    found = []
    with pytest.raises(CohortiumError, match="cut off"):
        found.extend(watch_node(node.path, {"do": "count", "break": True}))
    assert not node.watching


def test_a_watcher_that_goes_away_stops_its_own_watching_only(node):
    lines = watch_node(node.path, {"do": "count", "for ever": True})
    assert next(lines)["number"] == 0
    assert node.watching == 1
    lines.close()
    deadline = threading.Event()
    for _ in range(500):
        if not node.watching:
            break
        deadline.wait(0.01)
    assert not node.watching
    assert ask_node(node.path, {"do": "echo"})["ok"]


def test_a_node_that_is_away_is_said_with_how_to_start_it(tmp_path):
    with pytest.raises(NodeAway, match="no node runs in") as caught:
        ask_node(tmp_path / "control.sock", {"do": "status"})
    assert "cohortium node start" in caught.value.hint
    assert caught.value.exit_code == 1


def test_a_home_with_a_long_path_has_a_socket_too(tmp_path):
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    made = Node(deep / "control.sock")
    try:
        assert ask_node(made.path, {"do": "echo"})["ok"]
    finally:
        made.close()
    assert not made.path.exists()
