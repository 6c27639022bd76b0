"""A site's veto: each rule alone, all reasons at once, and never looser than the study."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.study import Study
from cohortium.node.policy import Allowed, Facts, Vetoed, decide, facts_of
from cohortium.node.settings import ConsentPlan

CODE = "ab" * 32
FACTS = Facts(strategy="exact-sums", quorum=3, cohort=100, epsilon=2.0)


def verdict(study, facts=FACTS, **rules):
    return decide(study, facts, ConsentPlan(**rules))


def test_without_rules_nothing_is_refused_and_a_person_is_asked(make_study):
    assert verdict(make_study()) == Allowed(by_itself=False)
    assert verdict(make_study(), automatic=True) == Allowed(by_itself=True)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"models": ["cox"]}, "'logistic' is not among cox"),
        ({"models": []}, "those accepted (none)"),
        ({"strategies": ["fedavg"]}, "'exact-sums' is not among fedavg"),
        ({"require_secure_aggregation": True}, "shows single updates"),
        ({"min_sites": 4}, "close with 3 sites, this site asks for 4"),
        ({"min_cohort": 101}, "fewer than 101 patients"),
        ({"max_epsilon_per_run": 1.0}, "spends epsilon 2, at most 1"),
    ],
)
def test_each_rule_alone_refuses_also_where_no_person_is_asked(make_study, rules, words):
    said = verdict(make_study(), automatic=True, **rules)
    assert isinstance(said, Vetoed)
    assert len(said.reasons) == 1
    assert words in said.reason
    assert said.reason.startswith(f"consent.{next(iter(rules))}:")


@pytest.mark.parametrize(
    "rules",
    [
        {"models": ["logistic"]},
        {"strategies": ["exact-sums"]},
        {"min_sites": 3},
        {"min_cohort": 100},
        {"max_epsilon_per_run": 2.0},
        {"code_digests": [CODE]},
    ],
)
def test_each_rule_at_its_limit_allows(make_study, rules):
    assert isinstance(verdict(make_study(), **rules), Allowed)


def test_foreign_code_is_taken_by_its_digest_only(make_study):
    study = make_study(model={"name": "module", "factory": "net:build", "code_digest": CODE})
    facts = Facts(strategy="fedavg", quorum=3)
    assert "has not approved" in verdict(study, facts).reason
    assert "has not approved" in verdict(study, facts, code_digests=["cd" * 32]).reason
    assert isinstance(verdict(study, facts, code_digests=[CODE]), Allowed)


def test_masks_satisfy_a_site_that_asks_for_them(make_study):
    facts = facts_of(make_study(), n_sites=3)
    assert isinstance(verdict(make_study(), facts, require_secure_aggregation=True), Allowed)
    for study, n_sites in ((make_study(), 2), (make_study(privacy={"secure_aggregation": False}), 3)):
        facts = facts_of(study, n_sites=n_sites)
        assert isinstance(verdict(study, facts, require_secure_aggregation=True), Vetoed)


def test_no_promise_is_more_than_any_limit(make_study):
    facts = Facts(strategy="exact-sums", quorum=3, epsilon=None)
    assert "promises no epsilon" in verdict(make_study(), facts, max_epsilon_per_run=1000.0).reason


def test_a_cohort_that_was_not_counted_yet_is_not_judged(make_study):
    facts = Facts(strategy="exact-sums", quorum=3, cohort=None)
    assert isinstance(verdict(make_study(), facts, min_cohort=1000), Allowed)


def test_all_reasons_are_said_at_once(make_study):
    said = verdict(make_study(), models=["cox"], min_sites=9, max_epsilon_per_run=0.5)
    assert len(said.reasons) == 3


def test_facts_are_those_of_the_program_that_would_run(make_study):
    assert facts_of(make_study(), n_sites=5).strategy == "exact-sums"
    assert facts_of(make_study(), n_sites=5).quorum == 3
    assert facts_of(make_study(strategy={"name": "fedprox"}), n_sites=5).strategy == "fedprox"
    assert facts_of(make_study(strategy={"min_sites": 4}), n_sites=5, cohort=7, epsilon=1.5) == Facts(
        strategy="exact-sums", quorum=4, cohort=7, epsilon=1.5, masked=True
    )


def test_a_node_does_not_guess_what_others_can_do_instead(make_study):
    study = make_study(privacy={"method": "threshold-ckks", "fallback": "masks"})
    assert "privacy.fallback: 'masks' is for simulations" in verdict(study).reason
    assert verdict(make_study(privacy={"method": "threshold-ckks"})) == Allowed(by_itself=False)


RULES = st.fixed_dictionaries(
    {
        "models": st.none() | st.lists(st.sampled_from(["logistic", "cox"]), unique=True),
        "strategies": st.none() | st.lists(st.sampled_from(["exact-sums", "fedavg"]), unique=True),
        "require_secure_aggregation": st.booleans(),
        "min_sites": st.integers(2, 6),
        "min_cohort": st.integers(1, 200),
        "max_epsilon_per_run": st.none() | st.floats(0.1, 5),
    }
)


@given(rules=RULES, key=st.sampled_from(["models", "strategies", "require_secure_aggregation", "min_cohort"]))
def test_dropping_a_rule_never_refuses_more(rules, key):
    study = Study.model_validate({"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}})
    open_value = {"models": None, "strategies": None, "require_secure_aggregation": False, "min_cohort": 1}[key]
    strict = decide(study, FACTS, ConsentPlan(**rules))
    loose = decide(study, FACTS, ConsentPlan(**{**rules, key: open_value}))
    if isinstance(strict, Allowed):
        assert isinstance(loose, Allowed)
    else:
        assert not isinstance(loose, Vetoed) or set(loose.reasons) <= set(strict.reasons)
