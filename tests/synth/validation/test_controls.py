import numpy as np

from cohortium.synth.validation.controls import coverage, run_controls


def test_every_control_fails_as_it_must(world):
    found = run_controls(world.training, world.reserve, world.synthetic, seed=0)
    assert {control.name for control in found} == {"copy", "shuffled", "collapse"}
    assert all(control.failed for control in found), found


def test_coverage_sees_a_collapse(world):
    few = world.synthetic.take(np.zeros(500, dtype=int))
    assert coverage(world.reserve, world.training, world.synthetic) > 0.8
    assert coverage(world.reserve, world.training, few) < 0.2
