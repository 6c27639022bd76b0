"""Attack figures against hand calculations, and attacks against data where the truth is known."""

import numpy as np
import pytest
from scipy import stats

from cohortium.privacy.leakage.membership import confidences, judge, lira_offline, lira_online, rmia


def test_area_and_share_by_hand() -> None:
    found = judge(np.array([3.0, 2.0, 1.0]), np.array([2.0, 0.0]))
    assert found.auc == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 1) / 6)
    assert found.tpr is None
    assert found.reason == "not estimable: 2 people not in the data, at least 100 are needed"
    assert judge(np.zeros(0), np.ones(3)) is None
    assert judge(np.ones(3), np.zeros(0)) is None


def test_share_at_one_per_cent_lets_one_of_a_hundred_others_above() -> None:
    others = np.arange(200.0)
    found = judge(np.array([197.0, 197.5, 198.5, 500.0]), others)
    assert found.tpr == 0.75, "two others may lie above: the threshold is 197"
    assert found.fpr == 0.01
    low, high = stats.binomtest(3, 4).proportion_ci(method="exact")
    assert (found.tpr_low, found.tpr_high) == pytest.approx((low, high))
    rare = judge(np.array([1.0]), np.arange(200.0), fpr=0.001)
    assert rare.tpr is None
    assert "at least 1000" in rare.reason


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, truth, covered = np.random.default_rng(0), float(stats.norm.cdf(1 / np.sqrt(2))), 0
    for _ in range(300):
        found = judge(rng.normal(1, 1, 60), rng.normal(0, 1, 90))
        covered += found.auc_low <= truth <= found.auc_high
    assert 0.91 <= covered / 300 <= 0.99


def test_perfect_and_useless_attacks_have_honest_intervals() -> None:
    perfect = judge(np.ones(20), np.zeros(20))
    assert (perfect.auc, perfect.auc_high) == (1.0, 1.0)
    assert 0.8 < perfect.auc_low < 1.0
    ties = judge(np.ones(20), np.ones(30))
    assert ties.auc == 0.5
    assert ties.auc_low < 0.5 < ties.auc_high


def test_confidence_is_the_logit_of_the_probability_of_the_truth() -> None:
    p = np.array([0.1, 0.5, 0.9])
    assert confidences(-np.log(p)) == pytest.approx(np.log(p / (1 - p)))
    assert np.isfinite(confidences(np.array([0.0, 1e9]))).all()


def shadow_world(seed: int, *, gap: float, k: int = 16, n: int = 600):
    """Confidences of a target and of k references; members gain `gap` in every model that saw them."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(0, 2, n)
    outside = rng.random((k, n)) < 0.5
    member = rng.random(n) < 0.5
    references = hardness + np.where(outside, 0, gap) + rng.normal(0, 1, (k, n))
    target = hardness + np.where(member, gap, 0) + rng.normal(0, 1, n)
    return target, references, outside, member


def auc(scores, member):
    return judge(scores[member], scores[~member]).auc


def test_references_take_out_how_hard_a_patient_is() -> None:
    target, references, outside, member = shadow_world(0, gap=2.0)
    plain = auc(target, member)
    offline = auc(lira_offline(target, references, outside), member)
    online = auc(lira_online(target, references, outside), member)
    assert plain < 0.8 < offline
    assert online >= offline - 0.02
    best = float(stats.norm.cdf(2.0 / np.sqrt(2)))
    assert online == pytest.approx(best, abs=0.04), "known answer: two normals two apart"


def test_relative_gain_over_the_population_finds_members_too() -> None:
    target, references, outside, member = shadow_world(1, gap=2.0)

    def losses(confidence):
        return np.logaddexp(0, -confidence)

    found = rmia(losses(target), losses(references), outside, population=~member)
    assert auc(found, member) > auc(-losses(target), member)
    assert ((found >= 0) & (found <= 1)).all()


def test_where_nothing_was_memorised_every_attack_guesses() -> None:
    target, references, outside, member = shadow_world(2, gap=0.0)
    for scores in (lira_offline(target, references, outside), lira_online(target, references, outside)):
        found = judge(scores[member], scores[~member])
        assert found.auc_low < 0.5 < found.auc_high
        assert found.tpr < 0.06


def test_a_patient_that_every_reference_saw_has_no_offline_score() -> None:
    target, references, outside, _ = shadow_world(3, gap=1.0, n=4)
    outside[:, 2] = False
    assert np.isnan(lira_offline(target, references, outside)).tolist() == [False, False, True, False]
    assert np.isnan(rmia(-target, -references, outside, population=np.ones(4, bool)))[2]


def test_many_references_give_every_patient_a_spread_of_its_own() -> None:
    rng = np.random.default_rng(4)
    outside = np.ones((200, 2), bool)
    references = np.column_stack([rng.normal(0, 0.1, 200), rng.normal(0, 5.0, 200)])
    scores = lira_offline(np.array([1.0, 1.0]), references, outside)
    assert scores[0] > 0.999 > scores[1]
