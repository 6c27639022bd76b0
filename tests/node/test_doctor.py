"""`doctor` finds each planted fault by name and says how to mend it; a sound node has none of them."""

import contextlib
import json
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from cohortium.core.check import Check
from cohortium.core.study import Study
from cohortium.errors import CohortiumError, UsageError
from cohortium.node import doctor
from cohortium.node.chain import open_chain
from cohortium.node.doctor import examine
from cohortium.node.founding import propose_founding
from cohortium.node.home import Home
from cohortium.node.survey import own_versions
from cohortium.node.voting import rotate

NOW = 1_800_000_000.0
DAY = 86_400
STUDY = {
    "study": {"name": "little", "outcome": "label"},
    "model": {"name": "logistic"},
    "cohort": {
        "columns": {
            "pid": {"kind": "text", "role": "patient"},
            "age": {"kind": "number", "unit": "years", "range": [0, 120]},
            "marker": {"kind": "number"},
            "label": {"kind": "flag", "role": "outcome", "values": ["0", "1"]},
            "set": {"kind": "text", "role": "part"},
        }
    },
}


def rows(n=80, *, twice=False, both=False, days=False, without=""):
    rng = np.random.default_rng(3)
    held = {
        "pid": [f"MARKER-{4711 + i}" for i in range(n)],
        "age": [f"{a:.1f}" for a in rng.normal(60, 8, n) * (365 if days else 1)],
        "marker": [f"{m:.3f}" for m in rng.normal(size=n)],
        "label": [str(i % 2) for i in range(n)],
        "set": ["train" if i % 3 else "test" for i in range(n)],
    }
    if twice or both:
        held["pid"][1] = held["pid"][0]
    if both:
        held["set"][0], held["set"][1] = "train", "test"
    held.pop(without, None)
    lines = [",".join(held), *(",".join(row) for row in zip(*held.values(), strict=True))]
    return "\n".join(lines) + "\n"


def answer(**changes):
    return {
        "offset_s": 0.1,
        "way_s": 0.01,
        "height": 1,
        "agrees": True,
        "versions": own_versions(),
        "echo": True,
        **changes,
    }


@dataclass
class Patient:
    """A node to be examined: its home, the study, and what its running node would tell (None: none runs)."""

    home: Home
    study: dict = field(default_factory=lambda: json.loads(json.dumps(STUDY)))
    now: float = NOW + DAY
    told: dict | None = None
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def settings(self, text):
        path = self.home.path / "node.toml"
        path.write_text(f'[node]\nsite = "porto"\n{text}')

    def runs(self, peers=None, **told):
        self.held.enter_context(self.home.lock("a node"))
        own = {
            "tls": self.home.card(NOW).tls.hex(),
            "ledger": "",
            "peers": peers or {"bonn": answer(), "lund": answer()},
        }
        self.told = {**own, **told}

    def examined(self):
        survey = (lambda home: self.told) if self.told is not None else None
        study = Study.model_validate(self.study)
        return examine(self.home.path, study=study, survey=survey, now_s=lambda: self.now)


