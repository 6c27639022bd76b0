"""Labs for end-to-end tests: little hospitals, quick studies, runs watched from every site."""

import itertools
import tomllib
from contextlib import closing, contextmanager

import numpy as np

from cohortium.data.table import Table
from cohortium.lab.catalogue import do_fault
from cohortium.lab.consortium import Consortium
from cohortium.lab.engines import member_names
from cohortium.lab.hospitals import Hospitals
from cohortium.ledger.etcd import EtcdClient
from cohortium.ledger.http_json import ClientTls
from cohortium.node.control import watch_node
from cohortium.sim.pinning import pin
from cohortium.sim.simulate import run_simulation

SITES = ("aachen", "bonn", "dresden", "lund", "porto")
HEARTBEAT_S = 0.5
QUICK = {
    "study": {"name": "little", "outcome": "label"},
    "cohort": {"scale": "none", "fill": "none"},
    "model": {"name": "logistic", "learn": "weights"},
    "strategy": {"name": "fedavg", "rounds": 8, "round_timeout_s": 8.0},
    "swarm": {"silence_s": 8.0, "answer_timeout_s": 90.0, "max_round_s": 600.0},
}

_numbers = itertools.count()


def table_of(seed, n=80):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    label = (a - 0.5 * b + rng.normal(0, 0.8, n) > 0).astype(float)
    return Table.from_columns({"a": a, "b": b, "label": label})


def hospitals(sites=SITES, **sections):
    """One table a site, and a study of few quick rounds with these changes."""
    tables = {site: table_of(number) for number, site in enumerate(sites)}
    content = {name: {**held, **sections.get(name, {})} for name, held in QUICK.items()}
    made = pin(content, tables)
    return Hospitals(study=made.study, text=made.text, tables=tables)


@contextmanager
def lab_of(folder, sites=SITES, *, engine="local", dials_out=(), **sections):
    """A running, healthy lab; gone at the end."""
    made = hospitals(sites, **sections)
    lab = Consortium.create(folder, made, engine=engine, heartbeat_s=HEARTBEAT_S, dials_out=dials_out)
    try:
        lab.start()
        lab.wait_until_healthy(timeout_s=120)
        yield lab
    finally:
        lab.down()


def propose(lab, *, by=SITES[1], **sections):
    """Put a changed study before all sites; a study of its own, so that its runs are told apart. (run, study file)."""
    made = hospitals(lab.lab.names, **{"study": {"name": f"little-{next(_numbers)}"}, **sections})
    path = lab.folder / f"{made.study.name}.toml"
    path.write_text(made.text, encoding="utf-8")
    number = lab.propose(path, by=by)
    lab.wait_until("all know of the run", lambda: all(lab.run_at(s, number) for s in alive(lab)), timeout_s=60)
    return number, path


def alive(lab):
    return [site for site in lab.lab.names if not lab.unreachable(site)]


def watch(lab, number, *, at=SITES[1], until=lambda line: line["event"] == "ended", timeout_s=200):
    """The lines of a run at a site, until one of them is the last."""
    seen = []
    for line in watch_node(lab.home(at) / "control.sock", {"do": "watch", "run": number}, timeout_s=timeout_s):
        seen.append(line)
        if until(line):
            return seen
    return seen


def until_merge(lab, number, n, *, at=SITES[1]):
    """Return once so many merges were made."""
    watch(lab, number, at=at, until=lambda line: line["event"] == "round" and line["turn"] >= n)


def told(lab, number, site):
    """By site: when it first knew of a trouble of `site`, on the one clock of this machine; and stage and code."""
    found, what = {}, set()
    for at in alive(lab):
        for line in watch(lab, number, at=at):
            if line["event"] == "trouble" and line["site"] == site and line["code"] != "unreachable":
                found.setdefault(at, line["time"])
                what.add((line["stage"], line["code"]))
    return found, what


def rounds(lines):
    return [line for line in lines if line["event"] == "round"]


def simulated(lab, study):
    """The model digest of a simulation of a study file on the lab's tables."""
    from cohortium.core.study_text import parse_study
    from cohortium.data.readers import read

    tables = {name: read(lab.home(name) / "table.csv") for name in lab.lab.names}
    return run_simulation(parse_study(study.read_text(encoding="utf-8")), tables).record.model.digest


def digests(lab, number, sites=None):
    return {lab.record(site, number)["model"]["digest"] for site in sites or lab.lab.names}


def mend(lab):
    do_fault(lab, ["heal"])
    lab.wait_until_healthy(timeout_s=120)


def content_of(study):
    return tomllib.loads(study.read_text(encoding="utf-8"))


def leader_of_etcd(lab):
    """The name of the member all others follow."""
    folder, site = lab.folder / "etcd", lab.lab.names[0]
    tls = ClientTls(ca=folder / "ca.crt", certificate=folder / f"{site}.crt", key=folder / f"{site}.key")
    names = member_names("replicated")
    with closing(EtcdClient([f"https://127.0.0.1:{lab.lab.ports[name]}" for name in names], tls=tls)) as client:
        (leader,) = (name for name, one in zip(names, client.members(), strict=True) if one.member == one.leader != "")
    return leader


def one_chain(lab):
    """Wait until all replicas have the same newest block; its hash covers the state root."""

    def heads():
        return {about["node"]["ledger"]["hash"] for about in lab.status()["sites"].values() if about["node"]}

    lab.wait_until("all replicas have one head", lambda: len(heads()) == 1, timeout_s=30)
