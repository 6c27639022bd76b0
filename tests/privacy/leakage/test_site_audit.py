"""Verdicts that leave, figures that stay; a planted leak fails, a model that never saw the patients passes."""

import numpy as np

from cohortium.privacy.leakage.inversion import Inversion
from cohortium.privacy.leakage.site_audit import CODES, Claim, audit_site, pooled
from cohortium.privacy.leakage.verdict import Thresholds
from cohortium.privacy.leakage.watch import Watch, Watched


def audit(*, gap, n=1500, seed=0, claim=None, watch=None):
    """Losses of members are lower by `gap` standard deviations."""
    rng = np.random.default_rng(seed)
    outside = rng.normal(5, 1, n)
    return audit_site(
        watch or Watch(protected=True),
        inside=rng.normal(5 - gap, 1, n),
        outside=outside,
        control=(np.zeros(200), rng.exponential(1, 200)),
        claim=Claim(epsilon=claim),
        thresholds=Thresholds(),
        shuffled=rng.permutation,
    )


def test_a_model_that_never_saw_the_patients_passes_and_a_planted_leak_fails() -> None:
    good, bad = audit(gap=0.0, claim=3.0), audit(gap=3.0, claim=3.0)
    assert (good.verdict(0), good.verdict(1)) == ("pass", "pass")
    assert bad.verdict(1) == "fail"
    assert {name: f.verdict for name, f in bad.findings(1).items()} == {
        "model": "fail", "one-run": "fail", "control": "pass",
    }  # fmt: skip
    assert bad.guesses.bound(delta=1e-5) > 3.0


def test_twenty_honest_runs_refute_their_epsilon_at_most_once() -> None:
    shown = [audit(gap=0.05, n=200, seed=s).guesses.bound(delta=1e-5) for s in range(20)]
    assert sum(bound > 1.0 for bound in shown) <= 1


def test_an_unprotected_update_with_a_patient_fails_tier_0() -> None:
    hit = Watched(inversion=Inversion(n_rows=40, n_recovered=1, n_tried=3))
    open_, masked = Watch(protected=False, found=[hit]), Watch(protected=True, found=[hit])
    assert audit(gap=0.0, watch=open_).verdict(0) == "fail"
    assert audit(gap=0.0, watch=masked).verdict(0) == "pass"


def test_without_held_out_patients_nothing_is_proven() -> None:
    rng = np.random.default_rng(0)
    found = audit_site(
        Watch(protected=True), inside=np.ones(30), outside=np.zeros(0), control=(np.zeros(3), np.zeros(0)),
        claim=Claim(), thresholds=Thresholds(), shuffled=rng.permutation,
    )  # fmt: skip
    assert found.verdict(1) == "inconclusive"
    assert found.guesses.n_coins == 0


def test_the_digest_binds_every_figure() -> None:
    one, same, other = audit(gap=0.0), audit(gap=0.0), audit(gap=0.0, seed=1)
    assert one.digest(1) == same.digest(1) != other.digest(1)
    assert one.digest(0) != one.digest(1)
    assert len(one.digest(0)) == 32
    assert CODES == {"pass": 1, "fail": 2, "inconclusive": 3}


def test_guesses_of_all_sites_add_up_to_a_sharper_bound() -> None:
    sites = [audit(gap=1.5, n=60, seed=s, claim=1.0) for s in range(5)]
    rng = np.random.default_rng(9)
    whole = pooled(
        sites,
        inside=[rng.normal(3.5, 1, 60)] * 5,
        outside=[rng.normal(5, 1, 60)] * 5,
        control=(np.zeros(100), np.ones(100)),
    )
    assert whole.guesses.n_guessed == sum(one.guesses.n_guessed for one in sites)
    assert whole.guesses.bound() > np.median([one.guesses.bound() for one in sites])
    assert whole.model.n_members == 300
