"""Paths become studies and tables; what is wrong is one sentence with its place."""

import pytest

from cohortium.errors import DataError, Problem, StudyError, UsageError
from cohortium.sim.inputs import placed, read_sites, read_study

STUDY = '[study]\nname = "s"\noutcome = "y"\n[model]\nname = "logistic"\n'


@pytest.fixture
def write(tmp_path):
    def _write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def test_a_study_with_a_byte_order_mark_is_read(write):
    assert read_study(write("s.toml", b"\xef\xbb\xbf" + STUDY.encode())).name == "s"


def test_impossible_studies_are_refused_at_their_line(write):
    text = STUDY + '[strategy]\nname = "fedavgm2"\nserver = 1\n'
    with pytest.raises(StudyError, match=r"s\.toml:7 strategy\.name: unknown strategy 'fedavgm2'.*did you mean"):
        read_study(write("s.toml", text))


def test_an_unknown_option_of_a_model_is_refused_at_its_line(write):
    with pytest.raises(
        StudyError, match=r"s\.toml:6 model\.l22: model 'logistic' has no option 'l22'; did you mean 'l2'"
    ):
        read_study(write("s.toml", STUDY + "l22 = 0.1\n"))


def test_an_option_out_of_range_is_refused_at_its_line(write):
    with pytest.raises(StudyError, match=r"s\.toml:6 model\.l2"):
        read_study(write("s.toml", STUDY + "l2 = -1.0\n"))


def test_more_sites_required_than_there_are_is_refused(write):
    with pytest.raises(StudyError, match="5 sites are required, found 3"):
        read_study(write("s.toml", STUDY + "[strategy]\nmin_sites = 5\n"), n_sites=3)


def test_one_site_is_no_swarm(write):
    with pytest.raises(StudyError, match="at least 2 sites, found 1"):
        read_study(write("s.toml", STUDY), n_sites=1)


def test_what_the_data_refuse_gets_the_line_of_its_key(write):
    path = write("s.toml", STUDY + "[synth]\n")
    problems = [Problem("model.name", "cannot"), Problem("study.outcome", "is not there"), Problem("", "too few")]
    with (
        pytest.raises(StudyError, match=r"s\.toml:3 study\.outcome: is not there\n.*:5 model\.name") as found,
        placed(path),
    ):
        raise StudyError(problems, hint="wait")
    assert found.value.hint == "wait"
    with pytest.raises(StudyError, match=r"^mapping\.toml x: of another file$"), placed(path):
        raise StudyError([Problem("x", "of another file")], path="mapping.toml")


def test_data_without_what_a_key_asks_for_are_told_at_the_line_of_the_key(write):
    path = write("s.toml", STUDY + "[evaluation]\nfolds = 3\n")
    problems = [Problem("", "site 'bonn': too few"), Problem("study.outcome", "no column 'y'")]
    with (
        pytest.raises(DataError, match=r"^site 'bonn': too few\n.*s\.toml:3 study\.outcome: no column 'y'$"),
        placed(path),
    ):
        raise DataError.about(problems)
    with pytest.raises(DataError, match=r"^site 'bonn': too few$") as found, placed(path):
        raise DataError("site 'bonn': too few", hint="wait")
    assert found.value.hint == "wait"
    with pytest.raises(DataError, match=r"s\.toml cohort\.patient: no column") as found, placed(path):
        raise DataError.about([Problem("cohort.patient", "no column 'who'")])


def test_an_entry_of_a_list_stands_on_the_line_of_the_list(write):
    path = write("s.toml", STUDY + '[synth]\ngenerator = "bn"\nrules = ["a >= b"]\n')
    with pytest.raises(StudyError, match=r"s\.toml:8 synth\.rules\[0\]: no column"), placed(path):
        raise StudyError([Problem("synth.rules[0]", "no column")])


def test_a_guessed_study_has_no_line():
    with pytest.raises(StudyError, match=r"^study x: wrong$"), placed(None):
        raise StudyError([Problem("x", "wrong")])
    with pytest.raises(DataError, match=r"^no column 'y'$"), placed(None):
        raise DataError.about([Problem("study.outcome", "no column 'y'")])


def test_a_table_without_patients_says_so(write):
    path = write("all.csv", "site,age\n")
    with pytest.raises(DataError, match=r"all\.csv: no patient below the header"):
        read_sites([str(path)], site_column="site")


def test_a_study_that_is_not_text_or_not_there_is_refused(write, tmp_path):
    with pytest.raises(StudyError, match="not UTF-8"):
        read_study(write("s.toml", b"\xff\xfe\x00"))
    with pytest.raises(UsageError, match="cannot read study"):
        read_study(tmp_path / "none.toml")


def test_one_file_is_split_by_its_site_column_which_is_no_feature(write):
    path = write("t.csv", "site,a,y\nBonn,1,0\nLund,2,1\nBonn,3,1\n")
    tables = read_sites([str(path)], site_column="site")
    assert {site: len(table) for site, table in tables.items()} == {"bonn": 2, "lund": 1}
    assert "site" not in tables["bonn"].names


def test_named_files_are_one_site_each(write):
    a, b = write("a.csv", "a,y\n1,0\n"), write("b.csv", "a,y\n2,1\n3,0\n")
    assert {s: len(t) for s, t in read_sites([f"bonn={a}", f"lund={b}"], site_column=None).items()} == {
        "bonn": 1,
        "lund": 2,
    }


@pytest.mark.parametrize(
    ("data", "column", "sentence"),
    [
        ([], None, "no data named"),
        (["x.csv"], None, "names no site"),
        (["a=x.csv", "b=y.csv"], "site", "needs exactly one --data"),
        (["a=none.csv"], None, "does not exist"),
        (["A B=none.csv"], None, "names no site"),
    ],
)
def test_data_named_wrongly_is_answered_with_how_to_name_it(data, column, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_sites(data, site_column=column)


def test_a_site_named_twice_is_refused(write):
    a = write("a.csv", "a,y\n1,0\n")
    with pytest.raises(UsageError, match="site 'bonn' twice"):
        read_sites([f"bonn={a}", f"bonn={a}"], site_column=None)
