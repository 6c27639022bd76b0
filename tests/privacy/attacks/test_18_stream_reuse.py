"""Attack 18: make a site use one key stream for two vectors - same attempt, two attempts, two steps - and subtract."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.member import _own_streams, header_of
from cohortium.privacy.secagg.messages import Keys
from cohortium.privacy.secagg.secrets import Secrets

VICTIM = "site-01"


class Forgetful(MaskedGuard):
    """Weak: masks whatever it is asked to, as often as it is asked to."""

    def _bind_header(self, binding, kept, header):
        return


def two_vectors(world):
    """Two different updates masked in one attempt."""
    world.run("keys", "shares")
    first = np.array(world.ask(VICTIM, "masked")["floats"])
    other = Parameters({"w": np.asarray(world.updates[VICTIM].parameters["w"])[::-1].copy()})
    before, world.updates[VICTIM] = world.updates[VICTIM], Update(site=VICTIM, parameters=other, weight=1)
    second = np.array(world.ask(VICTIM, "masked")["floats"])
    return (first - second)[:-8].view(np.int32).astype(float), before.parameters["w"] - other["w"].astype(float)


def test_one_stream_under_two_vectors_shows_their_difference(world) -> None:
    seen, difference = two_vectors(world(guard=Forgetful))
    assert np.corrcoef(seen, difference)[0, 1] > 0.999999


def test_ours_masks_one_committed_update_for_one_set_of_keys(world) -> None:
    """The update of a round is the one whose digest is on the ledger; other keys are refused, so streams differ."""
    ours = world().run("keys", "shares", "masked")
    changed = ours.received["keys"]["site-03"] | Parameters({"mask_key": ours.received["keys"]["site-02"]["mask_key"]})
    with pytest.raises(PeerError, match="asked to mask again for other keys than before"):
        ours.ask(VICTIM, "masked", received={**ours.received, "keys": {**ours.received["keys"], "site-03": changed}})
    with pytest.raises(PeerError, match="begun over another set, base model or layout"):
        ours.ask(VICTIM, "masked", base=b"another")
    assert ours.ask(VICTIM, "masked") == ours.received["masked"][VICTIM]


def streams_of(privacy, place, cache={}):  # noqa: B006 - the universe of attempts is small, histories are many
    """Stream keys of all vectors of one attempt, even if roots never changed."""
    if place not in cache:
        run, round, attempt, base = place
        world = privacy.Masked(3, floats=2, integers=2)
        binding = world.binding(run=run, round=round, attempt=attempt, base=base)
        secrets = {s: Secrets.from_root(s.encode().ljust(32, b"."), binding.digest) for s in world.sites}
        keys = {
            s: Keys(
                ctx=binding.digest, mask_key=one.mask_key.public_key().public_bytes_raw(),
                seal_key=one.seal_key.public_key().public_bytes_raw(), self_digest=bytes(32), exponents=(0,),
            )
            for s, one in secrets.items()
        }  # fmt: skip
        header = header_of(binding, keys)
        found = set()
        for s in world.sites:
            for segment in ("floats", "integers"):
                found |= {key for key, _ in _own_streams(binding, s, secrets[s], keys, header, segment)}
        cache[place] = found
    return cache[place]


PLACES = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.sampled_from([b"a", b"b"]))


def no_key_twice(privacy, history):
    used = [key for place in set(history) for key in streams_of(privacy, place)]
    assert len(used) == len(set(used)) == 12 * len(set(history))  # 3 self and 3 pair streams, two segments


@settings(max_examples=500, deadline=None)
@given(history=st.lists(PLACES, min_size=1, max_size=8))
def test_all_stream_keys_differ_over_random_histories(privacy, history) -> None:
    no_key_twice(privacy, history)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(history=st.lists(PLACES, min_size=1, max_size=12))
def test_all_stream_keys_differ_over_ten_thousand_random_histories(privacy, history) -> None:
    no_key_twice(privacy, history)


def test_where_the_attempt_is_left_out_they_do_not(privacy, monkeypatch) -> None:
    monkeypatch.setattr(Binding, "digest", property(lambda self: b"c" * 32))  # weak
    first, second = (streams_of(privacy, (9, 9, attempt, b"a")) for attempt in (1, 2))
    assert first == second
