"""An audit through the round machine: masked or open, the verdict table is that of all rows in one process."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.examples import Examples, Layout
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.verdicts import VERDICTS
from cohortium.ledger.archive import verify
from cohortium.ledger.transactions import sign_call
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.rows import FIELDS
from cohortium.sim.auditing import audit_works, auditor_of, run_audit
from cohortium.sim.results import LedgerCheck
from cohortium.sim.swarm import Setting, run_swarm
from cohortium.swarm.program import SiteWork
from cohortium.swarm.view import seed_of

pytestmark = pytest.mark.slow

LAYOUT = Layout(features=("x0", "x1", "x2"), outcome="binary", classes=("0", "1"))
NAMES = [f"site-{k:02}" for k in range(8)]
DETECTOR = OutOfBag(halves=6, passes=1)

ALLOWED = {
    "count", "sum", "square", "loss", "gradient", "hessian", "used", "cases", "others", "five", "n", "products",
    "cells", "sites", "roots", "told", "influence", "table", "subgroups",
}  # fmt: skip


def study(**privacy):
    content = {"study": {"name": "audit", "outcome": "label"}, "model": {"name": "logistic"}, "privacy": privacy}
    return Study.model_validate(content)


@pytest.fixture(scope="module")
def sites():
    return consortium(NAMES)


def consortium(names):
    rng = np.random.default_rng(0)
    found = {}
    for name in names:
        y = (np.arange(24) % 2).astype(float)
        x = rng.normal(size=(24, 3))
        x[:, 0] += 2.5 * (y - 0.5)
        sex = {"sex": (np.arange(24) // 2 % 2).astype(np.int8)}
        found[name] = Examples(layout=LAYOUT, x=x, y=1.0 - y if name == "site-03" else y, subgroups=sex)
    return found


@pytest.fixture(scope="module")
def masked(sites):
    return run_audit(study(secure_aggregation=True), sites, detector=DETECTOR, seed=5)


@pytest.fixture(scope="module")
def plain(sites):
    found, run = run_audit(study(secure_aggregation=False), sites, detector=DETECTOR, seed=5)
    run.ledger.close()
    return found, run


def test_under_masks_a_reversed_site_is_found_and_named_on_the_ledger(masked):
    result, run = masked
    assert str(run.outcome) == "complete"
    assert result.status == "decided"
    assert result.left_out == ("site-03",)
    assert result.sites["site-03"].repair == "label-polarity"
    assert [name for name, one in result.sites.items() if one.to_sign] == ["site-03"], "an eighth of each sex is there"
    assert result.cost.exchanges == sum(event.name == "Final" for event in run.events)


def test_the_verdict_stands_on_the_ledger_by_the_votes_of_all_others_and_can_be_appealed(masked, tmp_path):
    result, run = masked
    ledger, others = run.ledger, tuple(name for name in NAMES if name != "site-03")

    def call(site, function, *args):
        key = LedgerKey.new(lambda n: Chance(5, secrets_from_system=False).secret(n, "ledger key", site))
        place = {"chain_id": ledger.chain_id, "contract": ledger.contract, "nonce": ledger.nonce(key.address)}
        return ledger.submit(sign_call(key, **place, function=function, args=args))

    def verdicts():
        path = tmp_path / "ledger.jsonl"
        ledger.export(path)
        return verify(path, evm=False).harm

    (found,) = verdicts()
    assert (found.subject, VERDICTS[found.verdict], found.votes) == ("site-03", "repair", others)
    assert found.evidence == result.table.digest
    assert found.appeal == 0

    judged = (1, run.outcome.rounds, "site-03", 4, found.evidence)
    assert not call("site-03", "record_harm", *judged).ok, "nobody votes on its own data"
    assert not call("site-00", "record_harm", *judged).ok, "nobody votes twice"
    assert not call("site-00", "appeal", 1, 4).ok, "only the accused appeals"
    assert call("site-03", "appeal", 1, 4).ok
    assert not call("site-03", "appeal", 1, 4).ok
    assert [one.appeal for one in verdicts()] == [4]
    path = tmp_path / "ledger.jsonl"
    shown = LedgerCheck(path=path, found=verify(path, evm=False))
    assert shown.sentences()[-1] == "run 1: data of site-03: repair, said by 7 of 7 others, appealed"
    assert shown.document()["verdicts"][0]["votes"] == list(others)
    assert call("site-03", "record_data", bytes(31) + b"\1").ok


@pytest.mark.parametrize("secure", [False, True])
def test_the_ledgers_seed_and_all_rows_in_one_process_give_the_same_table(sites, masked, plain, secure):
    result, run = masked if secure else plain
    lot = seed_of(run.events, 1)
    assert len(lot) == 32
    replayed = DETECTOR.run(sites, seed=lot, masked=secure)
    assert result.table.digest == replayed.table.digest
    assert result.table.digest != DETECTOR.run(sites, seed=5, masked=secure).table.digest
    for name in ("pass-0/member", "evidence"):
        assert np.array_equal(result.state[name], replayed.state[name])


def test_another_simulated_seed_draws_another_lot_and_the_same_one_the_same(sites, masked, plain):
    _, other = run_audit(study(secure_aggregation=False), sites, detector=DETECTOR, seed=6)
    other.ledger.close()
    assert seed_of(plain[1].events, 1) == seed_of(masked[1].events, 1) != seed_of(other.events, 1)


def test_only_sums_and_a_sites_own_row_of_the_table_are_ever_sent(sites):
    works = audit_works(study(secure_aggregation=True), sites, detector=DETECTOR, chance=Chance(5))
    state = works["site-00"].start()
    seen = set()
    while not works["site-00"].finished(state):
        updates = [works[name].train(1, state) for name in NAMES]
        for at, update in enumerate(updates):
            MaskedGuard(update.site, entropy=bytes).check(update)
            seen |= set(update.parameters)
            assert update.weight == 1
            assert all(array.dtype == np.int64 for array in update.parameters.values())
            for name in ("table", "roots"):
                if name in update.parameters:
                    assert not np.delete(update.parameters[name], at, axis=0).any()
        whole = weighted_sum(updates)
        state = works["site-00"].merge(state, replace(whole, single=None, shown=tuple(updates)))
    assert seen == ALLOWED


def test_masks_change_the_draw_of_halves_and_nothing_else(sites, masked):
    open_audit = DETECTOR.run(sites, seed=5)
    assert {v.site: v.kind for v in open_audit.table.verdicts} == {v.site: v.kind for v in masked[0].table.verdicts}


def test_every_row_is_the_one_its_site_has_committed_on_the_ledger(masked):
    result, run = masked
    last = max(event.args["round"] for event in run.events if event.name == "Final")
    committed = {e.args["site"] for e in run.events if e.name == "Committed" and e.args["round"] == last}
    assert committed == set(NAMES)
    assert all(row.any() for row in result.state["roots"])


class Lying(SiteWork):
    """A site whose masked vectors are other numbers than it has committed, or whose committed ones are."""

    def __init__(self, honest, change):
        self.__dict__.update(honest.__dict__)
        self._change = change

    def train(self, round, state):
        update = super().train(round, state)
        return self._change(update)

    def refuse(self, state, shown):
        """It finds nothing wrong in what it shows."""


def framing(update):
    """Site 7 adds a reversed site's numbers to the row of site 0."""
    if "table" not in update.parameters:
        return update
    table = np.array(update.parameters["table"])
    table[0, FIELDS.index("reversed")] += 80_000_000
    table[0, FIELDS.index("sound")] -= 80_000_000
    return replace(update, parameters=Parameters({"table": table}))


