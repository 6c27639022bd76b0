"""A committed answer is shown as it was hashed, by its own site, for its own round - or its site is named."""

import numpy as np
import pytest

from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.frames import Limits, pack
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.swarm.showing import (
    MAX_SHOWN_BYTES,
    context_of,
    read_shown,
    salt_of,
    showing_step,
    with_shown,
    without_shown,
)

KEYS = Parameters({"keys": np.arange(4, dtype=np.uint8)})
ROW = Parameters({"table": np.arange(6, dtype=np.int64).reshape(2, 3)})
SALT = bytes(range(16))
CONTEXT = context_of("porto", run=3, round=9, study=b"s" * 32, salt=SALT)


def read(arrays, committed, **more):
    place = {"site": "porto", "run": 3, "round": 9, **more}
    return read_shown(arrays, committed=committed, limits=Limits(), **place)


def test_what_was_committed_is_read_back_and_the_guard_never_sees_it():
    packed = pack(ROW, CONTEXT)
    shown = with_shown(KEYS, packed)
    found = read(shown, packed.digest)
    assert found.parameters == ROW
    assert found.salt == SALT, "with which anybody can make the commitment again"
    assert without_shown(shown) == KEYS
    assert without_shown(KEYS) is KEYS


def test_another_row_salt_round_or_site_than_committed_names_the_site():
    honest = pack(ROW, CONTEXT)
    others = [
        pack(Parameters({"table": ROW["table"] + 1}), CONTEXT),
        pack(ROW, {**CONTEXT, "salt": "00" * 16}),
    ]
    for other in others:
        with pytest.raises(PeerError, match="shows another answer than it has committed") as caught:
            read(with_shown(KEYS, other), honest.digest)
        assert caught.value.site == "porto"
    for place in ({"round": 8}, {"run": 2}, {"site": "bonn"}):
        with pytest.raises(PeerError, match="shows another answer"):
            read(with_shown(KEYS, honest), honest.digest, **place)


def test_nothing_too_much_or_noise_names_the_site():
    packed = pack(ROW, CONTEXT)
    with pytest.raises(PeerError, match="does not show the answer"):
        read(KEYS, packed.digest)
    large = KEYS | Parameters({"shown/payload": np.zeros(MAX_SHOWN_BYTES + 1, dtype=np.uint8)})
    with pytest.raises(PeerError, match="does not show the answer"):
        read(large, packed.digest)
    for blob in (np.zeros(3, dtype=np.uint8), np.full(100, 255, dtype=np.uint8)):
        with pytest.raises(PeerError, match="no answer that can be read"):
            read(KEYS | Parameters({"shown/payload": blob}), packed.digest)


@pytest.mark.parametrize(
    "change",
    [{"salt": "00"}, {"salt": 3}, {"salt": "Z" * 32}, {"more": "words"}],
    ids=["short", "number", "hex", "more"],
)
def test_an_answer_that_nobody_could_commit_again_from_its_salt_names_the_site(change):
    packed = pack(ROW, {**CONTEXT, **change})
    with pytest.raises(PeerError, match="site 'porto' shows an answer") as caught:
        read(with_shown(KEYS, packed), packed.digest)
    assert caught.value.site == "porto"
    with pytest.raises(PeerError):
        salt_of({**CONTEXT, **change}, site="porto")


def test_answers_are_shown_with_the_first_step_of_a_masked_recipe_and_lie_open_without_one():
    assert showing_step(MASKED) == "keys"
    assert showing_step(PLAIN) == ""
