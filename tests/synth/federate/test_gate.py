import numpy as np
import pytest

from cohortium.synth.federate.gate import GateVerdict, gate, rows_digest, too_few, wrong_seal
from cohortium.synth.rows import joined


def judged(world, table, *, training=None, reserve=None):
    return gate(
        training or world.training, reserve or world.reserve, table, subject=rows_digest(table), seed=0,
        attack_risk_max=0.05,
    )  # fmt: skip


def test_a_generators_table_passes_and_a_copy_does_not(world):
    assert judged(world, world.synthetic).passed
    rng = np.random.default_rng(0)
    copy = world.training.take(rng.integers(0, len(world.training), len(world.training)))
    found = judged(world, copy)
    assert not found.passed
    assert found.findings["nndr"] == found.findings["identical_rows"] == "fail"
    assert "too near" in found.reason


def test_one_copied_patient_in_twenty_is_found(world):
    n = len(world.synthetic)
    leaky = joined([world.synthetic.take(np.arange(n - n // 20)), world.training.take(np.arange(n // 20))])
    assert not judged(world, leaky).passed


def test_too_few_rows_are_told_with_their_number(world):
    few = world.reserve.take(np.arange(21))
    assert too_few(world.training, few) == "too few reserve rows to judge: 21 of 30"
    assert too_few(few, world.reserve) == "too few training rows to share: 21 of 100"
    assert judged(world, world.synthetic, reserve=few).reason == "too few reserve rows to judge: 21 of 30"


def test_a_verdict_shown_beside_another_table_is_refused(world):
    one, other = (world.synthetic.take(np.arange(k, k + 200)) for k in (0, 200))
    seal = GateVerdict(subject=rows_digest(one), passed=True).seal()
    assert wrong_seal(seal, rows_digest(one)) == ""
    assert wrong_seal(seal, rows_digest(other)) == "its verdict was given to another table"
    failed = GateVerdict(subject=rows_digest(one), passed=False).seal()
    assert wrong_seal(failed, rows_digest(one)) == "it did not pass the gate of its site"
    assert wrong_seal(world.state, rows_digest(one)) == "it carries no verdict of the gate"


@pytest.mark.parametrize("column", ["age", "os_years"])
def test_the_digest_covers_every_value(world, column):
    changed = world.synthetic[column].copy()
    changed[17] += 1e-9
    assert rows_digest(world.synthetic.with_columns({column: changed})) != rows_digest(world.synthetic)
