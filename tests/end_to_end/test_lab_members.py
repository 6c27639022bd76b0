"""A site without a port leads; sites join, leave and change their keys during a run; too few sites end it in time."""

import time

import msgspec
import pytest

from cohortium.lab.homes import add_home
from cohortium.lab.hospitals import Hospitals, write_tables
from cohortium.lab.ports import free_ports
from cohortium.lab.site_faults import SiteFaults
from cohortium.lab.state import LabSite, write_lab

from .labs import SITES, digests, lab_of, propose, rounds, simulated, table_of, until_merge, watch

pytest.importorskip("grpc")
pytest.importorskip("eth")
pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]

FOUR = SITES[:4]
OUT = "lund"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Four sites, one of which dials out only."""
    with lab_of(tmp_path_factory.mktemp("lab"), FOUR, dials_out=[OUT]) as lab:
        yield lab


def test_a_site_without_a_port_takes_part_fully_and_leads(lab):
    assert lab.ask(OUT, {"do": "status"})["port"] == 0
    number, study = propose(lab)
    lines = watch(lab, number)
    assert lines[-1]["sentence"] == "complete"
    assert OUT in {line["leader"] for line in rounds(lines)}
    assert all(OUT in line["contributors"] for line in rounds(lines))
    lab.wait_for_run(number)
    assert digests(lab, number) == {simulated(lab, study)}


def test_keys_are_changed_during_a_run_and_nothing_is_lost(lab):
    number, study = propose(lab, strategy={"rounds": 12})
    until_merge(lab, number, 2)
    before = (lab.home("dresden") / "keys/tls.crt").read_bytes()
    lab.ask("dresden", {"do": "rotate"}, timeout_s=60)
    lines = watch(lab, number)
    assert lines[-1]["sentence"] == "complete"
    assert (lab.home("dresden") / "keys/tls.crt").read_bytes() != before
    lab.wait_for_run(number)
    assert digests(lab, number) == {simulated(lab, study)}


def newcomer(lab, name):
    """A fifth home with its own patients, of this consortium but no member yet."""
    site = LabSite(name=name, home=name, port=free_ports(1)[0])
    grown = msgspec.structs.replace(lab.lab, sites=(*lab.lab.sites, site))
    home = add_home(lab.folder, grown, site)
    founding = (lab.home(FOUR[0]) / "consortium.json").read_bytes()
    (home.path / "consortium.json").write_bytes(founding)
    write_tables(Hospitals(study=None, text="", tables={name: table_of(9)}), {name: home.path})  # type: ignore[arg-type]
    write_lab(lab.folder, grown)
    return home


def test_a_site_that_is_admitted_during_a_run_joins_it_without_any_restart_and_another_leaves(lab):
    number, _ = propose(lab, strategy={"rounds": 14})
    until_merge(lab, number, 2)
    lab.fault("lund", SiteFaults(slow_s=20.0))  # so that the newcomer, which executes every block, is not outrun
    home = newcomer(lab, "porto")
    card = home.card(time.time()).to_bytes().decode()
    for site in FOUR[:3]:
        lab.ask(site, {"do": "admit", "card": card}, timeout_s=60)
    lab.start_site("porto")
    lab.wait_until("it has joined", lambda: "porto" in lab.run_at("bonn", number).get("live", ()), timeout_s=200)
    lab.fault("lund", SiteFaults())
    lab.ask("dresden", {"do": "leave"}, timeout_s=60)
    lines = watch(lab, number)
    assert rounds(lines)[-1]["contributors"] == ["aachen", "bonn", "lund", "porto"]
    assert lines[-1]["sentence"].startswith("partial (4/5 sites), missing: dresden")
    assert "dresden" in {line["site"] for line in lines if line["event"] == "left"}


def test_with_too_few_sites_a_run_waits_and_then_fails_for_want_of_a_quorum(tmp_path):
    swarm = {"max_round_s": 25.0, "silence_s": 5.0}
    with lab_of(tmp_path / "lab", FOUR[:3]) as lab:
        number, _ = propose(lab, strategy={"min_sites": 3, "round_timeout_s": 5.0, "rounds": 30}, swarm=swarm)
        until_merge(lab, number, 2)
        lab.kill("dresden")
        lines = watch(lab, number)
        assert lines[-1]["status"] == "failed"
        assert "quorum" in lines[-1]["sentence"]
        assert lines[-1]["exit_code"] == 4
