"""Attack 9: hand the victim another base model than the rest, one that silences all others in the sum."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import FrameError, PeerError
from cohortium.privacy.secagg import context as context_module
from cohortium.privacy.secagg.context import Binding

VICTIM = "site-02"
SILENT, SPEAKING = b"all activations dead" + bytes(12), b"the true model" + bytes(18)


def attack(world):
    """Others trained from a model in which nothing has a gradient: their updates are zero, the sum is the victim's."""
    zero = Parameters({"w": np.zeros(20_000, np.float32)})
    world.updates = {
        s: u if s == VICTIM else Update(site=s, parameters=zero, weight=1) for s, u in world.updates.items()
    }
    base = {s: SPEAKING if s == VICTIM else SILENT for s in world.sites}
    for step in ("keys", "shares", "masked", "unmask"):
        if step == "unmask":
            world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
        world.received[step] = {s: world.ask(s, step, base=base[s]) for s in world.sites}
    return world.open(base=SILENT).total["w"]


def test_where_the_base_is_not_in_the_context_the_sum_is_the_victims_update(world, monkeypatch) -> None:
    digest = Binding.digest.func
    anonymous = lambda self: digest(Binding(context=context_module.Context(**{  # noqa: E731 - weak: base left out
        **{name: getattr(self.context, name) for name in self.context.__dataclass_fields__}, "base": b""}),
        layout=self.layout))  # fmt: skip
    monkeypatch.setattr(Binding, "digest", property(anonymous))
    weak = world()
    assert np.corrcoef(attack(weak), weak.updates[VICTIM].parameters["w"])[0, 1] > 0.999999


def test_ours_refuses_the_keys_of_another_base_model(world) -> None:
    with pytest.raises(FrameError, match="are for another attempt, base model or layout"):
        attack(world())


def test_and_where_they_are_forced_through_no_mask_cancels(world, monkeypatch) -> None:
    ours = world()
    monkeypatch.setattr("cohortium.privacy.secagg.messages.Keys.from_parameters", _unchecked)
    with pytest.raises(PeerError, match=r"did not cancel|shares of site|dealt shares"):
        attack(ours)


def _unchecked(arrays, binding, *, site):
    from cohortium.privacy.secagg.messages import Keys

    fields = {name: arrays[name].tobytes() for name in ("mask_key", "seal_key", "self_digest")}
    return Keys(ctx=binding.digest, **fields, exponents=tuple(int(one) for one in arrays["exponents"]))