def impossible(update):
    """Site 7 shows a number in its own row that no site can have found."""
    if "table" not in update.parameters:
        return update
    table = np.array(update.parameters["table"])
    table[7, FIELDS.index("two_class")] = 2
    return replace(update, parameters=Parameters({"table": table}))


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("change", [framing, impossible])
def test_a_site_that_shows_what_is_no_row_of_its_own_is_dropped_by_name_and_convicts_nobody(sites, change, secure):
    plan = study(secure_aggregation=secure)
    works = audit_works(plan, sites, detector=DETECTOR, chance=Chance(5, secrets_from_system=False))
    works["site-07"] = Lying(works["site-07"], change)
    run = run_swarm(Setting(study=plan, works=works, chance=Chance(5, secrets_from_system=False)))
    run.ledger.close()
    program = works["site-00"].program
    table = auditor_of(program).table(program.model(run.state), DETECTOR.rules)
    kinds = {v.site: v.kind for v in table.verdicts}
    assert kinds["site-00"] == "keep"
    assert kinds["site-03"] == "repair"
    gone = {e.args["site"] for e in run.events if e.name in ("Dropped", "Withdrawn")}
    assert gone == {"site-07"}
    assert not run.state["audit/model/evidence"][7].any()


class Poisoning(MaskedGuard):
    """Adds numbers to what it masks that it has not committed: in a sum nobody can see who did."""

    def step(self, step, context, *, own, received):
        return super().step(step, context, own=framing(own) if step == "masked" else own, received=received)


def test_numbers_added_under_masks_to_anothers_row_reach_nobodys_row(sites, masked, monkeypatch):
    def guards(study, site, *, n_sites, entropy):
        return (Poisoning if site == "site-07" else MaskedGuard)(site, entropy=entropy)

    monkeypatch.setattr("cohortium.sim.swarm.build_guard", guards)
    result, run = run_audit(study(secure_aggregation=True), sites, detector=DETECTOR, seed=5)
    run.ledger.close()
    assert result.table.digest == masked[0].table.digest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twelve_nodes_under_masks_find_the_reversed_site_in_two_passes():
    twelve = consortium([f"site-{k:02}" for k in range(12)])
    result, run = run_audit(study(secure_aggregation=True), twelve, detector=OutOfBag(), seed=5)
    run.ledger.close()
    assert result.left_out == ("site-03",)
    assert result.sites["site-03"].repair == "label-polarity"
    assert not any(v.repair for name, v in result.sites.items() if name != "site-03")
