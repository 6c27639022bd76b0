"""The paired trial: passes where removal helps all, never at a subgroup's cost, never judged by the accused."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.errors import UsageError
from cohortium.quality.paired_trial import compare_paired, run_trial
from cohortium.quality.protection import ranking

LAYOUT = Layout(features=("x",), outcome="binary", classes=("0", "1"))


def held_out(seed, n_sites=12, n=30):
    rng = np.random.default_rng(seed)
    found = {}
    for k in range(n_sites):
        y = (np.arange(n) % 2).astype(float)
        codes = (np.arange(n) % 4 < 2).astype(np.int8)
        found[f"s{k:02}"] = Examples(
            layout=LAYOUT, x=y[:, None] + rng.normal(size=(n, 1)), y=y, subgroups={"sex": codes}
        )
    return found


def trainer(noise_with, *, hurt=None):
    """Models whose scores are the one feature; with the bad site in training, drowned in noise."""
    asked = []

    def train(sites, seed):
        asked.append((tuple(sorted(sites)), seed))
        rng = np.random.default_rng(seed)
        bad = "s00" in sites

        def score(site, rows):
            drowned = rows.x[:, 0] + (noise_with if bad else 0.0) * rng.normal(size=len(rows))
            if hurt is not None and not bad:
                drowned = np.where(rows.subgroups["sex"] == hurt, rng.normal(size=len(rows)), drowned)
            return drowned

        return score

    train.asked = asked
    return train


def test_a_removal_that_helps_everybody_passes():
    sites, train = held_out(0), trainer(3.0)
    trial = run_trial(sites, sites, quarantined=["s00"], train=train)
    assert trial.passed
    assert trial.whole.gain > trial.whole.lower > 0
    assert set(trial.subgroups) == {"sex 0", "sex 1"}
    assert trial.n_sites == 11  # the quarantined site does not judge itself
    assert [seed for _, seed in train.asked] == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_a_removal_without_effect_does_not_pass():
    assert not run_trial(held_out(1), held_out(1), quarantined=["s00"], train=trainer(0.0)).passed
    passed = [run_trial(held_out(s), held_out(s), quarantined=["s00"], train=trainer(0.05)).passed for s in range(6)]
    assert sum(passed) <= 2


def test_a_removal_that_may_cost_a_subgroup_never_passes():
    trial = run_trial(held_out(2), held_out(2), quarantined=["s00"], train=trainer(3.0, hurt=1))
    assert trial.endangered == ("sex 1",)
    assert not trial.passed


def test_neither_accused_sites_nor_distrusted_records_decide():
    sites = held_out(3)
    broken = {**sites, "s01": replace(sites["s01"], y=1 - sites["s01"].y)}
    trust = {"s02": np.arange(30) < 10}
    trial = run_trial(broken, broken, quarantined=["s00"], accused=["s01"], trusted=trust, train=trainer(3.0))
    assert trial.n_sites == 10
    clean = run_trial(sites, sites, quarantined=["s00"], accused=["s01"], trusted=trust, train=trainer(3.0))
    assert trial.whole == clean.whole


def test_the_difference_is_that_of_two_aurocs():
    rng = np.random.default_rng(4)
    y, site = (np.arange(40) % 2).astype(float), np.arange(40) // 10
    a, b = rng.normal(size=(2, 3, 40))
    found = compare_paired(a, b, y, site, rng=rng)
    expected = np.mean([ranking(b[k], y).auroc - ranking(a[k], y).auroc for k in range(3)])
    assert found.gain == pytest.approx(expected)
    assert found.lower == -found.largest_loss


def test_too_few_sites_are_refused():
    two = dict(list(held_out(5).items())[:2])
    with pytest.raises(UsageError, match="two sites to train and two to judge, got 1 and 1"):
        run_trial(two, two, quarantined=["s00"], train=trainer(1.0))
