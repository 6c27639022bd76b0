import threading

import msgspec
import pytest

from cohortium.errors import CohortiumError, UsageError
from cohortium.lab.processes import Proc
from cohortium.lab.state import FORMAT, Lab, LabSite, changing, read_lab, write_lab

SITES = (LabSite(name="lund", home="lund", port=1), LabSite(name="bonn", home="bonn", port=0, wires={"n1": 7}))
GONE = Proc(role="site", name="bonn", pid=1, birth="never")
LAB = Lab(format=FORMAT, engine="local", seed=3, sites=SITES, heartbeat_s=1.0, ports={"n1": 5})


def test_a_lab_comes_back_as_it_was_written_and_only_for_its_owner(tmp_path):
    write_lab(tmp_path, LAB.with_proc(GONE))
    assert read_lab(tmp_path) == LAB.with_proc(GONE)
    assert (tmp_path / "lab.json").stat().st_mode & 0o077 == 0


def test_sites_are_found_by_name_and_listed_where_there_is_none():
    assert LAB.names == ("bonn", "lund")
    assert LAB.site("bonn").wires == {"n1": 7}
    with pytest.raises(UsageError, match="no site 'porto' in this lab; sites: bonn, lund"):
        LAB.site("porto")


def test_the_newest_process_of_a_name_counts_and_the_dead_are_forgotten():
    again = msgspec.structs.replace(GONE, pid=2)
    lab = LAB.with_proc(GONE).with_proc(again)
    assert lab.procs == (again,)
    assert lab.proc("site", "bonn") == again
    assert lab.proc("site", "lund") is None


def test_no_lab_a_damaged_one_and_one_of_another_release_are_told_apart(tmp_path):
    with pytest.raises(UsageError, match="no lab in"):
        read_lab(tmp_path)
    (tmp_path / "lab.json").write_text("{}")
    with pytest.raises(CohortiumError, match="is damaged"):
        read_lab(tmp_path)
    write_lab(tmp_path, msgspec.structs.replace(LAB, format="cohortium-lab-9"))
    with pytest.raises(UsageError, match="written by another release"):
        read_lab(tmp_path)


def test_one_command_at_a_time_changes_a_lab(tmp_path):
    order = []

    def second():
        with changing(tmp_path):
            order.append("second")

    with changing(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join(5)
    assert order == ["first", "second"]
