"""The gate on S6 of the published shape: every copy and free-rider found, no honest site alarmed."""

import pytest

from cohortium.sim.harm.gate_trial import try_gate
from cohortium.sim.harm.shapes import PD83


@pytest.mark.slow
def test_copies_and_free_riders_of_the_published_shape():
    (found,) = try_gate(PD83, seeds=1)
    assert (found.copies, found.copies_recall) == (40, 1.0)
    assert found.copies_precision >= 0.95
    assert found.random_auroc == 1.0
    assert found.riders_found == found.riders == (7, 7, 6)
    assert found.honest > 50
    assert found.honest_alarmed == 0
