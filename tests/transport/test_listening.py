"""What the listening end sets; who it lets in is tested over real sockets in test_grpc.py."""

from cohortium.transport.listening import METHODS, options
from cohortium.transport.pace import Pace
from cohortium.transport.wire import MAX_MESSAGE_BYTES


def test_there_is_one_method_for_each_stream() -> None:
    assert METHODS == {"/cohortium.v1/control": "control", "/cohortium.v1/bulk": "bulk"}


def test_messages_are_bounded_and_idle_connections_kept_alive() -> None:
    said = dict(options(Pace()))
    assert said["grpc.max_receive_message_length"] == MAX_MESSAGE_BYTES
    assert said["grpc.keepalive_time_ms"] == 30_000
    assert said["grpc.keepalive_timeout_ms"] == 10_000
    assert said["grpc.keepalive_permit_without_calls"] == 1
