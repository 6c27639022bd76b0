from dataclasses import replace

import numpy as np

from cohortium.synth.validation.controls import Control, coverage, power_of_attacks, run_controls


def test_every_control_fails_as_it_must(judged):
    assert {control.name for control in judged.controls} == {"copy", "shuffled", "collapse", "planted", "leak"}
    assert all(control.failed for control in judged.controls), judged.controls


def test_the_measures_of_the_design_are_among_them(judged):
    found = {(control.name, control.measure) for control in judged.controls}
    assert found >= {("copy", "nndr"), ("copy", "membership_auc"), ("copy", "dcr_share"), ("shuffled", "dependence"),
                     ("shuffled", "indistinguishability"), ("shuffled", "pairs"), ("collapse", "coverage"),
                     ("collapse", "indistinguishability"), ("planted", "identical_rows"),
                     ("leak", "measures")}  # fmt: skip


def test_a_planted_patient_is_found(judged):
    assert next(control for control in judged.controls if control.name == "planted").value == 1.0


def test_a_control_must_lie_on_its_side_of_the_limit():
    low = Control(name="copy", measure="nndr", value=0.4, limit=0.5, below=True)
    assert low.failed
    assert not replace(low, below=False).failed
    assert replace(low, value=0.5, below=False).failed


def test_coverage_sees_a_collapse(world):
    few = world.synthetic.take(np.zeros(500, dtype=int))
    assert coverage(world.reserve, world.training, world.synthetic) > 0.8
    assert coverage(world.reserve, world.training, few) < 0.2


def test_attacks_find_a_copy_or_are_known_to_be_blind(world, judged):
    found = power_of_attacks(world.training, world.reserve, judged.privacy, seed=0)
    assert found["linkability"].low > 0.3
    assert found["linkability"].rate > found["linkability"].guess
    assert set(found) >= {"singling_out", "linkability"}


def test_a_small_table_is_not_asked_for_what_nobody_could_tell(world, judged):
    few = world.reserve.take(np.arange(60))
    found = run_controls(world.training, few, world.synthetic, fidelity=judged.fidelity,
                         near=judged.privacy.nearness, seed=0)  # fmt: skip
    names = {(control.name, control.measure) for control in found}
    assert ("leak", "measures") not in names
    assert ("shuffled", "indistinguishability") not in names
    assert {"copy", "shuffled", "collapse", "planted"} == {control.name for control in found}
    assert all(control.failed for control in found)
