import numpy as np

from cohortium.reports.observed import Observed
from cohortium.reports.site_matrix import site_matrix

OBSERVED = Observed(
    outcome="binary", site=np.repeat(["a", "b"], 4), y=np.array([0, 1, 0, 1, 1, 1, 1, 1.0]), patient=np.arange(8)
)
RISING = np.array([0.1, 0.6, 0.2, 0.9])


def test_every_cell_holds_a_value_or_a_reason():
    scores = {"swarm": {"a": RISING, "b": RISING}, "own/a": {"a": 1 - RISING}, "without/a": {"a": RISING}}
    found = site_matrix(scores, OBSERVED, why_missing="own models stay at home under masks")
    assert found.models == ("own/a", "own/b", "without", "swarm")
    assert found.sites == ("a", "b")
    cells = {(m, s): found.cells[i][j] for i, m in enumerate(found.models) for j, s in enumerate(found.sites)}
    assert cells["own/a", "a"].value == 0.0
    assert cells["swarm", "a"].value == 1.0
    assert cells["without", "a"].value == 1.0
    assert cells["own/b", "a"].reason == "missing: own models stay at home under masks"
    assert cells["swarm", "b"].reason == "missing: not defined for n = 4"
    assert all((cell.value is None) == bool(cell.reason) for cell in cells.values())


def test_another_measure_may_be_asked_for():
    found = site_matrix({"swarm": {"a": RISING, "b": RISING}}, OBSERVED, measure="accuracy")
    assert found.cells[-1][1].value == 0.5
