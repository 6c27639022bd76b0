"""An audit through the round machine: masked or open, the verdict table is that of all rows in one process."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.identity import LedgerKey
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.verdicts import VERDICTS
from cohortium.ledger.archive import verify
from cohortium.ledger.transactions import sign_call
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.sim.auditing import audit_works, run_audit
from cohortium.sim.results import LedgerCheck

pytestmark = pytest.mark.slow

LAYOUT = Layout(features=("x0", "x1", "x2"), outcome="binary", classes=("0", "1"))
NAMES = [f"site-{k:02}" for k in range(8)]
DETECTOR = OutOfBag(halves=6, passes=1)

ALLOWED = {
    "count", "sum", "square", "loss", "gradient", "hessian", "used", "cases", "others", "five", "n", "products",
    "cells", "sites", "table",
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
        found[name] = Examples(layout=LAYOUT, x=x, y=1.0 - y if name == "site-03" else y)
    return found


@pytest.fixture(scope="module")
def masked(sites):
    return run_audit(study(secure_aggregation=True), sites, detector=DETECTOR, seed=5)


def test_under_masks_a_reversed_site_is_found_and_named_on_the_ledger(masked):
    result, run = masked
    assert str(run.outcome) == "complete"
    assert result.status == "decided"
    assert result.left_out == ("site-03",)
    assert result.sites["site-03"].repair == "label-polarity"
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


def test_without_masks_the_table_has_the_same_digest_as_with_all_rows_in_one_process(sites):
    result, run = run_audit(study(secure_aggregation=False), sites, detector=DETECTOR, seed=5)
    run.ledger.close()
    assert result.table.digest == DETECTOR.run(sites, seed=5).table.digest


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
            if "table" in update.parameters:
                assert not np.delete(update.parameters["table"], at, axis=0).any()
        state = works["site-00"].merge(state, updates)
    assert seen == ALLOWED


def test_masks_change_the_draw_of_halves_and_nothing_else(sites, masked):
    open_audit = DETECTOR.run(sites, seed=5)
    assert {v.site: v.kind for v in open_audit.table.verdicts} == {v.site: v.kind for v in masked[0].table.verdicts}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twelve_nodes_under_masks_find_the_reversed_site_in_two_passes():
    twelve = consortium([f"site-{k:02}" for k in range(12)])
    result, run = run_audit(study(secure_aggregation=True), twelve, detector=OutOfBag(), seed=5)
    run.ledger.close()
    assert result.left_out == ("site-03",)
    assert result.sites["site-03"].repair == "label-polarity"
    assert not any(v.repair for name, v in result.sites.items() if name != "site-03")
