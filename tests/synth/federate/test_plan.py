import pytest

from cohortium.synth.federate import FEDERATIONS
from cohortium.synth.federate.cells import REFERENCES
from cohortium.synth.federate.plan import FederationPlan


@pytest.mark.parametrize("name", [name for name in FEDERATIONS if name not in REFERENCES])
def test_every_federation_has_stages_a_result_and_says_whether_masks_may_stay(name, world, tiny):
    made = FEDERATIONS.resolve(name)
    federation = made(plan=FederationPlan(rounds=2))
    assert federation.masks is (name in ("exact", "fedavg", "similarity"))
    stages = federation.stages(tiny if name in ("fedavg", "cyclic") else world.generator)
    assert all(stage.max_rounds > 0 for stage in stages)
    assert [stage.strategy.sums for stage in stages[:-1]].count(False) <= 1
    assert callable(federation.result)
    assert callable(federation.shared_by)
