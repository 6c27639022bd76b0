"""What can be done to a lab, with three real nodes; how whole runs end under faults is tested in end_to_end."""

import os
import signal
import subprocess
import sys

import pytest

from cohortium.errors import CohortiumError, UsageError
from cohortium.lab.consortium import Consortium
from cohortium.lab.site_faults import FaultFile, SiteFaults


def test_a_lab_is_made_of_homes_tables_and_a_study_and_made_once(kit, tmp_path):
    hospitals, sites = kit
    lab = Consortium.create(tmp_path / "lab", hospitals(), engine="local", dials_out=["porto"])
    assert lab.lab.names == sites
    assert lab.lab.site("porto").port == 0
    assert len({one.port for one in lab.lab.sites}) == 3
    for site in sites:
        assert (lab.home(site) / "table.csv").is_file()
        assert (lab.home(site) / "consortium.json").is_file()
    assert lab.lab.procs == ()
    with pytest.raises(UsageError, match="holds a lab already"):
        Consortium.create(tmp_path / "lab", hospitals(), engine="local")
    lab.down(remove=True)
    assert not (tmp_path / "lab").exists()


def test_an_engine_that_cannot_be_started_leaves_no_lab(kit, tmp_path):
    with pytest.raises(UsageError, match="unknown ledger engine 'paper'"):
        Consortium.create(tmp_path / "lab", kit[0](), engine="paper")
    assert not (tmp_path / "lab" / "lab.json").exists()


def test_status_tells_of_every_process_and_every_node(lab):
    found = lab.status()
    assert found["engine"] == "local"
    for site, about in found["sites"].items():
        assert about["pid"] == lab.lab.proc("site", site).pid
        assert about["node"]["healthy"], about["node"]["problems"]
        assert about["node"]["site"] == site
    assert len({about["node"]["ledger"]["hash"] for about in found["sites"].values()}) == 1


@pytest.mark.slow
def test_a_node_that_is_killed_is_missed_and_started_again_by_healing(lab):
    before = lab.lab.proc("site", "porto").pid
    lab.kill("porto")
    about = lab.status()["sites"]["porto"]
    assert about["pid"] is None
    assert "no node runs in" in about["why"]
    with pytest.raises(UsageError, match="'porto' does not run"):
        lab.kill("porto")
    with pytest.raises(CohortiumError, match="node 'porto' ended"):
        lab.wait_until_healthy(timeout_s=5)
    lab.heal()
    lab.wait_until_healthy(timeout_s=90)
    assert lab.lab.proc("site", "porto").pid != before


def test_a_frozen_node_gives_no_answer_and_goes_on_when_it_is_healed(lab):
    lab.freeze("lund")
    with pytest.raises(CohortiumError, match=r"gave no answer within 0\.5 s"):
        lab.ask("lund", {"do": "status"}, timeout_s=0.5)
    pid = lab.lab.proc("site", "lund").pid
    lab.heal()
    lab.wait_until("it answers", lambda: not lab.unreachable("lund"), timeout_s=20)
    assert lab.lab.proc("site", "lund").pid == pid


def test_a_partition_is_written_to_every_home_and_costs_a_minority_the_ledger(lab):
    lab.partition([["porto"]])
    faults = {site: FaultFile(lab.home(site)).now for site in lab.lab.names}
    assert faults["porto"] == SiteFaults(cut=("bonn", "lund"), ledger_cut=True)
    assert faults["bonn"] == SiteFaults(cut=("porto",))
    lab.heal()
    assert FaultFile(lab.home("porto")).now == SiteFaults()


def test_names_that_are_not_in_the_lab_are_refused_with_those_that_are(lab):
    with pytest.raises(UsageError, match="no site 'rome' in this lab; sites: bonn, lund, porto"):
        lab.home("rome")
    with pytest.raises(UsageError, match="nothing called 'n1' in this lab; there is: bonn, lund, porto"):
        lab.kill("n1")


@pytest.mark.slow
def test_a_run_is_proposed_approved_by_all_and_leaves_a_record_at_every_site(lab):
    number = lab.propose(by="lund")
    ended = lab.wait_for_run(number, timeout_s=110)
    assert {held["status"] for held in ended.values()} == {"complete"}
    digests = {lab.record(site, number)["model"]["digest"] for site in lab.lab.names}
    assert len(digests) == 1
    with pytest.raises(CohortiumError, match="run 99 left no record at 'bonn'"):
        lab.record("bonn", 99)


def test_what_does_not_come_in_time_is_said_with_where_to_look(lab):
    with pytest.raises(CohortiumError, match=r"the lab waited 0 s until pigs fly") as raised:
        lab.wait_until("pigs fly", lambda: False, timeout_s=0.01)
    assert "logs" in raised.value.hint


STARTS = """
import sys
from pathlib import Path
from cohortium.lab.consortium import Consortium
lab = Consortium(Path(sys.argv[1]))
lab.start_site("bonn")
print("up", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_lab_has_started_is_found_and_stopped(kit, tmp_path):
    lab = Consortium.create(tmp_path / "lab", kit[0](), engine="local")
    command = [sys.executable, "-c", STARTS, str(lab.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as starter:
        assert starter.stdout.readline() == b"up\n"
        starter.send_signal(signal.SIGKILL)
    proc = lab.lab.proc("site", "bonn")
    assert proc.is_alive, "a node outlives who started it"
    Consortium(lab.folder).down()
    assert not proc.is_alive
    assert lab.lab.procs == ()


def test_the_last_words_of_a_process_are_the_end_of_its_log(kit, tmp_path):
    lab = Consortium.create(tmp_path / "lab", kit[0](), engine="local")
    assert lab.last_words("bonn") == "it said nothing"
    (lab.folder / "logs/bonn.log").write_text("a\nb\nc\nd\n")
    assert lab.last_words("bonn") == "b / c / d"
