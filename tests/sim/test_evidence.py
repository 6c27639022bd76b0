"""The evidence of a simulated audit and its exported ledger, checked by somebody who has nothing but both files."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cohortium.cli.app import run as run_command
from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.core.study_text import parse_study
from cohortium.errors import UsageError, VerificationFailed
from cohortium.ledger.archive import verify
from cohortium.sim.comparison import SiteRows
from cohortium.sim.evidence import _unlike, check_evidence
from cohortium.sim.quality import screen_sites
from cohortium.sim.results import chain_file

SITES = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")
LAYOUT = Layout(features=("x", "y", "z"), outcome="binary", classes=("0", "1"))


def rows(site):
    rng = np.random.default_rng(SITES.index(site))
    x = rng.normal(size=(60, 3))
    y = (x @ [1.5, -1.0, 0.5] + rng.logistic(size=60) * 0.7 > 0).astype(float)
    whole = Examples(layout=LAYOUT, x=x, y=1 - y if site == "cc" else y)
    return SiteRows(site=site, training=whole.take(np.arange(40)), calibration=whole.take(np.arange(40, 45)),
                    test=whole.take(np.arange(45, 60)))  # fmt: skip


STUDY = """[study]
name = "audited"
outcome = "sick"
[model]
name = "logistic"
l2 = 0.1
[privacy]
secure_aggregation = {masked}
[quality]
detector = "out-of-bag"
halves = 6
passes = 1
repairs = ["label-polarity"]
"""


@pytest.fixture(scope="module", params=["true", "false"], ids=["masked", "open"])
def study(request):
    return parse_study(STUDY.format(masked=request.param))


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory):
    """(ledger, evidence) of one audit."""
    found = screen_sites(study, [rows(site) for site in SITES], chance=Chance(3, secrets_from_system=False))
    folder = tmp_path_factory.mktemp("exported")
    ledger, evidence = folder / "audit-1.jsonl", folder / "audit-1.json"
    ledger.write_bytes(chain_file(found.runs[0])[0])
    evidence.write_text(found.told[0])
    return ledger, evidence


def test_an_auditor_with_both_files_sees_that_all_of_it_holds(exported, capsys):
    ledger, evidence = exported
    found = check_evidence(evidence, verify(ledger, evm=False))
    assert (found.run, found.rows, found.roots, found.verdicts, found.agreed) == (1, 8, 8, 8, True)
    assert run_command(["audit", "ledger", str(ledger), "--evidence", str(evidence)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "evidence of run 1: 8 rows and 8 roots of scores are those that sites had committed, roots first;"
        " the 8 verdicts follow from the rows, and the ledger's verdicts rest on it"
    )
    assert run_command(["audit", "ledger", str(ledger), "--evidence", str(evidence), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evidence"]["roots"] == 8


def test_with_the_study_its_rules_are_compared_as_well(exported, study, tmp_path, capsys):
    ledger, evidence = exported
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(masked=str(study.privacy.secure_aggregation).lower()))
    command = ["audit", "ledger", str(ledger), "--study", str(path), "--seed", "0", "--evidence"]
    assert run_command([*command, str(evidence)]) == 0
    assert "verdicts follow from the rows by the rules of the study, and the ledger's" in capsys.readouterr().out
    other = bent(evidence, tmp_path / "evidence.json", lambda held: held["rules"].update(convict=0.9))
    assert run_command([*command, str(other)]) == 5
    assert "evidence.json: the study says convict = 0.95, this file 0.9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held["rules"].update(one_class_unconfirmed="quarantine"), "= keep, this file quarantine"),
        (lambda held: held["drawn"].update(masked=not held["drawn"]["masked"]), "says secure aggregation = "),
        (lambda held: held["drawn"].update({"pass": 1}), "says passes = 1, this file 2"),
        (lambda held: held.update(halves=held["halves"][:4]), "says halves = 6, this file 4"),
        (lambda held: held["repairs"].append("units:x:x10"), "tries no repair 'units', this file does"),
        (lambda held: held["repairs"].append("rotate-90"), "tries no repair 'axes', this file does"),
    ],
)
def test_settings_that_are_not_the_studys_are_named(exported, study, tmp_path, change, said):
    """Each is found by the study; other checks may find it too, by what it spoils."""
    held = json.loads(exported[1].read_text())
    change(held)
    digest = verify(exported[0], evm=False).runs[0].study
    assert any(said in fault for fault in _unlike(held, study, digest))
    assert list(_unlike(json.loads(exported[1].read_text()), study, digest)) == []


def test_evidence_of_another_study_and_of_another_detector(exported, study):
    found, held = verify(exported[0], evm=False), json.loads(exported[1].read_text())
    other = study.with_plans(quality=study.quality.model_copy(update={"convict": 0.9}))
    with pytest.raises(VerificationFailed, match="this audit is of another study"):
        check_evidence(exported[1], found, study=other)
    agreement = study.with_plans(quality=study.quality.model_copy(update={"detector": "agreement"}))
    with pytest.raises(UsageError, match="detector 'agreement', whose evidence"):
        list(_unlike(held, agreement, agreement.digest))


@pytest.mark.parametrize(
    ("auroc", "slope", "status", "holds"),
    [(650_000, 900_000, "decided", True), (550_000, 900_000, "decided", False), (900_000, 10_000, "decided", False)],
)
def test_the_status_follows_from_auroc_and_slope(exported, tmp_path, auroc, slope, status, holds):
    def change(held):
        held.update(auroc=auroc, slope=slope, status=status)

    other = bent(exported[1], tmp_path / "evidence.json", change)
    with pytest.raises(VerificationFailed) as caught:  # at least: the digest on the ledger is of another table
        check_evidence(other, verify(exported[0], evm=False))
    assert ("the audit is 'inconclusive', not 'decided'" in str(caught.value)) is not holds


def bent(evidence, to, change):
    held = json.loads(evidence.read_text())
    change(held)
    to.write_text(json.dumps(held))
    return to


def test_a_row_changed_by_one_digit_names_its_site_and_ends_with_five(exported, tmp_path, capsys):
    ledger, evidence = exported

    def change(held):
        row = next(one for one in held["evidence"] if one["site"] == "ff")
        row["sound"] = round(row["sound"] + 1e-6, 6)

    other = bent(evidence, tmp_path / "evidence.json", change)
    assert run_command(["audit", "ledger", str(ledger), "--evidence", str(other)]) == 5
    said = capsys.readouterr().err
    assert "evidence.json: ff: its row of evidence is not what the site committed in round" in said
    assert "before others' were seen" in said


def test_a_verdict_that_does_not_follow_is_named(exported, tmp_path):
    ledger, evidence = exported

    def change(held):
        one = next(one for one in held["verdicts"] if one["site"] == "cc")
        one.update(kind="keep", repair="", gain=0, left_out=False)

    other = bent(evidence, tmp_path / "evidence.json", change)
    said = "cc: the verdict 'keep' does not follow from the rows, which give 'repair'"
    with pytest.raises(VerificationFailed, match=rf"evidence.json: {said} \(and 2 more\)"):
        check_evidence(other, verify(ledger, evm=False))


def test_a_commitment_that_is_not_on_the_ledger_or_another_audits_ledger_is_seen(exported, tmp_path):
    ledger, evidence = exported
    found = verify(ledger, evm=False)
    last = json.loads(evidence.read_text())["shown"]["roots"]["exchange"]
    place = (1, found.runs[0].merges[last].round, "dd")
    less = {key: value for key, value in found.commitments.items() if key != place}
    with pytest.raises(VerificationFailed, match="dd: the root of its scores is in this file, but the site"):
        check_evidence(evidence, replace(found, commitments=less))
    other = bent(evidence, tmp_path / "evidence.json", lambda held: held.update(seed="00" * 32))
    with pytest.raises(VerificationFailed, match="no run on this ledger has drawn the seed"):
        check_evidence(other, found)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("{", VerificationFailed, "not JSON"),
        ("[]", VerificationFailed, "not the evidence of an audit"),
        ('{"verdicts": [], "aurocs": {}}', UsageError, "by agreement"),
        ('{"verdicts": [], "noise": {}}', UsageError, "under noise"),
        ('{"verdicts": []}', UsageError, "of an older version"),
    ],
)
def test_other_files_are_refused(exported, tmp_path, text, error, said):
    path = tmp_path / "evidence.json"
    path.write_text(text)
    with pytest.raises(error, match=said):
        check_evidence(path, verify(exported[0], evm=False))
    with pytest.raises(UsageError, match="cannot read"):
        check_evidence(tmp_path / "none.json", verify(exported[0], evm=False))


def test_a_damaged_file_is_no_evidence(exported, tmp_path):
    other = bent(exported[1], tmp_path / "evidence.json", lambda held: held.pop("rules"))
    with pytest.raises(VerificationFailed, match="not the evidence of an audit"):
        check_evidence(other, verify(exported[0], evm=False))
