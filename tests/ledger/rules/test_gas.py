"""Shared suite of contract and manual: what calls cost, as docs/reference/contract.md says.

Gas does not depend on the machine, so the tables must be equal. After a change of the contract:
`pytest tests/ledger/rules/test_gas.py` prints the new rows; copy them into the page.
"""

import re
from pathlib import Path

import pytest

from cohortium.core.identity import keccak
from cohortium.ledger.contracts import MAX_RUNTIME_BYTES, source
from cohortium.ledger.replica import Replica
from cohortium.ledger.rules import FUNCTIONS
from cohortium.ledger.transactions import CALL_GAS, DEPLOYMENT_GAS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "contract.md"
D, E = b"\x11" * 32, b"\x22" * 32


class Meter:
    """Counts the gas of every allowed call."""

    def __init__(self, harness, n):
        self.spent = []
        sites = [f"site-{i:03}" for i in range(n)]
        self.court = harness.Court(harness.OnContract(tuple(harness.founder_named(s) for s in sites)), sites)
        self.deployment = self.court.engine.deployment_gas
        self.engine = self.court.engine
        self.call, self.engine.call = self.engine.call, self.metered

    def metered(self, sender, function, args, time):
        events = self.call(sender, function, args, time)
        self.spent.append((function, self.engine.gas))
        return events

    def dearest(self):
        return {f: max(gas for name, gas in self.spent if name == f) for f in {name for name, _ in self.spent}}


def everything(harness):
    """One consortium of five in which every function is called; the dearest call of each."""
    meter = Meter(harness, 5)
    court = meter.court
    a, b, c, d, e = court.sites
    for site in (a, b, c):
        court.do(site, "vote_admit", harness.key_named("varna").address, "varna", D, E)
    court.do(a, "heartbeat")
    court.do(a, "rotate", E, D)
    run = court.start_all_but("varna")
    court.play(run)
    court.commit(run, a, b, c)
    for site in (a, b, c):
        court.do(site, "spend", run, 2, D, b"x" * 500, 0)
        court.do(site, "vote_close", run, 2)
    leader = court.leader(run)
    court.do(a, "post", run, 2, 1, 5, D)
    court.do(b, "post", run, 2, 1, 5, D)
    court.do(c, "post", run, 2, 1, 5, D)
    court.wait(harness.LEADER_S)
    for site in [s for s in court.sites if s != leader][:2]:
        court.do(site, "failover", run, 2, 0)
    court.publish(run)
    for site in [s for s in (a, b, c) if s != court.leader(run)]:
        court.do(site, "dispute", run, 2, 1, E, 21)
    for site in (a, b, c):
        court.do(site, "vote_void", run, 2, 6)
    for site in (a, b, c):
        court.do(site, "record_harm", run, 3, e, 4, E)
    court.do(e, "appeal", run, 2)
    court.do(e, "record_data", D)
    court.do(a, "record_audit", run, 0, 1, D)
    for site in (a, b, c):
        court.do(site, "vote_drop", run, e, 4)
    court.do("varna", "join", run)
    court.do(d, "withdraw", run, 1)
    left = court.propose()
    court.approve(left, d)
    court.do(d, "leave")
    court.do(a, "sweep", left, d)
    for site in (a, b):
        court.do(site, "vote_end", run, 4, 19)
    late = court.propose()
    court.approve(late, a, b, c)
    court.wait(harness.ANSWER_S)
    court.do(a, "close_approvals", late)
    court.do(b, "close_approvals", late)
    court.ready(late, a, b)
    court.wait(harness.ANSWER_S)
    court.do(a, "vote_proceed", late)
    court.do(b, "vote_proceed", late)
    for site in (a, b, e, "varna"):
        court.do(site, "vote_rekey", c, harness.key_named("other").address, D, E)
    signed = [court.signed(e, 1, 1, 0, 1, digest) for digest in (D, E)]
    court.do(a, "report_equivocation", 1, 1, 0, 1, D, signed[0], E, signed[1])
    for site in (a, "varna", "other"):
        court.do(site, "vote_exclude", b)
    return meter.dearest()


