"""`demo synth`: no patient file, everything the page needs, the digest on the ledger."""

import hashlib
import json
import re

import pytest

from cohortium.sim.synth_demo import demonstrate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    said = []
    found = demonstrate(tmp_path_factory.mktemp("demo"), seed=0, patients=450, say=said.append)
    return found, said


def test_what_is_written_and_said(demo):
    found, said = demo
    assert sorted(path.name for path in found.files.values()) == [
        "ledger.jsonl", "report.html", "report.json", *(f"synthetic-{k}.csv" for k in range(1, 6))
    ]  # fmt: skip
    assert all(path.stat().st_size > 1000 for path in found.files.values())
    assert found.equal
    assert any("bit for bit" in line for line in said)
    assert any("no real one" in line for line in said)


def test_the_page_has_its_figures_and_needs_no_network(demo):
    page = demo[0].files["report"].read_text()
    numbers = [int(one) for one in re.findall(r'id="figure-(\d+)"', page)]
    assert numbers == list(range(1, 14))
    assert not re.search(r"https?:", page)
    for section in ("Canaries", "Hospital by hospital", "Controls"):
        assert section in page


def test_the_ledger_holds_the_digest_of_the_report_by_every_hospital(demo):
    found, _ = demo
    content = json.loads(found.files["json"].read_text())
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).digest() == found.digest
    ledger = found.files["ledger"].read_text()
    assert ledger.count(found.digest.hex()) >= 3
    assert found.digest.hex() in found.files["report"].read_text()


def test_true_effects_stand_beside_the_estimates(demo):
    page = demo[0].files["report"].read_text()
    forest = re.search(r'id="figure-11".*?id="canaries|id="figure-11".*?</div>\s*</section>', page, re.DOTALL)
    assert "truth" in forest[0]
    assert "5 sets pooled" in forest[0]


def test_budgets_stand_beside_each_other(demo):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    curve = demo[0].document["bench"]["by_epsilon"]["marginal_dp"]
    assert [point["epsilon"] for point in curve] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert {"csf", "gsf"} <= set(curve[0])
