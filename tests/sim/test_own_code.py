"""Code that a study brings runs only as approved: one file, its digest in the study, what is hashed is what runs."""

import hashlib
import sys

import pytest

from cohortium.core.study import Study
from cohortium.errors import StudyError
from cohortium.sim.own_code import blamed_on, check_code, find_code, load_code, loaded_code


@pytest.fixture(autouse=True)
def _forget():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if hasattr(sys.modules[name], "__cohortium_code__"):
            del sys.modules[name]


def study_of(factory="net_of_mine:build", **options):
    content = {"study": {"name": "s", "outcome": "y"}, "model": {"name": "module", "factory": factory, **options}}
    return Study.model_validate(content)


def written(folder, source="def build():\n    return 7\n", name="net_of_mine.py"):
    (folder / name).write_text(source)
    return hashlib.sha256(source.encode()).hexdigest()


def test_code_without_a_digest_is_refused_and_told_what_to_write(tmp_path):
    digest = written(tmp_path)
    study = study_of()
    with pytest.raises(StudyError, match=rf'model.code_digest: is missing; read .* write code_digest = "{digest}"'):
        check_code(study, find_code(study, tmp_path))


def test_other_code_than_approved_is_refused_with_both_digests(tmp_path):
    digest = written(tmp_path)
    study = study_of(code_digest="0" * 64)
    with pytest.raises(StudyError, match=rf"has digest {digest}, approved is {'0' * 64}"):
        check_code(study, find_code(study, tmp_path))


def test_nothing_runs_before_it_is_approved(tmp_path):
    written(tmp_path, "raise SystemExit\n")
    study = study_of()
    code = find_code(study, tmp_path)
    with pytest.raises(StudyError):
        check_code(study, code)
    assert "net_of_mine" not in sys.modules


def test_approved_code_is_found_by_its_name_and_runs_as_it_was_read(tmp_path):
    study = study_of(code_digest=written(tmp_path))
    code = find_code(study, tmp_path)
    check_code(study, code)
    written(tmp_path, "def build():\n    return 'changed meanwhile'\n")
    load_code(code)
    assert sys.modules["net_of_mine"].build() == 7
    assert loaded_code(study) == code


def test_a_newer_file_of_the_same_name_takes_the_place_of_the_older(tmp_path):
    for value in (1, 2):
        study = study_of(code_digest=written(tmp_path, f"def build():\n    return {value}\n"))
        load_code(find_code(study, tmp_path))
        assert sys.modules["net_of_mine"].build() == value


def test_the_code_cannot_bring_in_its_neighbours(tmp_path):
    written(tmp_path, "x = 1\n", "neighbour_of_mine.py")
    code = find_code(study_of(code_digest=written(tmp_path, "import neighbour_of_mine\n")), tmp_path)
    with pytest.raises(StudyError, match="line 1 raised ModuleNotFoundError"):
        load_code(code)
    assert "net_of_mine" not in sys.modules


def test_the_name_of_an_installed_module_is_refused(tmp_path):
    for name in ("json", "wave"):
        written(tmp_path, name=f"{name}.py")
        with pytest.raises(StudyError, match=f"'{name}' is the name of an installed module"):
            load_code(find_code(study_of(f"{name}:build"), tmp_path))


@pytest.mark.parametrize(
    ("factory", "sentence"), [("gone:build", "cannot read .*gone.py"), ("pkg.net:build", "one file beside it")]
)
def test_code_that_is_not_one_file_beside_the_study_is_refused(factory, sentence, tmp_path):
    with pytest.raises(StudyError, match=f"model.factory: .*{sentence}"):
        find_code(study_of(factory), tmp_path)


def test_a_digest_for_a_model_without_code_is_refused(tmp_path):
    study = Study.model_validate(
        {"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic", "code_digest": "0" * 64}}
    )
    assert find_code(study, tmp_path) is None
    with pytest.raises(StudyError, match="'logistic' runs no code of yours"):
        check_code(study, None)


def test_what_the_code_raises_is_told_by_line_and_kind_never_by_text(tmp_path):
    written(tmp_path, "def build():\n    raise KeyError('patient 4711')\n")
    code = find_code(study_of(), tmp_path)
    load_code(code)
    with pytest.raises(StudyError) as caught, blamed_on(code):
        sys.modules["net_of_mine"].build()
    assert "line 2 raised KeyError" in str(caught.value)
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_error_that_is_not_the_codes_flies_on(tmp_path):
    written(tmp_path)
    code = find_code(study_of(), tmp_path)
    with pytest.raises(ZeroDivisionError), blamed_on(code):
        1 / 0  # noqa: B018
    with pytest.raises(ZeroDivisionError), blamed_on(None):
        1 / 0  # noqa: B018


def test_a_syntax_error_is_a_sentence(tmp_path):
    written(tmp_path, "def build(:\n")
    with pytest.raises(StudyError, match="line 1 raised SyntaxError"):
        load_code(find_code(study_of(), tmp_path))
