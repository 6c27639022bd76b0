import numpy as np
import pytest

from cohortium.synth.rows import Rows
from cohortium.synth.validation.privacy import judge_privacy


def joined(a, b):
    return Rows(a.facts, {name: np.concatenate([a[name], b[name]]) for name in a.facts.names})


def test_a_generators_table_is_not_failed(world):
    found = judge_privacy(world.training, world.reserve, world.synthetic, seed=0)
    assert "fail" not in set(found.findings(attack_risk_max=0.05).values())
    assert found.unique_copied == 0
    assert found.nndr[0] == pytest.approx(found.nndr_holdout[0], abs=0.02)


def test_a_copied_table_fails_by_several_measures(world):
    found = judge_privacy(world.training, world.reserve, world.training, seed=0).findings(attack_risk_max=0.05)
    assert {"nndr", "identical_rows", "membership", "linkability"} <= {k for k, v in found.items() if v == "fail"}


def test_five_per_cent_of_leaked_rows_are_caught(world):
    leaked = joined(world.synthetic.take(np.arange(900)), world.training.take(np.arange(60)))
    found = judge_privacy(world.training, world.reserve, leaked, seed=0)
    bad = {name for name, word in found.findings(attack_risk_max=0.05).items() if word == "fail"}
    assert "identical_rows" in bad
    assert found.nndr[1] == 0.0  # the 5 % quantile
    assert len(bad) >= 2


def test_one_planted_patient_is_found(world):
    leaked = joined(world.synthetic, world.training.take(np.array([7])))
    assert judge_privacy(world.training, world.reserve, leaked, seed=0).unique_copied == 1
