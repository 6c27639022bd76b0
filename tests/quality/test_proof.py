"""Evidence against a ledger: rows and roots are those committed, verdicts follow, or a sentence says what does not."""

import copy
import json
import re

import numpy as np
import pytest

from cohortium.core.frames import pack
from cohortium.core.verdicts import CODES, Evidence
from cohortium.quality.decide import Rules, decide, digest_of
from cohortium.quality.doubts import by_halves, influence, with_doubts
from cohortium.quality.pool import as_examples, pool_of
from cohortium.quality.proof import Recorded, faults, is_drawn_by, proof_of
from cohortium.quality.rows import FIELDS, row_of
from cohortium.quality.stages import BIND, EVIDENCE, Auditor, AuditPlan, Where
from cohortium.swarm.showing import context_of

LOT = bytes(range(32))
SITES = tuple("abcdefgh")
STUDY, RUN = b"s" * 32, 7


def records(site, n=80):
    rng = np.random.default_rng(SITES.index(site))
    y = (np.arange(n) % 2).astype(float)
    x = rng.normal(size=(n, 2)) + np.outer(y, [2.0, 0.0])
    return as_examples((x, 1 - y if site == "c" else y))


@pytest.fixture(scope="module", params=[False, True])
def audit(request):
    """(auditor, state, salts by exchange, what a ledger would hold), answers committed as nodes commit them."""
    auditor = Auditor(plan=AuditPlan(sites=SITES, halves=6, passes=1, masked=request.param), secret=b"k" * 32)
    pools = {site: pool_of({at: records(site)}) for at, site in enumerate(SITES)}
    whole = pool_of({at: records(site) for at, site in enumerate(SITES)})
    state, exchange, shown, committed = auditor.initial(LOT), 0, {}, {}
    while not auditor.finished(state):
        if Where.read(state).stage in (BIND, EVIDENCE):
            answers = {site: auditor.answer(state, pool) for site, pool in pools.items()}
            shown[exchange] = np.array([[exchange] * 8 + [at] * 8 for at in range(len(SITES))])
            for at, (site, answer) in enumerate(answers.items()):
                salt = bytes(shown[exchange][at].astype(np.uint8))
                context = context_of(site, run=RUN, round=exchange + 2, study=STUDY, salt=salt)
                committed[exchange + 2, site] = pack(answer, context).digest
            state = auditor.advance(state, auditor.gather(state, answers))
        else:
            state = auditor.advance(state, auditor.answer(state, whole))
        exchange += 1
    table = auditor.table(state, Rules())
    verdicts = {one.site: (CODES[one.kind], table.digest) for one in table.verdicts if one.left_out}
    ledger = Recorded(run=RUN, study=STUDY, seed=LOT, rounds=range(2, exchange + 2), committed=committed,
                      merged=dict.fromkeys(range(2, exchange + 2), SITES), verdicts=verdicts)  # fmt: skip
    told = {**json.loads(table.canonical()), "digest": table.digest.hex(),
            **proof_of(auditor, state, shown, rules=Rules())}  # fmt: skip
    return json.loads(json.dumps(told)), ledger


def test_an_honest_audit_holds_and_names_the_reversed_site(audit):
    held, ledger = audit
    assert faults(held, ledger) == ()
    assert list(ledger.verdicts) == ["c"]
    assert sorted(held["shown"]) == ["roots", "table"]
    assert held["shown"]["roots"]["exchange"] < held["shown"]["table"]["exchange"]


def changed(held, **parts):
    return {**copy.deepcopy(held), **parts}


def test_a_row_changed_by_one_digit_is_named_with_its_site(audit):
    held, ledger = audit
    for name in ("sound", "novelty", "auroc"):
        other = copy.deepcopy(held)
        row = next(one for one in other["evidence"] if one["site"] == "e")
        row[name] = round(row[name] + (1e-6 if name != "auroc" else -1e-6), 6)
        found = faults(other, ledger)
        round_ = ledger.rounds[held["shown"]["table"]["exchange"]]
        said = f"e: its row of evidence is not what the site committed in round {round_}, before others' were seen"
        assert found[0] == said
        assert not [one for one in found if one[:3] in {f"{site}: " for site in "abcdfgh"} and "committed" in one]


