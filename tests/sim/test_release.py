"""The release gate: fail is final, open needs a name, and what was decided can be read back."""

import json
from dataclasses import replace

import pytest

from cohortium.errors import DataError, PolicyRefused, UsageError, VerificationFailed
from cohortium.reports.privacy import Attack, AuditRecord
from cohortium.sim.release import Release, audit_release, read_release


def attack(verdict, **facts):
    return Attack(tier=1, name="model", verdict=verdict, reason="AUC 0.510", **facts)


def release(verdict, *, by=""):
    audit = AuditRecord(verdict=verdict, max_auc=0.6, max_tpr=0.03, attacks=(attack(verdict, needed=620),))
    return Release(model="ab" * 32, audit=audit, released_by=by)


def test_a_passed_model_goes_and_a_failed_one_never():
    release("pass").refuse()
    for by in ("", "Dr. N."):
        with pytest.raises(VerificationFailed, match="the model fails its audit: model: AUC") as caught:
            release("fail", by=by).refuse()
        assert caught.value.exit_code == 5


def test_an_open_verdict_needs_a_name():
    with pytest.raises(PolicyRefused, match=r"inconclusive: .*about 620 patients would decide") as caught:
        release("inconclusive").refuse()
    assert caught.value.exit_code == 1
    assert "--release" in caught.value.hint
    release("inconclusive", by="Dr. N.").refuse()
    assert release("inconclusive", by="Dr. N.").sentence == "inconclusive (tiers 0 and 1); released by Dr. N."


def test_what_a_site_gives_away_does_not_decide_about_patients(finished):
    made = audit_release(finished[1], None)
    assert all(one.name != "prevalence" for one in made.audit.attacks)


def test_tiers_of_the_record_are_written_and_read_back(finished, tmp_path):
    out = finished[1]
    made = audit_release(out, None, released_by="Dr. N. Example")
    assert read_release(out) == made
    assert json.loads((out / "audit.json").read_text())["format"] == "cohortium-audit/1"
    assert made.model == finished[0].record.model.digest
    assert made.references == 0
    assert (made.released_by == "Dr. N. Example") == (made.audit.verdict == "inconclusive")
    deeper = replace(made, references=8)
    (out / "audit.json").write_text(json.dumps(deeper.document()))
    assert audit_release(out, None).references == 8, "an earlier tier 2 of the same model stands"
    (out / "audit.json").unlink()
    assert read_release(out) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "cohortium-audit/1"}', "[" * 99])
def test_something_else_under_that_name_is_refused(tmp_path, text):
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(DataError, match="audit"):
        read_release(tmp_path)


def test_a_name_is_a_name(finished):
    for name in ("x" * 101, "two\nlines"):
        with pytest.raises(UsageError, match="printable"):
            audit_release(finished[1], None, released_by=name)