@pytest.fixture(scope="session")
def founded(made, tmp_path_factory):
    """The three homes once more, porto's chain founded and its table there."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("doctor") / "h")
    home = Home.open(folder / "porto")
    open_chain(home, clock=lambda: NOW).close()
    (home.path / "table.csv").write_text(rows())
    return folder


@pytest.fixture
def patient(founded, tmp_path, monkeypatch):
    folder = shutil.copytree(founded, tmp_path / "h")
    sick = Patient(Home.open(folder / "porto"))
    sick.settings('[data]\ntable = "table.csv"\n[limits]\ndisk_reserve_gb = 0.1\n')
    monkeypatch.setattr(doctor.os, "environ", {})
    with sick.held:
        yield sick


def found(findings, name):
    return [check for check in findings.checks if check.id == name and check.level in ("warn", "fail")]


# the faults: name -> (what is done, check that finds it, level, words of the finding, words of the fix)


def bind(patient):
    server = patient.held.enter_context(socket.create_server(("127.0.0.1", 0)))
    patient.settings(f'[network]\nlisten = "127.0.0.1:{server.getsockname()[1]}"\n')


def closed_peer(patient):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        endpoint = f"localhost:{gone.getsockname()[1]}"
    put_card(patient, endpoint)


def put_card(patient, endpoint):
    bonn = Home.open(patient.home.path.parent / "bonn")
    (bonn.path / "node.toml").write_text(f'[node]\nsite = "bonn"\n[network]\nadvertise = "{endpoint}"\n')
    patient.home.cards().put(Home.open(bonn.path).card(NOW + 5))


def other_founding(patient):
    (patient.home.path / "consortium.json").unlink()
    card = patient.home.card(NOW)
    bonn = Home.open(patient.home.path.parent / "bonn").card(NOW)
    founding = propose_founding([card, bonn], engine="local", host="porto", chain_id=7, time=int(NOW))
    patient.home.keep_founding(founding.signed("porto", patient.home.keys.ledger))


def etcd_away(patient):
    (patient.home.path / "consortium.json").unlink()
    bonn = Home.open(patient.home.path.parent / "bonn")
    cards = [patient.home.card(NOW), bonn.card(NOW)]
    founding = propose_founding(cards, engine="replicated", chain_id=7, time=int(NOW))
    founding = founding.signed("porto", patient.home.keys.ledger).signed("bonn", bonn.keys.ledger)
    patient.home.keep_founding(founding)
    patient.settings('[ledger]\nengine = "replicated"\nendpoints = ["http://127.0.0.1:1"]\n')


def other_contract(patient):
    path = patient.home.path / "consortium.json"
    said = json.loads(path.read_text())
    said["genesis"]["code_hash"] = "00" * 32
    path.write_text(json.dumps(said))


def superseded(patient):
    with contextlib.closing(open_chain(patient.home, clock=lambda: NOW)) as ledger:
        rotate(ledger, patient.home.keys.ledger, patient.home.stage_keys(NOW))


def blocked_folder(patient):
    (patient.home.path / "runs").rmdir()
    (patient.home.path / "runs").symlink_to("/proc/self/fdinfo")  # nobody can write there, root neither


def torn_chain(patient):
    path = patient.home.path / "chain.sqlite"
    path.write_bytes(b"no database" * 1000)
    for name in ("chain.sqlite-wal", "chain.sqlite-shm"):
        (patient.home.path / name).unlink(missing_ok=True)


FAULTS = {
    "key readable by others": (
        lambda p: (p.home.path / "keys" / "tls.key").chmod(0o644), "keys", "fail", "mode 0644", "chmod 600"),
    "home open to others": (lambda p: p.home.path.chmod(0o750), "home", "fail", "mode 0750", "chmod 700"),
    "key lost": (lambda p: (p.home.path / "keys" / "seal.key").unlink(), "keys", "fail", "seal.key", "backup"),
    "unknown setting": (
        lambda p: p.settings("[limits]\ntrain_thread = 1\n"), "settings", "fail", "node.toml:4", "node-toml.md"),
    "founding not signed by all": (other_founding, "consortium", "fail", "missing: bonn", "node approve"),
    "another contract code": (other_contract, "consortium", "fail", "another contract code", "install the release"),
    "certificate ended": (lambda p: setattr(p, "now", NOW + 731 * DAY), "certificate", "fail", "ended", "node rotate"),
    "certificate ends soon": (
        lambda p: setattr(p, "now", NOW + 705 * DAY), "certificate", "warn", "25 days", "node rotate"),
    "clock before the certificate": (
        lambda p: setattr(p, "now", NOW - DAY), "certificate", "fail", "begins only", "this machine's clock"),
    "superseded certificate": (superseded, "certificate-on-ledger", "fail", "not the one on the ledger", "node rotate"),
    "not a member (told by the node)": (
        lambda p: p.runs(tls=""), "certificate-on-ledger", "fail", "no active member", "node approve"),
    "clock 40 s behind": (
        lambda p: p.runs({"bonn": answer(offset_s=40.0), "lund": answer(offset_s=40.2)}),
        "clock", "fail", "40 s behind", "timedatectl"),
    "clock 3 s ahead": (
        lambda p: p.runs({"bonn": answer(offset_s=-3.0), "lund": answer(offset_s=-3.1)}),
        "clock", "warn", "3 s ahead of", "timedatectl"),
    "port taken": (bind, "port", "fail", "cannot listen", "ss -ltnp"),
    "proxy unreachable": (
        lambda p: p.settings('[network]\nproxy = "127.0.0.1:1"\n'),
        "proxy", "fail", "cannot be reached", "network.proxy"),
    "peer's port closed": (closed_peer, "peer-bonn", "fail", "cannot be reached", "let TCP to"),
    "peer's name unknown": (
        lambda p: put_card(p, "bonn.invalid:443"), "peer-bonn", "fail", "bonn.invalid", "resolve bonn.invalid"),
    "folder not writable": (blocked_folder, "paths", "fail", "cannot be written", "remount it writable"),
    "disk nearly full": (
        lambda p: p.settings("[limits]\ndisk_reserve_gb = 99999\n"), "disk", "fail", "needed", "disk_reserve_gb"),
    "more threads than cores": (
        lambda p: p.settings("[limits]\ntrain_threads = 1000\n"), "threads", "fail", "1000", "train_threads ="),
    "chain of another consortium": (etcd_away, "chain", "fail", "of another consortium", "move it away"),
    "chain damaged": (torn_chain, "chain", "fail", "chain.sqlite", "put back a copy"),
    "forked head": (
        lambda p: p.runs({"bonn": answer(agrees=False), "lund": answer()}),
        "head", "fail", "chain of bonn", "evidence/"),
    "ledger engine gone": (
        lambda p: p.runs(ledger="no etcd member answered"), "ledger-engine", "fail", "no etcd member", "endpoints"),
    "etcd away": (etcd_away, "etcd", "fail", "0 of 1 etcd members", "start etcd there"),
    "stream reset on the way": (
        lambda p: p.runs({"bonn": {"why": "no answer within 8 s"}, "lund": answer()}),
        "echo", "warn", "bonn: no answer", "firewall or antivirus"),
    "other release at a peer": (
        lambda p: p.runs({"bonn": answer(versions={**own_versions(), "cohortium": "9.9"}), "lund": answer()}),
        "versions", "warn", "bonn has cohortium 9.9", "pip install"),
    "no table": (lambda p: (p.home.path / "table.csv").unlink(), "table", "fail", "cannot be read", "node.toml"),
    "column missing": (
        lambda p: (p.home.path / "table.csv").write_text(rows(without="label")),
        "schema", "fail", "label", "cohort.toml"),
    "patient twice": (
        lambda p: (p.home.path / "table.csv").write_text(rows(twice=True)),
        "duplicate-patients", "warn", "<5 row", 'cohort.rows = "visits"'),
    "ages in days": (
        lambda p: (p.home.path / "table.csv").write_text(rows(days=True)), "units", "warn", "'age'", "unit"),
    "study not pinned": (
        lambda p: p.study["cohort"].pop("columns"), "study", "fail", "not pinned", "cohortium study pin"),
    "model unknown here": (
        lambda p: p.study["model"].update(name="logistik"), "packages", "fail", "logistik", "study check"),
}  # fmt: skip


def both_sides(patient):
    patient.study["cohort"]["rows"] = "visits"
    (patient.home.path / "table.csv").write_text(rows(both=True))


FAULTS["patient on both sides of the split"] = (both_sides, "split", "fail", "<5 patients", "draw parts by patient")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_with_its_fix(patient, fault):
    plant, name, level, words, fix = FAULTS[fault]
    plant(patient)
    findings = patient.examined()
    hits = found(findings, name)
    assert hits, fault
    assert any(one.level == level and words in one.found and fix in one.fix for one in hits), hits


def test_a_sound_node_has_none_of_these_faults(patient):
    patient.runs()
    findings = patient.examined()
    wrong = [check for check in findings.checks if check.level in ("warn", "fail")]
    assert [check.id for check in wrong] == ["ledger-host"]  # three institutions rely on one host: said on purpose
    assert findings.failed == 0


def test_without_a_running_node_only_what_peers_must_say_is_open(patient):
    findings = patient.examined()
    assert {check.id for check in findings.checks if check.level == "skipped"} == {
        "clock",
        "versions",
        "head",
        "echo",
        "peer-bonn",
        "peer-lund",
    }
    assert {check.id for check in findings.checks if check.level in ("warn", "fail")} == {"node", "ledger-host"}


def test_every_finding_has_a_fix_and_no_patients_value(patient):
    patient.runs({"bonn": {"why": "silent"}, "lund": answer(agrees=False, offset_s=99.0)})
    (patient.home.path / "table.csv").write_text(rows(twice=True, days=True))
    checks = patient.examined().checks
    assert all(check.fix for check in checks if check.level in ("warn", "fail"))
    assert "MARKER" not in " ".join(f"{check.found}{check.fix}" for check in checks)
    assert all("\n" not in check.found for check in checks)


def test_nothing_is_changed(patient):
    before = {path: path.stat().st_mtime_ns for path in patient.home.path.rglob("*") if path.is_file()}
    patient.examined()
    after = {path: path.stat().st_mtime_ns for path in patient.home.path.rglob("*") if path.is_file()}
    assert {p for p in before if not p.name.startswith("chain.sqlite")} == {
        p for p in after if not p.name.startswith("chain.sqlite")
    }
    assert all(after[p] == before[p] for p in before if not p.name.startswith("chain.sqlite"))


def test_a_node_that_does_not_answer_is_a_finding(patient):
    patient.runs()

    def silent(home):
        raise CohortiumError("no answer within 30 s")

    findings = examine(patient.home.path, survey=silent, now_s=lambda: NOW + DAY)
    [check] = found(findings, "node")
    assert (check.level, "start it again" in check.fix) == ("fail", True)


def test_what_never_answers_does_not_hold_the_table_back():
    gate = threading.Event()
    began = time.monotonic()
    checks = doctor._beside(
        [
            ("slow", lambda: [Check(id="slow", level="ok", found="") for _ in range(gate.wait(30))]),
            ("quick", lambda: []),
        ],
        until=began + 0.2,
    )
    gate.set()
    assert time.monotonic() - began < 10
    assert [(check.id, check.level) for check in checks] == [("slow", "skipped")]


def test_without_a_node_there_is_nothing_to_examine(tmp_path):
    with pytest.raises(UsageError, match="no node in"):
        examine(tmp_path)
