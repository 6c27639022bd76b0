import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.errors import UsageError
from cohortium.synth.conditions import check_grammar, parse
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import Rows

FACTS = Facts(
    columns=(
        Fact(name="age", kind="numeric"),
        Fact(name="wbc", kind="numeric"),
        Fact(name="anc", kind="numeric"),
        Fact(name="TP53", kind="flag", levels=("0", "1")),
        Fact(name="sex", kind="categorical", levels=("F", "M"), ordered=False),
        Fact(name="stage", kind="categorical", levels=("I", "II", "III")),
    )
)
ROWS = Rows(
    FACTS,
    {
        "age": np.array([60.0, 71.0, 80.0, np.nan]),
        "wbc": np.array([4.0, 2.0, 3.0, 1.0]),
        "anc": np.array([2.0, 3.0, 3.0, 0.5]),
        "TP53": np.array([1.0, 1.0, 0.0, 1.0]),
        "sex": np.array([0.0, 1.0, 1.0, 0.0]),
        "stage": np.array([0.0, 1.0, 2.0, np.nan]),
    },
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age>70 and TP53=1", [False, True, False, False]),
        ("age > 70 or sex = F", [True, True, True, True]),
        ("sex = F or sex = M and age < 75", [True, True, False, True]),
        ("(sex = F or sex = M) and age < 75", [True, True, False, False]),
        ("wbc >= anc", [True, False, True, True]),
        ("TP53 != 1", [False, False, True, False]),
        ("stage > I", [False, True, True, False]),
        ('sex = "M"', [False, True, True, False]),
    ],
)
def test_conditions_mean_what_they_say(text, expected):
    assert parse(text, FACTS).holds(ROWS).tolist() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grade = 1", "no column 'grade'; found: age, wbc"),
        ("tp53 = 1", "no column 'tp53'; did you mean 'TP53'"),
        ("ferritin > 5", "no column 'ferritin'; found: age, wbc, anc"),
        ("age = old", "needs a number"),
        ("sex = X", "is one of F, M"),
        ("sex > F", r"column 'sex' has no order \(F, M\); ask by = or !=, or declare its kind as 'ordered'"),
        ("age > 70 and sex <= M", "column 'sex' has no order"),
        ("age", "expected one of"),
        ("age >", "expected a value or a column after 'age >'"),
        ("age > 70 and", "expected a column, found the end"),
        ("age > 70 TP53 = 1", "expected 'and' or 'or'"),
        ("(age > 70", "not closed"),
        ("TP53 = 2", "is 0 or 1"),
        ("age > 1; import os", "needs a number or another column, found '1;'"),
        ("(" * 40 + "age > 1" + ")" * 40, "parentheses"),
        ("age > 1 and " * 300 + "age > 1", "characters"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(UsageError, match=said):
        parse(text, FACTS)


@pytest.mark.parametrize(
    "text", ["age =< 70", "age 70", "age >", "age > 1 or", "(age > 1", "age > 1 TP53 = 1", 'a > "']
)
def test_what_is_no_condition_for_any_columns_is_refused_before_they_are_known(text):
    with pytest.raises(UsageError, match="condition"):
        check_grammar(text)
    with pytest.raises(UsageError, match="condition"):
        parse(text, FACTS)


@given(st.text(alphabet="age TP53wbc=<>!()andor10.", max_size=30))
def test_whatever_parses_has_a_sound_grammar(text):
    try:
        check_grammar(text)
    except UsageError:
        with pytest.raises(UsageError):
            parse(text, FACTS)


@given(st.text(max_size=80))
def test_no_text_does_anything_but_parse_or_be_refused(text):
    with contextlib.suppress(UsageError):
        parse(text, FACTS).holds(ROWS)