def test_a_changed_root_salt_or_a_lost_row_is_named(audit):
    held, ledger = audit
    other = copy.deepcopy(held)
    root = other["roots"]["b"]
    other["roots"]["b"] = ("0" if root[0] != "0" else "1") + root[1:]
    (said,) = faults(other, ledger)
    assert said.startswith("b: the root of its scores is not what the site committed in round ")
    other = copy.deepcopy(held)
    other["shown"]["table"]["salts"]["d"] = "00" * 16
    (said,) = faults(other, ledger)
    assert said.startswith("d: its row of evidence is not what the site committed")
    other = copy.deepcopy(held)
    del other["shown"]["table"]["salts"]["d"]
    (said,) = faults(other, ledger)
    assert said.startswith("d: its row of evidence of round ")
    assert said.endswith(" was merged, and this file does not show it")
    other = changed(held, evidence=[one for one in held["evidence"] if one["site"] != "d"])
    assert faults(other, ledger)[0].startswith("d: its row of evidence is not what the site committed")


def decided_again(held, ledger):
    """The file as its forger leaves it: every verdict follows, the digest fits, and the ledger accuses nobody."""
    evidence = {one["site"]: Evidence(**one) for one in held["evidence"]}
    sites = sorted(one["site"] for one in held["verdicts"])
    table = decide(list(evidence.values()), sites=sites, status=held["status"], auroc=held["auroc"] / 1e6,
                   slope=held["slope"] / 1e6, rules=Rules(**held["rules"]))  # fmt: skip
    if table.status == "decided":
        rows = np.zeros((len(sites), len(FIELDS)), dtype=np.int64)
        for name, one in evidence.items():
            rows[sites.index(name)] = row_of(one, repairs=held["repairs"], silent=False)
        member = np.array([[site in half for site in sites] for half in held["halves"]]).T
        told, moved = (np.array(held["sums"][name], dtype=np.int64) for name in ("told", "influence"))
        table = with_doubts(table, sites, halves=by_halves(told, rows, member), influence=influence(moved).places())
    held.update(json.loads(table.canonical()), digest=table.digest.hex())
    return held, Recorded(**{**vars(ledger), "verdicts": {}})


def test_a_site_that_was_taken_out_of_the_file_with_root_row_and_salts_is_named(audit):
    held, ledger = copy.deepcopy(audit[0]), audit[1]
    held["evidence"] = [one for one in held["evidence"] if one["site"] != "c"]
    for part in (held["roots"], *(shown["salts"] for shown in held["shown"].values())):
        del part["c"]
    root, row = faults(*decided_again(held, ledger))
    assert root.startswith("c: the root of its scores of round ")
    assert row.startswith("c: its row of evidence of round ")
    assert row.endswith("was merged, and this file does not show it")
    late = {round: set(sites) - {"c"} for round, sites in ledger.merged.items()}
    assert faults(held, Recorded(**{**vars(ledger), "merged": late, "verdicts": {}})) == (), "it came too late"


def test_a_file_without_any_row_is_no_evidence(audit):
    held, ledger = copy.deepcopy(audit[0]), audit[1]
    held.update(evidence=[], roots={}, shown={})
    said = "nothing in this file shows that sites had committed their rows"
    assert faults(*decided_again(held, ledger)) == (said,)
    held["shown"] = {"table": {"exchange": 0, "salts": {}}}
    assert "the rows are not of this audit's last exchange, which is that of the evidence" in faults(held, ledger)


def test_an_audit_that_judged_labels_cannot_be_called_inconclusive(audit):
    held, ledger = copy.deepcopy(audit[0]), audit[1]
    held["status"] = "inconclusive"
    said = "the rows judge labels, so the audit was not 'inconclusive'"
    found = faults(*decided_again(held, ledger))
    assert found[0] == said
    assert len(found) == 2
    assert found[1].startswith("with AUROC 0.")
    assert found[1].endswith(" the audit is 'decided', not 'inconclusive'")
    held["auroc"] = 500_000
    assert faults(*decided_again(held, ledger)) == (said,)


def test_an_audit_whose_probes_are_too_weak_cannot_have_judged(audit):
    held, ledger = copy.deepcopy(audit[0]), audit[1]
    held["auroc"] = 599_999
    found = faults(*decided_again(held, ledger))
    assert found[0].startswith("with AUROC 0.599999 and slope ")
    assert found[0].endswith(" the audit is 'inconclusive', not 'decided'")
    held["auroc"] = 600_000
    assert not [one for one in faults(*decided_again(held, ledger)) if "the audit is" in one]


