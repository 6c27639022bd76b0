import numpy as np
import pytest

from cohortium.synth.rows import Rows
from cohortium.synth.validation.attacks import wilson
from cohortium.synth.validation.privacy import judge_privacy, rate


def joined(a, b):
    return Rows(a.facts, {name: np.concatenate([a[name], b[name]]) for name in a.facts.names})


def test_a_generators_table_is_not_failed(world):
    found = judge_privacy(world.training, world.reserve, world.synthetic, seed=0)
    assert "fail" not in set(found.findings(attack_risk_max=0.05).values())
    assert found.nearness.unique_copied == 0
    near = found.nearness
    assert near.nndr[0].value == pytest.approx(near.nndr_holdout[0].value, abs=0.02)
    assert near.nndr[0].low <= near.nndr[0].value <= near.nndr[0].high
    assert near.combinations.value == pytest.approx(near.combinations_holdout.value, abs=0.1)


def test_a_copied_table_fails_by_several_measures(world):
    found = judge_privacy(world.training, world.reserve, world.training, seed=0).findings(attack_risk_max=0.05)
    assert {"nndr", "identical_rows", "membership", "linkability"} <= {k for k, v in found.items() if v == "fail"}


def test_five_per_cent_of_leaked_rows_are_caught(world):
    leaked = joined(world.synthetic.take(np.arange(900)), world.training.take(np.arange(60)))
    found = judge_privacy(world.training, world.reserve, leaked, seed=0)
    bad = {name for name, word in found.findings(attack_risk_max=0.05).items() if word == "fail"}
    assert "identical_rows" in bad
    assert found.nearness.nndr[1].value == 0.0  # the 5 % quantile
    assert len(bad) >= 2


def test_one_planted_patient_is_found(world):
    leaked = joined(world.synthetic, world.training.take(np.array([7])))
    assert judge_privacy(world.training, world.reserve, leaked, seed=0).nearness.unique_copied == 1


def test_other_real_patients_are_hardly_ever_refused(world):
    """Chance alone must not fail a table: patients whom nobody copied, drawn anew ten times."""
    everybody = joined(world.training, world.reserve)
    failed = 0
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(everybody))
        parts = [everybody.take(order[a:b]) for a, b in ((0, 500), (500, 700), (700, 1200))]
        failed += "fail" in judge_privacy(*parts, seed=seed).findings(attack_risk_max=0.05).values()
    assert failed <= 1


def test_the_rate_is_wilsons():
    found = rate(0.1, 50)
    centre, half = wilson(5, 50)
    assert (found.value, found.low, found.high) == (0.1, centre - half, centre + half)
