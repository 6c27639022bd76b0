"""The officer's page of a run: its ledger is replayed again, and a changed one gives no page."""

import shutil

import pytest

from cohortium.errors import VerificationFailed
from cohortium.sim.officer_export import export_page
from cohortium.sim.release import audit_release


def test_the_page_of_a_run_is_written_and_proves_its_ledger(finished, tmp_path):
    record, out = finished[0].record, finished[1]
    page = export_page(out, tmp_path / "officer.html")
    text = (tmp_path / "officer.html").read_text(encoding="utf-8")
    assert page.proof.head == record.ledger.head
    assert page.proof.approved == record.sites
    assert page.proof.began.startswith("2027-01-15")
    assert record.model.digest in text
    assert "no site has booked any spending" in text
    audit_release(out, None, released_by="Dr. N.")
    again = export_page(out, tmp_path / "officer.html")
    assert again.audit is not None
    (out / "audit.json").unlink()


def test_a_ledger_of_another_run_or_a_changed_one_gives_no_page(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "run")
    lines = (tmp_path / "run" / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "ledger.jsonl").write_bytes(b"".join(lines[:-3]))
    with pytest.raises(VerificationFailed):
        export_page(tmp_path / "run", tmp_path / "officer.html")
    assert not (tmp_path / "officer.html").exists()
