import json
from dataclasses import replace

import numpy as np
import pytest

from cohortium.cli.output import strict_json
from cohortium.data.inference import infer_schema
from cohortium.data.mds_like import simulate
from cohortium.data.table import Table
from cohortium.errors import DataError
from cohortium.privacy.leakage.one_run import Guesses
from cohortium.reports.measure import Measure
from cohortium.synth.facts import Facts
from cohortium.synth.rows import rows_of_table
from cohortium.synth.validation.by_site import judge_by_site
from cohortium.synth.validation.canary import Canaries
from cohortium.synth.validation.fidelity import genomic_parts
from cohortium.synth.validation.judge import judge
from cohortium.synth.validation.page import ValidationPage
from cohortium.synth.validation.utility import known_columns


@pytest.fixture(scope="module")
def judgement(judged):
    return judged


def test_the_document_has_every_figure_of_the_contract(judgement):
    found = json.loads(strict_json(judgement.document()))
    for part in ("csf", "gsf"):
        assert {"score", "floor", "ceiling", "skill", "parts", "intervals"} <= set(found[part])
        assert found[part]["intervals"]["skill"][0] <= found[part]["skill"] <= found[part]["intervals"]["skill"][1]
    assert set(found["classic"]) >= {"csf", "gsf"}
    assert {"km_gap", "logrank_p", "c_index_tstr", "c_index_real"} <= set(found["survival"])
    assert {"nndr", "nndr_holdout", "dcr_share", "membership_auc", "singling_out", "linkability", "inference",
            "identical_rows"} <= set(found["privacy"])  # fmt: skip
    assert set(found["verdict"]) == {"fidelity", "utility", "privacy"}


def test_a_good_table_is_not_failed(judgement):
    assert judgement.credible
    assert "fail" not in (judgement.verdict["privacy"], judgement.verdict["utility"])


def test_a_control_that_does_not_fail_takes_every_verdict_away(judgement):
    broken = replace(judgement, controls=[replace(judgement.controls[0], limit=-1.0)])
    assert set(broken.verdict.values()) == {"not credible"}
    copy = judgement.controls[0]
    assert set(broken.reasons.values()) == {
        f"a control did not fail: a copy of the real rows: {copy.measure} {copy.value:.3f}, must be below -1.000"
    }


def test_training_rows_held_out_are_named_and_other_patients_are_not(world, judgement):
    assert not judgement.notes
    found = judge(world.training, world.training.take(np.arange(120)), world.synthetic, seed=0, draws=2)
    assert found.notes[0].startswith("Half or more of the held-out rows are also among the training rows.")
    assert not found.credible


def test_a_copy_fails_privacy_and_passes_fidelity(world):
    found = judge(world.training, world.reserve, world.training, seed=0, draws=2)
    assert found.verdict["privacy"] == "fail"
    assert found.verdict["fidelity"] in ("pass", "warn")


def test_too_few_rows_are_refused(world):
    with pytest.raises(DataError, match="too few held-out rows to judge: 21 of 30"):
        judge(world.training, world.reserve.take(np.arange(21)), world.synthetic)


def test_canaries_that_refute_the_claim_fail_privacy(judgement):
    guesses = Guesses(n_coins=60, n_guessed=30, n_right=30)
    recall = Measure(value=1.0, low=0.9, high=1.0, n=30)
    found = {}
    for epsilon in (1.0, 50.0, None):
        canaries = Canaries(
            guesses=guesses, recall=recall, bound=guesses.bound(), most=guesses.bound(), epsilon=epsilon
        )
        found[epsilon] = replace(judgement, canaries=canaries).findings.get("canaries")
    assert found == {1.0: "fail", 50.0: "pass", None: None}


# tables that are odd in ways seen in practice: design section 12


def told(training, reserve, synthetic):
    found = judge(training, reserve, synthetic, seed=0, draws=2)
    page = ValidationPage(judgement=found, training=training, reserve=reserve, synthetic=synthetic).html()
    return found, json.loads(strict_json(found.document())), page


