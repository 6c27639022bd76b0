"""Real processes and simulation with one seed; five hospitals and every ledger are in end_to_end."""

import pytest

from cohortium.lab.selfcheck import compare_with_simulation, simulated_digest


@pytest.mark.slow
def test_a_simulation_of_the_labs_own_tables_gives_a_digest(running):
    first, again = simulated_digest(running), simulated_digest(running)
    assert first == again
    assert first["status"] == "complete"
    assert len(first["digest"]) == 64


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_comparison_names_every_sites_digest_and_leaves_nothing_behind(kit):
    hospitals, _ = kit
    said = []
    found = compare_with_simulation(hospitals(("bonn", "lund")), engine="local", say=said.append)
    assert found["equal"]
    assert found["lab"]["status"] == found["simulation"]["status"] == "complete"
    assert found["lab"]["digest"] == found["simulation"]["digest"]
    assert set(found["lab"]["sites"]) == {"bonn", "lund"}
    assert said[0] == "starting 2 nodes, ledger 'local'"
