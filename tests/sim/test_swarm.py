"""A whole swarm in virtual time: the same at every node, and always with an end."""

import pytest

from cohortium.core.randomness import Chance
from cohortium.core.study import PrivacyPlan
from cohortium.errors import DataError, RunFailed, TrainingFailed
from cohortium.models.glm import Logistic
from cohortium.sim.scenarios import published
from cohortium.sim.swarm import Setting, policy_of, run_swarm

CHANCE = Chance(0, secrets_from_system=False)


def run(study, works, **options):
    return run_swarm(Setting(study=study, works=works, chance=CHANCE, **options))


def test_the_newest_merge_on_the_ledger_is_the_state(study, works_of):
    heard = []
    found = run(study, works_of(study), observe=heard.append)
    finals = [event.args for event in found.events if event.name == "Final"]
    assert str(found.outcome) == "complete"
    assert len(finals) == found.outcome.rounds
    assert heard
    assert found.study == study.digest
    merges = sum(event.name == "Final" for event in found.events)
    assert list(found.bytes_sent) == list(range(1, merges + 1))
    assert sorted(found.bytes_sent.values()) == list(found.bytes_sent.values())
    assert found.bytes_sent[1] > 0
    found.ledger.close()


def test_stages_are_told_by_round(study, works_of):
    stages = {}
    run(study, works_of(study), stages=stages).ledger.close()
    assert [stages[number] for number in (1, 2, 3, 4)] == ["presence", "standard", "mean", "model"]


def test_the_studys_rules_reach_the_machine(make_study):
    policy = policy_of(make_study(swarm={"wait": "quorum", "late": "carry"}, strategy={"round_timeout_s": 7.0}))
    assert (policy.wait, policy.late, policy.round_timeout_s) == ("quorum", "carry", 7.0)


@pytest.mark.parametrize(("attest", "drawn"), [("all", False), ("auto", False), ("drawn", True)])
def test_the_ledger_knows_who_attests(attest, drawn, make_study, works_of):
    study = make_study(swarm={"attest": attest}, strategy={"name": "fedavg", "rounds": 1})
    found = run(study, works_of(study))
    proposed = next(event.args for event in found.events if event.name == "Proposed")
    assert bool(proposed["flags"] & 1) is drawn
    found.ledger.close()


def broken_at(works, site, error):
    def train(round, state):
        raise error

    works[site].train = train
    return works


def test_a_site_that_cannot_train_is_left_behind_by_the_others(study, works_of):
    works = broken_at(works_of(study), "porto", TrainingFailed("no memory", code="memory"))
    found = run(study, works)
    assert str(found.outcome) == "partial (2/3 sites)"
    assert found.outcome.reasons["porto"] == ("train, memory",)
    found.ledger.close()


def test_when_too_few_can_train_the_run_fails_at_once_with_site_stage_and_reason(study, works_of):
    error = TrainingFailed("array 'w' is not finite", code="not_finite")
    works = broken_at(broken_at(works_of(study), "porto", error), "bonn", error)
    with pytest.raises(RunFailed, match=r"^failed \(porto, train, not_finite\)$") as caught:
        run(study, works)
    assert caught.value.hint == "array 'w' is not finite"


def test_a_merged_state_that_nobody_can_learn_from_fails_the_run_and_ends_no_node(make_study, works_of, monkeypatch):
    def fit(self, start, examples, *, instructions, rng):
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr(Logistic, "fit", fit)
    study = make_study()
    with pytest.raises(RunFailed, match=r"^failed \(\w+, train, error\)$") as caught:
        run(study, works_of(study))
    assert caught.value.hint == "the merged state cannot be learned from (IndexError)"


def test_an_error_of_the_plan_stays_what_it_is(study, works_of):
    works = broken_at(works_of(study), "bonn", DataError("strata 'x' is no subgroup"))
    with pytest.raises(DataError, match="strata 'x' is no subgroup"):
        run(study, works)


def test_a_failure_in_the_half_that_every_node_repeats_is_said_once(make_study, works_of, monkeypatch):
    def advance(self, start, total):
        raise TrainingFailed("separation: raise l2", code="separation")

    monkeypatch.setattr(Logistic, "advance", advance)
    study = make_study()
    with pytest.raises(RunFailed, match="merge") as caught:
        run(study, works_of(study))
    assert caught.value.hint == "separation: raise l2"


def test_a_run_without_any_merge_ends_instead_of_hanging(make_study, works_of, monkeypatch):
    from cohortium.sim import swarm

    class Patient(swarm.Bench):
        """A bench that takes every failure for one that may pass."""

        def _judged(self, order, failed):
            return failed

    monkeypatch.setattr(swarm, "Bench", Patient)
    study = make_study(swarm={"answer_timeout_s": 600.0, "max_round_s": 1200.0})
    works = works_of(study)
    for site in works:
        broken_at(works, site, TrainingFailed("no"))
    with pytest.raises(RunFailed):
        run(study, works)


@pytest.mark.slow
def test_a_swarm_on_disk_can_be_opened_again_to_the_same_state(study, works_of, tmp_path):
    pytest.importorskip("eth")
    states = []
    for _ in range(2):
        found = run(study, works_of(study), ledger="local", home=tmp_path)
        states.append(found.state)
        found.ledger.close()
    assert states[0] == states[1] == run(study, works_of(study)).state


def masked(study):
    return study.model_copy(update={"privacy": PrivacyPlan(secure_aggregation=True)})