@pytest.mark.slow
def test_a_gene_nobody_has_a_level_that_is_gone_a_constant_and_a_short_follow_up(world):
    n = len(world.synthetic)
    odd = world.synthetic.with_columns({
        "SRSF2": np.zeros(n), "hb": np.full(n, 9.0), "ferritin": np.full(n, np.nan),
        "karyotype_risk": np.where(world.synthetic["karyotype_risk"] == 0, 1.0, world.synthetic["karyotype_risk"]),
        "os_years": np.minimum(world.synthetic["os_years"], 1.0) * (np.arange(n) > 3),
    })  # fmt: skip
    found, document, page = told(world.training, world.reserve, odd)
    assert found.survival.short_sighted > 0.5
    assert document["csf"]["skill"] < 0.5
    assert page.count('id="figure-') == 13
    by_site = judge_by_site({"a": world.training}, {"a": world.reserve}, odd, seed=0)
    assert by_site.against_training["marginals"] < 0.95


@pytest.mark.slow
def test_no_survival_and_no_gene_is_said_not_made_up():
    table = simulate(seed=0, sites={"a": 500}).table
    names = ("age", "male", "hb", "platelets", "who_class", "died")
    picked = Table({name: table.column(name) for name in names})
    rows = rows_of_table(picked, Facts.of(infer_schema({"all": picked}, outcome="died")))
    order = np.random.default_rng(0).permutation(len(rows))
    parts = [rows.take(order[a:b]) for a, b in ((0, 200), (200, 320), (320, 500))]
    found, document, page = told(*parts)
    assert found.survival is None
    assert document["gsf"]["skill"] is None
    assert document["utility"]["auroc_real"] is not None
    for number in (3, 4, 5, 11):
        slot = page.split(f'id="figure-{number}"')[1].split("</div>")[0]
        assert "Not drawn:" in slot
    by_site = judge_by_site({"a": parts[0]}, {"a": parts[1]}, parts[2], seed=0)
    assert set(by_site.against_training) == {"marginals", "dependence"}


def test_a_column_known_only_later_predicts_nothing(world):
    assert "os_years" not in {fact.name for fact in known_columns(world.training)}
    assert "hb" in {fact.name for fact in known_columns(world.training)}


def test_a_rare_flag_is_inferred_among_carriers_only(judged):
    genes = [name for name in judged.privacy.inference if name.removesuffix(" (carriers)").isupper()]
    assert genes
    assert all(name.endswith(" (carriers)") for name in genes)
    assert all(judged.privacy.inference[name].rate < 0.9 for name in genes)


@pytest.mark.parametrize("name", ["TP53", "ferritin"])
def test_what_was_not_measured_is_not_zero(world, name):
    """A value that is missing for half of the rows must not look like a mutation that is absent, or a low number."""
    half = np.where(np.arange(len(world.training)) % 2, np.nan, world.training[name])
    parts = genomic_parts(world.training, world.training.with_columns({name: half}))
    assert parts["frequency"] > 0.99


def test_a_verdict_says_what_it_turned_on_and_where_the_limit_was(judgement):
    lowest = {name: float(np.mean(one.skill)) for name, one in judgement.fidelity.items()}
    name = min(lowest, key=lambda one: lowest[one])
    assert judgement.reasons["fidelity"].startswith(f"lowest skill {lowest[name]:.2f} ({name.upper()}); pass from 0.85")
    utility = f"C-index {judgement.utility.difference:+z.3f} against training on real patients"
    assert judgement.reasons["utility"].startswith(utility)


def test_privacy_names_what_did_not_pass_and_what_may_be_chance(judgement, monkeypatch):
    said = {"dcr_share": "pass", "singling_out": "fail", "inference": "warn"}
    monkeypatch.setattr(type(judgement), "findings", said)
    assert judgement.reasons["privacy"] == "singling out; inference, which may be chance"
    monkeypatch.setattr(type(judgement), "findings", dict.fromkeys(said, "pass"))
    assert "privacy" not in judgement.reasons
