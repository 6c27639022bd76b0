import time

import msgspec
import pytest

from cohortium.errors import CohortiumError
from cohortium.lab.site_faults import Death, FaultFile, SiteFaults, deaths_died, note_death, write_faults


def until(file, wanted):
    deadline = time.monotonic() + 5
    while file.now != wanted:
        assert time.monotonic() < deadline


def test_a_fault_is_seen_when_it_is_written_and_gone_when_it_is_healed(tmp_path):
    file = FaultFile(tmp_path)
    assert file.now == SiteFaults()
    for faults in (
        SiteFaults(slow_s=3.0),
        SiteFaults(cut=("bonn",), disk="full", deaths=(Death(fact="trained", round=2),)),
    ):
        write_faults(tmp_path, faults)
        until(file, faults)
    write_faults(tmp_path, SiteFaults())
    until(file, SiteFaults())
    assert not (tmp_path / "lab-faults.json").exists()


@pytest.mark.parametrize("text", ["nonsense", '{"disk": "wet"}', '{"fails": "A B"}', '{"unknown": 1}', "[]"])
def test_a_file_that_is_no_list_of_faults_is_refused(tmp_path, text):
    (tmp_path / "lab-faults.json").write_text(text)
    with pytest.raises(CohortiumError, match="is no list of faults"):
        _ = FaultFile(tmp_path).now


def test_a_node_dies_at_a_point_once(tmp_path):
    first, second = Death(fact="trained", round=2), Death(fact="trained", round=2, when="after")
    assert first.name not in deaths_died(tmp_path)
    note_death(tmp_path, first)
    assert first.name in deaths_died(tmp_path)
    assert second.name not in deaths_died(tmp_path)
    note_death(tmp_path, second)
    assert deaths_died(tmp_path) == {first.name, second.name}


def test_faults_go_through_json_and_back():
    faults = SiteFaults(clock_s=-3600.0, mute=True, deaf_to=("figures",), worker_dies=True, fails="device")
    assert msgspec.json.decode(msgspec.json.encode(faults), type=SiteFaults) == faults