def test_a_verdict_that_accuses_and_is_not_on_the_ledger_is_named(audit):
    held, ledger = decided_again(copy.deepcopy(audit[0]), audit[1])
    assert faults(held, ledger) == ("c: this file says 'quarantine', and no verdict on the ledger does",)


def test_roots_that_came_after_the_evidence_are_seen(audit):
    held, ledger = audit
    late = dict(held["shown"]["roots"], exchange=held["shown"]["table"]["exchange"])
    found = faults(changed(held, shown={**held["shown"], "roots": late}), ledger)
    assert any(
        "the roots of scores were committed in round" in one and "not before the evidence" in one for one in found
    )
    found = faults(changed(held, shown={"table": held["shown"]["table"]}), ledger)
    assert found == ("no roots of scores were committed before the evidence",)
    assert "nothing in this file shows that sites had committed their rows" in faults(changed(held, shown={}), ledger)
    found = faults(changed(held, shown={**held["shown"], "roots": dict(late, exchange=999)}), ledger)
    assert found[0] == "the ledger has no exchange 1000 of this audit, in which sites would have shown roots"


def test_a_verdict_that_does_not_follow_from_the_rows_is_named_even_where_the_ledger_agrees(audit):
    held, ledger = audit
    verdicts = copy.deepcopy(held["verdicts"])
    one = next(one for one in verdicts if one["site"] == "c")
    assert one["kind"] == "quarantine"
    one.update(kind="keep", left_out=False)
    table = {name: held[name] for name in ("status", "auroc", "slope")} | {"verdicts": verdicts}
    digest = digest_of(json.dumps(table, sort_keys=True, separators=(",", ":")).encode())
    other = changed(held, verdicts=verdicts, digest=digest.hex())
    bent = Recorded(**{**vars(ledger), "verdicts": {"c": (CODES["keep"], digest)}})
    assert faults(other, bent) == ("c: the verdict 'keep' does not follow from the rows, which give 'quarantine'",)
    assert "c: the ledger's verdict rests on another table than this file's" in faults(other, ledger)


def test_a_verdict_on_the_ledger_that_is_not_the_files_is_named(audit):
    held, ledger = audit
    _, digest = ledger.verdicts["c"]
    bent = Recorded(**{**vars(ledger), "verdicts": {"c": (CODES["repair"], digest)}})
    assert faults(held, bent) == ("c: the ledger says 'repair', this file 'quarantine'",)
    signed = Recorded(**{**vars(ledger), "verdicts": {"c": (CODES["eliminate"], digest)}})
    assert faults(held, signed) == (), "people may sign more than a table asks for"
    assert faults(changed(held, digest="00" * 32), ledger) == ("the digest in this file is not that of its table",)


def test_other_rules_sums_or_halves_are_seen(audit):
    held, ledger = audit
    assert faults(changed(held, halves=held["halves"][::-1]), ledger)[0] == (
        "the halves do not follow from the seed on the ledger"
    )
    told = copy.deepcopy(held["sums"])
    told["told"][0][3] += 1
    found = faults(changed(held, sums=told), ledger)
    assert found
    assert all(
        re.search("does not follow from the rows, for '(look|reason)' they give another value", s) for s in found
    )
    strict = {**held["rules"], "convict": 0.9999999}
    assert any("does not follow" in one for one in faults(changed(held, rules=strict), ledger)) == (
        next(one for one in held["verdicts"] if one["site"] == "c")["posterior"] < 1e6
    )


def test_a_file_of_another_form_is_refused(audit):
    held, ledger = audit
    for broken in (
        changed(held, evidence=held["evidence"] * 2),
        changed(held, evidence=[{"site": "a"}]),
        changed(held, roots={"a": "zz"}),
        changed(held, verdicts=held["verdicts"][:3]),
        {name: value for name, value in held.items() if name != "rules"},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            faults(broken, ledger)


def test_halves_follow_from_the_seed_on_the_ledger_or_it_is_seen(audit):
    held = audit[0]
    assert is_drawn_by(held, LOT)
    assert not is_drawn_by(held, bytes(32))
    assert not is_drawn_by({**held, "seed": bytes(32).hex()}, bytes(32)), "another seed would have drawn others"
    assert not is_drawn_by({**held, "halves": held["halves"][::-1]}, LOT)
    assert not is_drawn_by({**held, "halves": []}, LOT)
