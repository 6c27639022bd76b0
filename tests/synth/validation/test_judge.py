import json
from dataclasses import replace

import numpy as np
import pytest

from cohortium.cli.output import strict_json
from cohortium.errors import DataError
from cohortium.privacy.leakage.one_run import Guesses
from cohortium.reports.measure import Measure
from cohortium.synth.validation.canary import Canaries
from cohortium.synth.validation.judge import judge


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
