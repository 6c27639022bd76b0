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
