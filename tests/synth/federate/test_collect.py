import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn, Update
from cohortium.errors import PeerError
from cohortium.synth.federate.collect import Collect, answered, each_site, handed


def turn(site=""):
    return Turn(
        round=2, sites=("a", "b", "c"), start=Parameters({"s": np.ones(1)}), site=site,
        memory=Parameters({"m": np.zeros(1)}),
    )  # fmt: skip


def test_a_site_is_handed_state_memory_and_its_place():
    found = handed(turn("b"))
    assert found["own"].tolist() == [1, 2]
    assert list(found) == ["own", "state/s", "memory/m"]


def test_contributions_stand_beside_each_other_and_memory_stays():
    collect = Collect(refused=lambda sent: "")
    fitted = answered(Parameters({"x": np.array([4])}), Parameters({"m": np.ones(1)}), n_samples=9)
    update = collect.conclude(turn("c"), (fitted,))
    assert (list(update.parameters), list(update.memory), update.weight) == (["x"], ["m"], 1)
    other = Update(site="a", parameters=Parameters({"x": np.array([7])}), weight=1)
    merged, _ = collect.merge(turn(), weighted_sum([update, other]))
    assert {place: int(arrays["x"][0]) for place, arrays in each_site(merged)} == {0: 7, 2: 4}


def test_a_refused_contribution_names_its_site():
    collect = Collect(refused=lambda sent: "no" if int(sent["x"][0]) == 4 else "")
    updates = [Update(site=s, parameters=Parameters({"x": np.array([k])}), weight=1) for s, k in (("a", 3), ("b", 4))]
    with pytest.raises(PeerError, match="update of site 'b': no") as caught:
        collect.merge(turn(), weighted_sum(updates))
    assert caught.value.site == "b"
