"""The digest is what swarm.md section 7 says, whatever the shapes of the arrays."""

import hashlib
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core import payload


def by_hand(header, body):
    whole = hashlib.sha256(b"cohortium-payload-1" + hashlib.sha256(header).digest())
    for at in range(0, len(body), 1 << 20):
        whole.update(hashlib.sha256(body[at : at + (1 << 20)]).digest())
    return whole.digest()


def test_header_is_canonical_json_with_layout_and_context():
    head = payload.header({"w": np.zeros((2, 3), dtype="<f4")}, {"round": 3, "site": "porto"})
    assert head == b'{"context":{"round":3,"site":"porto"},"tensors":[["w","F32",[2,3]]]}'
    assert json.loads(head)["tensors"] == [["w", "F32", [2, 3]]]


@given(st.lists(st.integers(0, 300_000), max_size=6))
def test_digest_equals_the_definition_for_every_split_of_the_body(sizes):
    arrays = [np.arange(n, dtype="<f4") + 0.5 for n in sizes]
    body = b"".join(a.tobytes() for a in arrays)
    assert payload.digest(b"head", arrays) == by_hand(b"head", body)
    pieces = [bytes(c) for c in payload.chunks(arrays)]
    assert b"".join(pieces) == body
    assert all(len(piece) == payload.CHUNK_BYTES for piece in pieces[:-1])


def test_chunk_digests_locate_a_changed_megabyte():
    array = np.zeros(600_000, dtype="<f8")
    before = payload.chunk_digests([array])
    array[400_000] = 1
    after = payload.chunk_digests([array])
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, True, False, True]
