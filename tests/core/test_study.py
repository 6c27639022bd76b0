"""Ranges of the plan, from both sides."""

import pytest
from pydantic import ValidationError

from cohortium.core.study import EvaluationPlan, StrategyPlan, Study


def plan(**changes):
    content = {"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic"}}
    return Study.model_validate(content | changes)


def test_a_plan_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        plan().study.name = "other"


def test_nothing_left_to_train_on_is_refused():
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        EvaluationPlan(test_fraction=0.6, calibration_fraction=0.4)
    assert EvaluationPlan(test_fraction=0.6, calibration_fraction=0.3).test_fraction == 0.6


@pytest.mark.parametrize("min_sites", [1, 129])
def test_a_quorum_outside_the_contracts_limits_is_refused(min_sites):
    with pytest.raises(ValidationError):
        StrategyPlan(name="fedavg", min_sites=min_sites)


def test_a_whole_number_is_taken_where_a_fraction_is_due_but_no_text():
    assert plan(strategy={"round_timeout_s": 60}).strategy.round_timeout_s == 60.0
    with pytest.raises(ValidationError):
        plan(strategy={"round_timeout_s": "60"})


def test_the_digest_covers_defaults_so_that_spelling_one_out_changes_nothing():
    assert plan().digest == plan(evaluation={"test_fraction": 0.3}).digest
    assert plan().digest != plan(evaluation={"test_fraction": 0.2}).digest


def test_another_seed_is_another_plan_with_a_digest_of_its_own():
    one = plan()
    before = one.digest
    other = one.with_seed(7)
    assert other.evaluation.seed == 7
    assert other.digest == plan(evaluation={"seed": 7}).digest != before
    assert one.digest == before
    assert one.with_seed(None) is one


def test_the_digest_of_own_code_is_part_of_the_plan_and_no_option_of_the_model():
    named = plan(model={"name": "module", "factory": "net:build", "code_digest": "ab" * 32})
    assert named.model.options == {"factory": "net:build"}
    assert named.digest != plan(model={"name": "module", "factory": "net:build", "code_digest": "cd" * 32}).digest


@pytest.mark.parametrize("digest", ["ab", "AB" * 32, "zz" * 32, 7])
def test_a_digest_that_is_none_is_refused(digest):
    with pytest.raises(ValidationError):
        plan(model={"name": "module", "code_digest": digest})
