"""The log of what left agrees with the wire, frame by frame."""

import hashlib
import json

from cohortium.core.messages import Bye, Chunk, Manifest, Need, Offer, Progress, StepNote
from cohortium.swarm.egress import EgressLog, EgressRow, Sent, sent_frame


def sent(**facts) -> Sent:
    return Sent(**{"round": 1, "kind": "offer", "what": "updates", "receiver": "bonn", "n_bytes": 10,
                   "digest": b"\1" * 32, **facts})  # fmt: skip


def test_payloads_are_logged_under_their_own_digest_and_all_else_under_the_frames() -> None:
    manifest = Manifest(step="masked", digest=b"\2" * 32, header=b"", chunks=())
    frame = b"frame"
    place = {"kind": "x", "round": 3, "receiver": "bonn"}
    assert sent_frame(Offer(manifest=manifest), frame, **place).digest == b"\2" * 32
    assert sent_frame(Offer(manifest=manifest), frame, **place).what == "masked"
    assert sent_frame(Chunk(digest=b"\3" * 32, index=0, data=b""), frame, **place).digest == b"\3" * 32
    assert sent_frame(Need(digest=b"", step="updates"), frame, **place).what == "updates"
    assert sent_frame(StepNote(step="survivors", bitmap=bytes(32)), frame, **place).what == "survivors"
    for body in (Bye(), Progress(stage="train", fraction=0.5)):
        assert sent_frame(body, frame, **place).digest == hashlib.sha256(frame).digest()
    assert sent_frame(Bye(), frame, **place).n_bytes == 5


def test_rows_add_up_and_chain_what_left() -> None:
    log = EgressLog()
    for one in (sent(), sent(receiver="lund", n_bytes=12), sent(round=2, kind="bye", what="")):
        log(one)
    first = hashlib.sha256(bytes(32) + b"\1" * 32).digest()
    second = hashlib.sha256(first + b"\1" * 32).hexdigest()
    assert log.rows() == (
        EgressRow(round=1, kind="offer", what="updates", receivers=("bonn", "lund"), n_frames=2, n_bytes=22,
                  digest=second),
        EgressRow(round=2, kind="bye", what="", receivers=("bonn",), n_frames=1, n_bytes=10, digest=first.hex()),
    )  # fmt: skip


def test_a_hospital_keeps_one_line_a_frame() -> None:
    lines = []
    EgressLog(lines.append)(sent())
    assert json.loads(lines[0]) == {
        "round": 1, "kind": "offer", "what": "updates", "to": "bonn", "bytes": 10, "digest": "01" * 32,
    }  # fmt: skip
    assert lines[0].endswith("}\n")


def test_a_whole_run_is_logged_to_the_last_byte(swarm) -> None:
    logs = {f"site-{i}": EgressLog() for i in range(3)}
    result = swarm.run(3, rounds=2, options={site: {"egress": log} for site, log in logs.items()})
    for site, log in logs.items():
        to_peers = sum(row.n_bytes for row in log.rows() if row.kind != "ledger")
        assert to_peers == sum(n for (sender, _), n in result.network.sent_bytes.items() if sender == site)
        calls = [call for who, call, _ in result.ledger.tried if who == site]
        assert sum(row.n_frames for row in log.rows() if row.kind == "ledger") == len(calls)
    offered = [row for row in logs["site-0"].rows() if (row.kind, row.what) == ("offer", "updates")]
    assert [row.round for row in offered] == [1, 2]
    assert offered[0].receivers == ("site-1", "site-2")
