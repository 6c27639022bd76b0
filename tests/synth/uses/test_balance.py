"""A rare group is drawn up to its share, all of it under the condition, and judged on both sides."""

import numpy as np
import pytest

from cohortium.errors import DataError, UsageError
from cohortium.synth.uses.balance import balance


@pytest.fixture(scope="module")
def table(world):
    return balance(world.generator, world.state, world.training, world.reserve, where="SRSF2 = 1", share=0.4, draws=2,
                   seed=0)  # fmt: skip


def test_the_group_has_its_share_and_every_drawn_patient_belongs_to_it(world, table):
    assert (table.rows["SRSF2"] == 1).mean() == pytest.approx(0.4, abs=0.002)
    drawn = table.rows.take(np.arange(len(world.training), len(table.rows)))
    assert len(drawn) == table.n_drawn
    assert (drawn["SRSF2"] == 1).all()
    assert table.n_tried >= table.n_drawn
    assert (table.rows["age"][: len(world.training)] == world.training["age"]).all()


def test_both_sides_are_judged_and_the_verdict_comes_first(table):
    assert table.inside.low <= table.inside.difference <= table.inside.high
    assert abs(table.outside.difference) < 0.05
    assert table.text().splitlines()[0] == table.document()["verdict"]
    assert table.fidelity > 0.75


def test_too_small_groups_outcomes_and_wrong_shares_are_refused(world):
    def asked(**options):
        balance(world.generator, world.state, world.training, world.reserve, seed=0, **options)

    with pytest.raises(DataError, match=r"<5 real and <5 held-out patients with .* at least 20 of each"):
        asked(where="SRSF2 = 1 and SF3B1 = 1")
    with pytest.raises(UsageError, match="is the outcome"):
        asked(where="died = 1")
    with pytest.raises(UsageError, match="share must lie between"):
        asked(where="SRSF2 = 1", share=0.05)
