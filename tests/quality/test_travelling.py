"""Detector `travelling` on small consortia: what it bans, what it costs, its measures, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.errors import DataError, UsageError
from cohortium.quality.travelling import RelaySite, Travelling, measures, verdict_of
from cohortium.strategies.travelling import Rates, Relay

LAYOUT = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))


def examples(n, rng, *, flipped=False):
    y = (np.arange(n) % 2).astype(float)
    x = rng.normal(size=(n, 2)) + np.where(y == 1, 2.0, -2.0)[:, None]
    return Examples(
        layout=LAYOUT, x=x, y=1 - y if flipped else y, subgroups={"sex": (np.arange(n) // 2 % 2).astype("i1")}
    )


def consortium(*, bad=()):
    rng = np.random.default_rng(0)
    sites = {}
    for site in ("bonn", "kiel", "lund", "oslo", "porto"):
        training = examples(20, rng, flipped=site in bad)
        sites[site] = RelaySite(
            training=training, held_out=examples(20, rng), harmless=np.full(20, site not in bad, dtype=bool)
        )
    return sites


QUICK = Travelling(clean_cycles=3, cycles=5, learning_rate=0.02, tolerance=0.02, hidden=8)
COARSE = replace(QUICK, learning_rate=0.05, cycles=8)


def test_verdicts_follow_from_what_was_banned():
    found = COARSE.run(consortium(bad=("lund",)), seed=1)
    for site, verdict in found.sites.items():
        share = len(found.records(site)) / 20
        assert found.records_flagged[site] == len(found.records(site))
        assert (verdict.kind == "quarantine") == (share == 1)
        assert verdict.posterior == share
        assert verdict.look == (0.5 <= share < 1)


@pytest.mark.parametrize(
    ("banned", "kind", "look", "left_out"),
    [(0, "keep", False, False), (1, "keep", False, False), (2, "keep", True, False), (4, "quarantine", False, True)],
)
def test_a_site_is_out_when_all_its_records_are_banned(banned, kind, look, left_out):
    relay = Relay.begin({"a": 4}, Rates(0.1, 0.1))
    for row in range(banned):
        relay = relay.tried("a", row, kept=False)
    found = verdict_of("a", relay)
    assert (found.kind, found.look, found.left_out, found.posterior) == (kind, look, left_out, banned / 4)


def test_the_threshold_decides_between_nobody_and_somebody():
    """The fragility that makes this no default."""
    loose, tight = (replace(COARSE, tolerance=t).run(consortium(bad=("lund",)), seed=1) for t in (0.5, 0.004))
    assert sum(loose.records_flagged.values()) == 0
    assert sum(tight.records_flagged.values()) > 0


def test_nothing_harmful_costs_one_step_a_batch_and_bans_nobody():
    found = QUICK.run(consortium(), seed=1)
    assert found.records_flagged == dict.fromkeys(consortium(), 0)
    assert found.journey.evaluations == 5 * 5 * 4
    assert found.training_steps_ratio == 1.0
    assert found.model_transfers == 5 * 5 * 4 * 5


def test_a_harmful_site_costs_replays_and_last_tries():
    found = COARSE.run(consortium(bad=("lund",)), seed=1)
    phases = [step.phase for step in found.journey.steps]
    assert phases.count("solo") == 5 * sum(
        s.phase == "batch" and not s.kept and len(s.records) == 5 for s in found.journey.steps
    )
    assert phases.count("revisit") > 0
    assert found.model_transfers == len(phases) * 5


def test_the_same_seed_gives_the_same_model_to_the_last_bit():
    one, two = (QUICK.run(consortium(), seed=4) for _ in range(2))
    assert one.journey.state.digest == two.journey.state.digest
    assert QUICK.run(consortium(), seed=5).journey.state.digest != one.journey.state.digest


def test_measures_come_from_a_third_part_and_by_subgroup():
    test = examples(40, np.random.default_rng(9))
    found = QUICK.run(consortium(), seed=1, test=test)
    assert len(found.cycles) == 5
    assert found.cycles[-1].auroc > 0.95
    assert set(found.cycles[-1].subgroups) == {"sex=0", "sex=1"}


def test_measures_by_hand():
    found = measures(np.array([1, 1, 0, 0.0]), np.array([0.9, 0.4, 0.6, 0.1]))
    assert (found.accuracy, found.sensitivity, found.specificity, found.f1, found.auroc) == (0.5, 0.5, 0.5, 0.5, 0.75)
    assert measures(np.ones(3), np.ones(3)).auroc is None


def test_deciding_records_are_not_those_of_the_final_measures():
    sites = consortium()
    with pytest.raises(DataError, match="cannot be those of the final measures"):
        QUICK.run(sites, test=sites["bonn"].held_out)


def test_a_clean_start_must_be_told_what_is_harmless():
    unknown = {site: replace(one, harmless=None) for site, one in consortium().items()}
    with pytest.raises(UsageError, match="must be told which records are harmless; say start = 'dirty'"):
        QUICK.run(unknown)
    assert replace(QUICK, start="dirty", cycles=1).run(unknown).journey.evaluations >= 20


def test_held_out_records_of_one_class_are_refused():
    sites = {
        site: replace(one, held_out=one.held_out.take(np.flatnonzero(one.held_out.y == 1)))
        for site, one in consortium().items()
    }
    with pytest.raises(DataError, match="need both classes"):
        QUICK.run(sites)


def test_missing_values_are_refused():
    sites = consortium()
    x = np.array(sites["bonn"].training.x)
    x[0, 0] = np.nan
    sites["bonn"] = replace(sites["bonn"], training=sites["bonn"].training.with_x(x, LAYOUT))
    with pytest.raises(DataError, match="needs complete numbers"):
        QUICK.run(sites)


@pytest.mark.parametrize("wrong", [{"start": "warm"}, {"tolerance": -1.0}, {"reference": "x"}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Travelling(**wrong)
