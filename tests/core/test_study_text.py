"""A study file is read whole or refused with every problem at its line."""

import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from cohortium.core.study_text import key_lines, parse_plan, parse_study, study_of
from cohortium.errors import StudyError

GOOD = """
[study]
name = "heart"
outcome = "label"
exclude = [
  "num",
]
[model]
name = "logistic"
l2 = 0.1
[strategy]
name = "fedavg"
rounds = 20
"""


def problems(text):
    with pytest.raises(StudyError) as caught:
        parse_study(text)
    return str(caught.value).splitlines()


def test_a_whole_study_is_read_with_its_defaults():
    study = parse_study(GOOD)
    assert study.study.exclude == ["num"]
    assert study.model.options == {"l2": 0.1}
    assert study.strategy.rounds == 20
    assert study.evaluation.test_fraction == 0.3
    assert study.swarm.wait == "progressing"


def test_a_survival_outcome_names_time_and_event():
    study = parse_study(GOOD.replace('"label"', '{ time = "os_days", event = "os_event" }'))
    assert study.study.outcome.time == "os_days"
    assert study.study.outcome.unit == "d"


def test_the_digest_ignores_layout_and_comments_but_no_setting():
    assert parse_study(GOOD).digest == parse_study("# why\n" + GOOD.replace("0.1", "0.10")).digest
    assert parse_study(GOOD).digest != parse_study(GOOD.replace("0.1", "0.2")).digest


def test_all_problems_come_at_once_in_file_order_with_their_lines():
    found = problems(
        '[study]\nname = "heart"\noutcome = 3\nfetures = ["a"]\n[model]\nl2 = 0.1\n'
        '[strategy]\nrounds = "x"\n[foo]\na = 1\n[evaluation]\ntest_fraction = 1.5\n'
    )
    assert [line.split(":")[1].split()[0] for line in found] == ["3", "4", "5", "8", "9", "12"]
    assert "study.outcome: must be a column name or { time = ..., event = ... }, got 3" in found[0]
    assert "unknown key 'fetures'; did you mean 'features'?" in found[1]
    assert "model.name: is missing" in found[2]
    assert "strategy.rounds: input should be a valid integer, got 'x'" in found[3]
    assert "unknown key 'foo'" in found[4]


def test_features_and_exclude_together_are_refused():
    assert (
        "name either features or exclude, not both" in problems(GOOD.replace("exclude", 'features = ["a"]\nexclude'))[0]
    )


def test_what_this_release_cannot_do_is_said_not_ignored():
    found = problems(GOOD + '[quality]\ndetector = "influence"\n')
    assert "quality.detector: input should be 'out-of-bag'" in found[0]
    found = problems(GOOD + "[privacy]\nepsilon = 3.0\n")
    assert "unknown key 'epsilon'" in found[0]


def test_secure_aggregation_is_a_truth_value_or_left_to_the_number_of_sites():
    assert parse_study(GOOD).privacy.secure_aggregation is None
    for text, value in (("true", True), ("false", False)):
        assert parse_study(GOOD + f"[privacy]\nsecure_aggregation = {text}\n").privacy.secure_aggregation is value
    assert (
        "privacy.secure_aggregation: input should be a valid boolean"
        in problems(GOOD + '[privacy]\nsecure_aggregation = "yes"\n')[0]
    )
    assert "privacy.word_bits" in problems(GOOD + "[privacy]\nword_bits = 8\n")[0]
    assert "privacy.weights" in problems(GOOD + '[privacy]\nweights = "secret"\n')[0]


def test_text_that_is_not_toml_is_refused_with_its_line():
    assert problems("[study]\nname = \n")[0].startswith("study.toml:2: not valid TOML")


def test_a_study_of_a_megabyte_is_refused_before_it_is_parsed():
    assert "larger than" in problems("#" * ((1 << 20) + 1))[0]


def test_keys_are_found_behind_multi_line_arrays_strings_and_quotes():
    text = 'a = [\n  "x = 1",\n  "b",\n]\nb = """\nc = 1\n"""\n[t]\n"d.e" = 1 # [x]\nf = { g = 1 }\n[u.v]\nh.i = 2\n'
    assert key_lines(text) == {"a": 1, "b": 5, "t": 8, "t.d.e": 9, "t.f": 10, "u.v": 11, "u.v.h.i": 12}


@given(st.text(max_size=300))
def test_no_text_does_anything_but_parse_or_be_refused(text):
    with pytest.raises(StudyError):
        parse_study(text)


def test_sections_in_a_dict_give_the_study_of_the_file():
    assert study_of(tomllib.loads(GOOD)).digest == parse_study(GOOD).digest


def test_sections_in_a_dict_are_refused_with_every_problem_and_no_line():
    with pytest.raises(StudyError) as caught:
        study_of({"study": {"name": "heart"}, "model": {"name": "logistic"}, "strategy": {"rounds": 0}})
    assert [problem.line for problem in caught.value.problems] == [None, None]
    assert {problem.key for problem in caught.value.problems} == {"study.outcome", "strategy.rounds"}


def test_another_plan_is_read_by_the_same_rules():
    class Section(BaseModel):
        model_config = ConfigDict(extra="forbid")
        size: int = 1

    class Plan(BaseModel):
        model_config = ConfigDict(extra="forbid")
        section: Section = Section()

    assert parse_plan("[section]\nsize = 2\n", Plan, path="plan.toml").section.size == 2
    with pytest.raises(StudyError) as caught:
        parse_plan("[section]\nsze = 2\n", Plan, path="plan.toml")
    assert str(caught.value) == "plan.toml:2 section.sze: unknown key 'sze'; did you mean 'size'?"


def test_an_unknown_key_of_an_optional_table_is_told_its_neighbours():
    with pytest.raises(StudyError, match="unknown key 'epsilo'; did you mean 'epsilon'"):
        parse_study(GOOD + "[privacy]\ndp = { epsilo = 3.0 }\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" + ".a" * 100_000 + " = 1\n", "more than 16 parts"),
        ('"a"' + ' . "a"' * 100_000 + " = 1\n", "more than 16 parts"),
        ("x = " + "[" * 100_000 + "]" * 100_000 + "\n", "nested deeper than 32"),
        ('y = "\\"" # "\nx = ' + "{a=" * 40 + "1" + "}" * 40 + "\n", "nested deeper than 32"),
        ("[" + " " * 100_000 + '"]x"]\n', "unknown key"),
        ("x = " + "1" * 100_000 + "\n", "not valid TOML"),
        ('x = """' + '\\"""' * 100_000, "not valid TOML"),
        ("[swarm]\n" + "".join(f"k{i} = 1\n" for i in range(20_000)), "unknown key"),
    ],
    ids=["long key", "quoted key", "deep", "behind a quote", "blanks", "digits", "open quote", "many problems"],
)
def test_a_text_that_would_keep_a_node_busy_for_hours_is_refused_at_once(text, said):
    """Any member may propose a study; its text is read by every other node before anybody has looked at it."""
    began = time.process_time()
    with pytest.raises(StudyError, match=said):
        parse_study(text)
    assert time.process_time() - began < 10


def test_sixteen_parts_in_strings_and_comments_are_no_key():
    long = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r" + "[" * 40
    text = GOOD.replace('"num",', f'"num",\n  "{long}", # {long}')
    assert parse_study(text).study.exclude == ["num", long]
