"""The tree drawn on top of errors.py is the tree; every message says what its reader needs, and no more."""

import inspect
import pickle
import re

import pytest

from cohortium import errors
from cohortium.errors import (
    CohortiumError,
    LedgerForked,
    LedgerRefused,
    MissingExtra,
    Problem,
    RunFailed,
    StudyError,
    TrainingFailed,
    first_of,
)

CLASSES = {name: one for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, Exception)}


def drawn():
    """The docstring's tree: name -> (parent, exit code or None), by the column at which a name stands."""
    above = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"^([│├└─ ]*)([A-Z]\w+)(?: .*?)?(?: exit (\d+))?$", line)
        if not found or found[2] not in CLASSES:
            continue
        while above and above[-1][0] >= len(found[1]):
            above.pop()
        yield found[2], (above[-1][1] if above else None, int(found[3]) if found[3] else None)
        above.append((len(found[1]), found[2]))


TREE = dict(drawn())


def test_the_drawn_tree_names_every_error_once():
    assert sorted(TREE) == sorted(CLASSES)
    assert len(list(drawn())) == len(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_stands_below_its_drawn_parent(name):
    parent = TREE[name][0]
    assert CLASSES[name].__bases__ == ((CLASSES[parent] if parent else Exception),)


@pytest.mark.parametrize("name", sorted(name for name, (_, code) in TREE.items() if code is not None))
def test_every_drawn_exit_code_is_the_real_one(name):
    assert CLASSES[name].exit_code == TREE[name][1]


def test_exit_codes_are_those_of_the_command_line():
    assert {one.exit_code for one in CLASSES.values()} == {1, 2, 4, 5, 70}


def test_the_peers_faults_and_ours_are_caught_apart():
    assert not issubclass(errors.InvariantBroken, errors.PeerError)
    assert not issubclass(errors.PeerError, errors.InvariantBroken)


def test_an_error_keeps_its_hint_out_of_its_message():
    error = CohortiumError("column 'age': no unit", hint="say unit = 'years'")
    assert (str(error), error.hint) == ("column 'age': no unit", "say unit = 'years'")
    assert CohortiumError("x").hint == ""


def test_a_study_error_tells_all_problems_each_with_file_line_and_key():
    error = StudyError(
        [Problem("model.l2", "must be >= 0, got -1", 7), Problem("strategy", "missing"), Problem("", "not TOML", 1)],
        path="heart.toml",
    )
    assert str(error).splitlines() == [
        "heart.toml:7 model.l2: must be >= 0, got -1",
        "heart.toml strategy: missing",
        "heart.toml:1: not TOML",
    ]
    assert [one.line for one in error.problems] == [7, None, 1]


def test_a_missing_extra_says_how_to_install_it():
    error = MissingExtra("model 'mlp-nature'", extra="torch")
    assert str(error) == "model 'mlp-nature' needs the extra 'torch': pip install 'cohortium[torch]'"
    assert error.extra == "torch"


def test_a_failed_run_names_site_stage_and_reason():
    error = RunFailed("porto", "train", "diverged")
    assert str(error) == "failed (porto, train, diverged)"
    assert (error.site, error.stage, error.reason) == ("porto", "train", "diverged")


def test_failed_training_carries_what_may_travel_apart_from_its_text():
    error = TrainingFailed("loss is not finite in epoch 3", code="diverged", hint="lower the step")
    assert (error.stage, error.code, error.hint) == ("train", "diverged", "lower the step")


def test_a_refusal_of_the_ledger_keeps_its_reason():
    assert str(LedgerRefused("once", function="commit")) == "ledger refused commit: once"
    assert str(LedgerRefused("once")) == "ledger refused the call: once"
    assert LedgerRefused("once").reason == "once"


def test_a_fork_carries_its_evidence():
    assert LedgerForked("two heads at height 9", evidence=[b"a", b"b"]).evidence == (b"a", b"b")
    assert LedgerForked("two heads at height 9").evidence == ()


@pytest.mark.parametrize(
    "error",
    [
        StudyError([Problem("model.l2", "must be >= 0", 7)], path="heart.toml", hint="raise it"),
        MissingExtra("model 'mlp'", extra="torch"),
        RunFailed("porto", "train", "diverged"),
        TrainingFailed("no progress", stage="merge", code="late", hint="wait"),
        LedgerRefused("once", function="commit"),
        LedgerForked("two heads", evidence=[b"a", b"b"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_whole_out_of_a_worker_process(error):
    handed = pickle.loads(pickle.dumps(error))
    assert (type(handed), str(handed), vars(handed)) == (type(error), str(error), vars(error))


def test_the_first_error_of_a_group_is_found_behind_what_it_cancelled():
    stop, cause = KeyboardInterrupt(), LedgerRefused("phase")
    assert first_of(BaseExceptionGroup("", [stop, BaseExceptionGroup("", [cause]), RunFailed("a", "b", "c")])) is cause
    assert first_of(BaseExceptionGroup("", [stop])) is stop