def plain_round(harness, n):
    """Transactions and gas of a plain round in which everybody does as agreed; the second of its run."""
    meter = Meter(harness, n)
    run = meter.court.start()
    meter.court.play(run)
    before = len(meter.spent)
    meter.court.play(run)
    calls = meter.spent[before:]
    return len(calls), sum(gas for _, gas in calls)


def masked_round(harness, n):
    """The same under masks: every site posts its vector, one site is lost, the others post the survivors."""
    meter = Meter(harness, n)
    court = meter.court
    run = court.start(min_sites=3, flags=2)
    for _ in range(2):
        before = len(meter.spent)
        court.commit(run)
        lost = next(site for site in court.sites if site != court.leader(run))
        r = court.read("rounds", run)
        for site in court.sites:
            court.do(site, "post", run, r[0], r[4], 2, keccak(site.encode()))
        court.agree(run, *[site for site in court.sites if site != lost])
        court.publish(run)
        court.attest(run)
    calls = meter.spent[before:]
    return len(calls), sum(gas for _, gas in calls)


def table(title):
    """The rows below a heading of the page: first cell -> the numbers of the others."""
    section = PAGE.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `?([^`|]+?)`? \| ([\d, |]+) \|$", section, flags=re.M)
    return {name: tuple(int(n.replace(",", "")) for n in numbers.split("|")) for name, numbers in rows}


def rows(found):
    """The same as the page would have it."""
    lines = [f"| {name} | {' | '.join(f'{n:,}' for n in numbers)} |" for name, numbers in sorted(found.items())]
    return "\n".join(lines)


def test_the_page_says_what_every_function_costs(harness):
    found = {function: (gas,) for function, gas in everything(harness).items()}
    assert set(found) == set(FUNCTIONS)
    assert max(found.values())[0] < CALL_GAS
    assert table("Gas of a call") == found, "\n" + rows(found)


@pytest.mark.slow
def test_the_page_says_what_a_round_costs_and_a_plain_one_takes_n_1_k_transactions(harness):
    found = {f"plain, {n} sites": plain_round(harness, n) for n in (5, 20)}
    assert [found[f"plain, {n} sites"][0] for n in (5, 20)] == [5 + 1 + 3, 20 + 1 + 10]
    found["masked, 20 sites, one lost"] = masked_round(harness, 20)
    assert table("Gas of a round") == found, "\n" + rows(found)


@pytest.mark.slow
def test_the_page_says_what_the_deployment_costs_and_128_founders_are_affordable(harness):
    found = {f"{n} founders": (Meter(harness, n).deployment,) for n in (5, 20, 100, 128)}
    assert found["128 founders"][0] < DEPLOYMENT_GAS
    assert table("Gas of the deployment") == found, "\n" + rows(found)


@pytest.mark.parametrize("function", ["heartbeat", "propose"])
def test_the_bare_machine_counts_what_a_transaction_pays(harness, hospitals, tmp_path, function):
    """The same call as a signed transaction on a chain of the engine `local`."""
    args = () if function == "heartbeat" else (D, 2, 5, 3600, 60, 0, 0)
    one = hospitals.found("local", tmp_path)
    one.put("bonn", function, *args)
    one.ledger.close()
    chain = Replica.open(one.path)
    gas_used = chain._chain.get_canonical_block_header_by_number(2).gas_used
    chain._file.close()
    bare = harness.OnContract(tuple(hospitals.founder(site) for site in hospitals.sites))
    bare.call(hospitals.key_of("bonn").address, function, args, harness.START + 1)
    assert bare.gas == gas_used


def test_the_page_names_every_function_event_getter_and_reason(harness):
    page = PAGE.read_text("utf-8")
    names = {entry["name"] for entry in harness.artefact().abi if entry["type"] in ("function", "event")}
    assert {name for name in names if f"`{name}`" not in page} == set()
    reasons = {name.lower() for name in re.findall(r"^R_([A-Z]+): constant", source().decode(), flags=re.M)}
    assert {word for word in reasons if f"`{word}`" not in page.split("## Refusals")[1].split("\n## ")[0]} == set()
    assert f"{len(harness.artefact().runtime):,} of the {MAX_RUNTIME_BYTES:,} bytes" in page
