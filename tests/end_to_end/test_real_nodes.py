"""What CI runs with real processes on every ledger: the model of the simulation through kills, and who is let in.

Three hospitals on loopback, a process each, mutual TLS. Five of them, real patients, the published failures and kills
at every stage are in test_lab_*.py, by hand: pytest -m long.
"""

import os
import threading
import time

import pytest

from cohortium.lab.engines import ENGINES, why_not
from cohortium.node.home import Home
from cohortium.transport.certificates import new_certificate, new_key, server_name
from cohortium.transport.handshake import Greeting

from .labs import digests, lab_of, leader_of_etcd, one_chain, propose, simulated, until_merge

grpc = pytest.importorskip("grpc")
pytest.importorskip("eth")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

THREE = ("bonn", "lund", "porto")


@pytest.fixture(scope="module", params=ENGINES)
def lab(request, tmp_path_factory):
    if reason := why_not(request.param):
        pytest.skip(reason)
    with lab_of(tmp_path_factory.mktemp("lab"), THREE, engine=request.param) as lab:
        yield lab


def test_the_leader_is_killed_and_all_end_with_the_model_of_the_simulation_and_one_chain(lab):
    number, study = propose(lab, swarm={"silence_s": 120.0})
    until_merge(lab, number, 2)
    leader = lab.run_at("bonn", number)["leader"]
    lab.kill(leader)
    if lab.lab.engine == "replicated":
        lab.kill(leader_of_etcd(lab))
    lab.start_site(leader)
    ended = lab.wait_for_run(number, timeout_s=200)
    assert {held["sentence"] for held in ended.values()} == {"complete"}
    assert digests(lab, number) == {simulated(lab, study)}
    one_chain(lab)


def knock(lab, site, key, certificate):
    """How a call ends at a site's port that is made with these keys; DEADLINE_EXCEEDED when it was let in."""
    pinned = Home.open(lab.home(site)).keys.certificate_pem
    channel = grpc.secure_channel(
        f"127.0.0.1:{lab.lab.site(site).port}",
        grpc.ssl_channel_credentials(pinned, key, certificate),
        options=[("grpc.ssl_target_name_override", server_name(site)), ("grpc.use_local_subchannel_pool", 1)],
    )
    over, metadata = threading.Event(), Greeting(instance=os.urandom(8)).metadata()

    def silence():
        over.wait(30)
        yield from ()

    with channel:
        call = channel.stream_stream("/cohortium.v1/control")(silence(), metadata=metadata, timeout=3.0)
        with pytest.raises(grpc.RpcError) as ended:
            list(call)
        over.set()
    return ended.value.code().name


def test_a_stranger_is_turned_away_and_so_is_a_member_once_it_is_expelled(lab):
    key = new_key()
    assert knock(lab, "bonn", key, new_certificate("porto", key, now_s=time.time())) == "UNAVAILABLE"
    keys = Home.open(lab.home("porto")).keys
    assert knock(lab, "bonn", keys.tls_key, keys.certificate_pem) == "DEADLINE_EXCEEDED"
    for site in ("bonn", "lund"):
        answer = lab.ask(site, {"do": "exclude", "site": "porto"}, timeout_s=60)
    assert answer["decided"]
    lab.wait_until("bonn knows", lambda: "porto" not in about(lab, "bonn")["peers"], timeout_s=60)
    assert knock(lab, "bonn", keys.tls_key, keys.certificate_pem) in ("UNAVAILABLE", "UNAUTHENTICATED")
    for site in ("bonn", "lund"):
        lab.wait_until(f"{site} is well", lambda site=site: about(lab, site)["healthy"], timeout_s=60)
    lab.wait_until("porto reaches nobody", lambda: not reached(lab, "porto"), timeout_s=60)
    if lab.lab.engine != "local":  # there the ledger itself is out of its reach
        lab.wait_until(
            "porto knows", lambda: "this site was excluded" in str(about(lab, "porto")["problems"]), timeout_s=60
        )


def about(lab, site):
    return lab.ask(site, {"do": "status"})


def reached(lab, site):
    return [peer for peer, held in about(lab, site)["peers"].items() if not held["path"].startswith("none")]