def test_masked_run_of_exact_sums_ends_with_the_very_bits_of_the_plain_run(study, works_of):
    plain, hidden = run(study, works_of(study)), run(masked(study), works_of(study))
    assert str(hidden.outcome) == "complete"
    assert hidden.state.digest == plain.state.digest
    proposed = next(event.args for event in hidden.events if event.name == "Proposed")
    assert proposed["flags"] & 2
    assert proposed["min_sites"] == 3
    agreed = [event for event in hidden.events if event.name == "Agreed" and event.args["step"] == 3]
    assert len(agreed) == hidden.outcome.rounds
    for found in (plain, hidden):
        found.ledger.close()


@pytest.mark.parametrize("name", ["fedavg", "norm-bound", "centred-clipping", "geometric-median"])
def test_masked_run_of_averaged_weights_ends_within_fixed_point_of_the_plain_run(name, make_study, works_of):
    plan = make_study(strategy={"name": name, "rounds": 3, "stop": {"patience": 3}})
    plain, hidden = run(plan, works_of(plan)), run(masked(plan), works_of(plan))
    one, other = (hidden.state.under("model"), plain.state.under("model"))
    assert one.like(other)
    assert one.vector() == pytest.approx(other.vector(), abs=1e-7)
    for found in (plain, hidden):
        found.ledger.close()


def test_updates_are_masked_unless_the_study_says_otherwise(make_study, works_of):
    found = run(plan := make_study(privacy={"secure_aggregation": None}), works_of(plan))
    assert str(found.outcome) == "complete"
    assert next(event.args for event in found.events if event.name == "Proposed")["flags"] & 2
    assert [event for event in found.events if event.name == "Agreed"]
    found.ledger.close()


def test_hidden_weights_are_on_no_ledger_and_give_the_weighted_mean(make_study, works_of):
    plan = make_study(strategy={"name": "fedavg", "rounds": 2})
    hidden = plan.model_copy(update={"privacy": PrivacyPlan(secure_aggregation=True, weights="hidden", word_bits=64)})
    one, other = run(plan, works_of(plan)), run(hidden, works_of(hidden))
    weights = [{e.args["weight"] for e in found.events if e.name == "Committed"} for found in (one, other)]
    assert max(weights[0]) > 1
    assert weights[1] == {1}
    assert one.state.under("model").vector() == pytest.approx(other.state.under("model").vector(), abs=1e-9)
    for found in (one, other):
        found.ledger.close()


@pytest.mark.slow
def test_a_masked_run_that_too_few_sites_are_left_for_ends_with_who_left_first(study, works_of):
    works = works_of(study)
    with pytest.raises(RunFailed, match=r"^failed \(porto, train, memory\)$"):
        run(masked(study), broken_at(works, "porto", TrainingFailed("no memory", code="memory")))
    with pytest.raises(RunFailed, match=r"^failed \(\w+, train, shared_memory\)$"):  # nobody comes to repair it
        run(masked(study), works_of(study), scenario=published("f7").moved_to(sorted(works), n_rounds=9))


def test_a_site_stops_before_its_cap_and_the_others_finish(make_study, works_of, purses_of):
    pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
    study = make_study(strategy={"name": "fedavg", "rounds": 6, "min_sites": 2})
    works = works_of(study)
    caps = {"bonn": 9.0, "lund": 0.8, "porto": 9.0}
    found = run(study, works, budgets=purses_of(works, cap=caps), promised_micro=9_000_000)
    assert str(found.outcome) == "partial (2/3 sites)"
    assert found.outcome.reasons == {"lund": ("train, budget",)}
    spent = [event.args for event in found.events if event.name == "Spent"]
    lund = [args["eps_micro"] for args in spent if args["site"] == "lund"]
    assert 0 < max(lund) <= 800_000
    assert max(args["eps_micro"] for args in spent if args["site"] == "porto") > 800_000
    committed = [e.args["eps_micro"] for e in found.events if e.name == "Committed" and e.args["site"] == "porto"]
    assert committed == sorted(committed)
    assert committed[:3] == [0, 0, 0], "preparations by exact sums are not noisy here"
    found.ledger.close()


def test_when_all_are_out_of_budget_the_last_paid_model_is_kept(make_study, works_of, purses_of):
    pytest.importorskip("dp_accounting", reason="needs the extra 'dp'")
    study = make_study(strategy={"name": "fedavg", "rounds": 30})
    works = works_of(study)
    caps = dict.fromkeys(works, 1.0)
    found = run(study, works, budgets=purses_of(works, cap=caps), promised_micro=9_000_000)
    assert str(found.outcome) == "partial (3/3 sites, budget)"
    merged = [event.args for event in found.events if event.name == "Final"]
    assert 3 < len(merged) < 33
    assert works["porto"].program.model(found.state)
    found.ledger.close()


def test_a_published_failure_is_played_on_a_studys_own_swarm(study, works_of):
    plain = run(study, works_of(study))
    killed = run(study, works_of(study), scenario=published("f3").moved_to(sorted(works_of(study)), n_rounds=9))
    assert str(killed.outcome) == "complete"
    assert killed.state.digest == plain.state.digest, "a node that is killed and started again changes nothing"
    broken = run(study, works_of(study), scenario=published("f7").moved_to(sorted(works_of(study)), n_rounds=9))
    (site,) = broken.outcome.reasons
    assert str(broken.outcome) == "partial (2/3 sites)"
    assert broken.outcome.reasons[site] == ("train, shared_memory",)
    assert (broken.told[0].site, broken.told[0].code) == (site, "shared_memory")
    assert broken.told[0].within_s <= 16
    for found in (plain, killed, broken):
        found.ledger.close()
