"""`cohortium simulate`: few lines, JSON alone on stdout, and every bad input one sentence with exit code 2."""

import json
import re

import numpy as np
import pytest

from cohortium.cli.app import run

SURVIVAL = (
    '[study]\nname = "s"\noutcome = { time = "days", event = "died" }\nexclude = ["label"]\n[model]\nname = "cox"\n'
)
BASE = '[study]\nname = "s"\noutcome = "label"\nexclude = ["days", "died"]\n'
LOGISTIC = BASE + '[model]\nname = "logistic"\n'


def simulate(folder, data, *more):
    return run(["simulate", str(folder / "study.toml"), *data, "--out", str(folder / "run"), *more])


def replaced(lines, row, column, value):
    """A table's lines with one cell replaced; rows count from 1 after the header."""
    cells = lines[row].split(",")
    cells[column] = value
    return [*lines[:row], ",".join(cells), *lines[row + 1 :]]


def of_all(lines, column, value):
    for row in range(1, len(lines)):
        lines = replaced(lines, row, column, value)
    return lines


def test_json_stands_alone_on_stdout_and_equals_the_file(finished):
    _, out, stdout, stderr = finished
    assert json.loads(stdout) == json.loads((out / "run.json").read_text())
    assert "complete" in stderr


def test_lines_are_few_plain_and_uncut(finished):
    _, out, _, stderr = finished
    said = stderr.splitlines()
    n_rounds = len(json.loads((out / "run.json").read_text())["rounds"])
    assert n_rounds < len(said) <= n_rounds + 8
    assert said[0] == "reading study.toml and the sites' tables"
    assert "\x1b" not in stderr
    assert "\r" not in stderr
    assert said[-3:] == [
        "complete",
        f"report: {out / 'report.html'}",
        f"next: cohortium audit ledger {out / 'ledger.jsonl'}",
    ]


def test_the_record_names_the_command_without_anybodys_folders(finished):
    command = json.loads(finished[2])["command"]
    assert command.startswith("cohortium simulate study.toml --data bonn=bonn.csv --data lund=lund.csv")
    assert str(finished[0]) not in finished[2]


def test_a_finished_run_is_named_and_kept_unless_it_is_to_be_replaced(finished, files, capsys):
    folder, out, stdout, _ = finished
    before = (out / "run.json").read_bytes()
    assert simulate(folder, files[1](folder), "--seed", "5") == 2
    said = capsys.readouterr().err
    digest = json.loads(stdout)["study_digest"][:16]
    assert f"'{out}' holds a finished run of study" in said
    assert f"(digest {digest}); choose another --out, or overwrite it with --replace" in said
    assert "round" not in said
    assert (out / "run.json").read_bytes() == before


def test_quiet_says_the_end_only(files, tmp_path, capsys):
    write, data_of = files
    folder = write(tmp_path / "w", LOGISTIC)
    assert simulate(folder, data_of(folder), "--quiet") == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"complete\nreport: {folder / 'run' / 'report.html'}\n", "")


def test_one_file_with_a_site_column_is_the_same_run_as_one_file_a_site(finished, capsys):
    folder, _, stdout, _ = finished
    data = ["--data", str(folder / "all.csv"), "--site-column", "hospital"]
    arguments = ["simulate", str(folder / "study.toml"), *data, "--out", str(folder / "again"), "--json"]
    assert run(arguments) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["model"]["digest"] == json.loads(stdout)["model"]["digest"]


def test_a_partial_run_ends_with_three_and_names_who_is_missing(tmp_path, capsys):
    from cohortium.cli.output import Screen
    from cohortium.cli.simulate import finish
    from cohortium.sim.simulate import Result

    class Partial(Result):
        def __init__(self):
            pass

        exit_code = 3
        sentence = "partial (2/3 sites), missing: porto"

    import typer

    with pytest.raises(typer.Exit) as caught:
        finish(Screen(), Partial(), tmp_path)
    assert caught.value.exit_code == 3
    assert capsys.readouterr().out.splitlines()[0] == "partial (2/3 sites), missing: porto"


BAD = {
    "unknown key": (
        LOGISTIC + "[strategy]\nrounds = 2\n[evaluation]\nsead = 1\n",
        {},
        r"study\.toml:10 .*'sead'.*'seed'",
    ),
    "wrong type": (LOGISTIC + '[strategy]\nrounds = "two"\n', {}, r"study\.toml:8 strategy\.rounds: .*integer"),
    "option out of range": (LOGISTIC + "l2 = -1.0\n", {}, r"study\.toml:7 model\.l2: l2 must be at least 0"),
    "strategy that does not fit": (
        LOGISTIC.replace("logistic", "cox") + '[strategy]\nname = "fedavg"\n',
        {},
        r"study\.toml:8 strategy\.name: model 'cox' learns by sums, merge 'fedavg' serves weights",
    ),
    "min_sites too large": (LOGISTIC + "[strategy]\nmin_sites = 4\n", {}, r"min_sites: 4 sites are required, found 3"),
    "missing outcome column": (
        LOGISTIC.replace('"label"', '"lable"'),
        {},
        r"study\.toml:3 study\.outcome: no column 'lable' at any site.*'label'",
    ),
    "one class at all sites": (
        LOGISTIC,
        {"all": lambda held: of_all(held, 5, "1")},
        r"study\.toml:3 study\.outcome: outcome column 'label': a single value",
    ),
    "empty site": (LOGISTIC, {"lund": lambda held: held[:1]}, r"site 'lund': no rows"),
    "model of another outcome": (
        LOGISTIC.replace("logistic", "cox"),
        {},
        r"study\.toml:6 model\.name: model 'cox' needs an outcome of kind survival, got binary",
    ),
    "unknown column among those left out": (
        LOGISTIC.replace('"days", "died"', '"days", "died", "dyed"'),
        {},
        r"study\.toml:4 study\.exclude: no column 'dyed' at any site; did you mean 'died'",
    ),
    "empty file": (LOGISTIC, {"lund": lambda held: []}, r"lund\.csv: empty"),
    "non-finite value": (
        LOGISTIC,
        {"bonn": lambda held: replaced(held, 3, 0, "inf")},
        r"site 'bonn': column 'a': 1 non-finite value \(row 3\)",
    ),
    "text where a number is due": (
        LOGISTIC,
        {"bonn": lambda held: replaced(held, 3, 0, "MRN-4711")},
        r"site 'bonn': column 'a': 1 text where a number is due \(row 3\); expected numbers; correct",
    ),
    "other columns": (
        LOGISTIC.replace('exclude = ["days", "died"]', 'features = ["a", "b"]'),
        {"porto": lambda held: ["u,v,sex,days,died,label", *held[1:]]},
        r"site 'porto': none of the 2 features has a value; found: u, v",
    ),
    "negative time": (
        SURVIVAL,
        {"lund": lambda held: replaced(held, 5, 3, "-3")},
        r"site 'lund': column 'days': 1 negative time \(row 5\)",
    ),
    "duplicated patient": (
        LOGISTIC + '[cohort]\npatient = "days"\n',
        {"lund": lambda held: replaced(held, 2, 3, held[1].split(",")[3])},
        r"site 'lund': column 'days': 1 row of a patient seen before \(row 2\)",
    ),
    "several at once": (
        LOGISTIC,
        {s: lambda held: replaced(held, 4, 1, "inf") for s in ("bonn", "lund")},
        r"site 'bonn': .*\n.*site 'lund': ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_and_two_and_writes_nothing(name, files, tmp_path, capsys):
    write, data_of = files
    study, changes, sentence = BAD[name]
    write(tmp_path / "w", study)
    tables = {}
    for site in ("bonn", "lund", "porto"):
        held = (tmp_path / "w" / f"{site}.csv").read_text().splitlines()
        change = changes.get(site) or changes.get("all")
        tables[site] = change(held) if change else held
    folder = write(tmp_path / "w", study, **tables)
    if name == "empty file":
        (folder / "lund.csv").write_text("")
    assert simulate(folder, data_of(folder)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(sentence, err), err
    assert err.startswith("reading study.toml and the sites' tables\nerror: ")
    assert len(err.splitlines()) <= 4
    assert "Traceback" not in err
    assert "4711" not in err
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "no data named"),
        (["--data", "gone.csv", "--site-column", "s"], "data file 'gone.csv' does not exist"),
        (["--data", "all.csv"], "names no site"),
        (["--data", "all.csv", "--site-column", "nope"], "no column 'nope'"),
        (["--data", "bonn=bonn.csv"], "at least 2 sites, found 1"),
    ],
)
def test_data_named_wrongly_are_answered_with_how(data, sentence, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run(["simulate", "study.toml", *data]) == 2
    assert sentence in capsys.readouterr().err


def test_an_out_that_cannot_be_written_is_refused_before_training(folder, files, capsys):
    _, data_of = files
    for out, sentence in [
        ("study.toml", "is a file"),
        ("study.toml/x", "cannot write results"),
        ("/proc/no", "cannot write"),
    ]:
        target = out if out.startswith("/") else str(folder / out)
        assert run(["simulate", str(folder / "study.toml"), *data_of(folder), "--out", target]) == 2
        err = capsys.readouterr().err
        assert sentence in err
        assert "round" not in err


def test_all_mistakes_of_a_study_come_at_once_in_file_order(files, tmp_path, capsys):
    write, data_of = files
    folder = write(tmp_path / "w", LOGISTIC + 'l2 = -1.0\n[strategy]\nname = "fedavgg"\nmin_sites = 4\n')
    assert simulate(folder, data_of(folder)) == 2
    assert re.findall(r"study\.toml:(\d+)", capsys.readouterr().err) == ["7", "9", "10"]


def test_a_learner_that_finds_no_answer_ends_with_four_and_what_to_do(files, tmp_path, capsys):
    write, data_of = files

    def separable(held):
        rows = [line.split(",") for line in held[1:]]
        return [held[0], *(",".join([*row[:5], str(int(float(row[0]) + float(row[1]) > 0))]) for row in rows)]

    write(tmp_path / "w")
    tables = {s: separable((tmp_path / "w" / f"{s}.csv").read_text().splitlines()) for s in ("bonn", "lund", "porto")}
    folder = write(tmp_path / "w", LOGISTIC + "l2 = 0.0\n", **tables)
    assert simulate(folder, data_of(folder)) == 4
    err = capsys.readouterr().err
    assert re.search(r"error: failed \(.*\)\nhint: separation: .* raise l2", err)
    assert "Traceback" not in err
    assert not (folder / "run").exists()


def test_an_optimiser_that_diverges_ends_with_four(files, tmp_path, capsys):
    write, data_of = files
    folder = write(tmp_path / "w", LOGISTIC + 'learning_rate = 1e300\n[strategy]\nname = "fedavg"\nrounds = 3\n')
    with np.errstate(all="ignore"):
        assert simulate(folder, data_of(folder)) == 4
    assert re.search(
        r"error: failed \(\w+, train, unusable\)\nhint: site '\w+': array '\w+' exceeds 2\^16", capsys.readouterr().err
    )


NET = "import torch\n\n\ndef build(layout):\n    {first}\n    return torch.nn.Linear(len(layout.features), 1)\n"


def test_a_models_own_code_runs_only_as_approved(files, tmp_path, capsys):
    pytest.importorskip("torch")
    write, data_of = files
    study = BASE + '[model]\nname = "module"\nfactory = "net_cli:build"\n{digest}[strategy]\nrounds = 2\n'
    folder = write(tmp_path / "w", study.format(digest=""))
    (folder / "net_cli.py").write_text(NET.format(first="pass"))
    assert simulate(folder, data_of(folder)) == 2
    line = re.search(r'write (code_digest = "[0-9a-f]{64}")', capsys.readouterr().err)[1]
    write(folder, study.format(digest=line + "\n"))
    assert simulate(folder, data_of(folder)) == 0
    capsys.readouterr()
    evaluate = ["evaluate", str(folder / "run"), "--data", str(folder / "bonn.csv"), "--json"]
    assert run(evaluate) == 2
    assert "name the study you have approved with --study" in capsys.readouterr().err
    assert run([*evaluate, "--study", str(folder / "study.toml")]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["auroc"] <= 1
    (folder / "net_cli.py").write_text(NET.format(first="print('something else')"))
    assert simulate(folder, data_of(folder)) == 2
    err = capsys.readouterr().err
    assert len(set(re.findall(r"[0-9a-f]{64}", err))) == 2


@pytest.mark.parametrize("place", ["build", "forward"])
def test_code_that_raises_is_told_by_its_line_and_nothing_it_saw(place, files, tmp_path, capsys):
    pytest.importorskip("torch")
    write, data_of = files
    source = (
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = torch.nn.Linear(1, 1)\n\n    def forward(self, x):\n"
        "        raise RuntimeError(f'patient MRN-4711 {x}')\n\n\ndef build(layout):\n    BODY\n"
    )
    body = "raise RuntimeError('MRN-4711')" if place == "build" else "return Net()"
    source = source.replace("BODY", body)
    import hashlib

    digest = hashlib.sha256(source.encode()).hexdigest()
    name = f"net_raises_in_{place}"
    study = BASE + f'[model]\nname = "module"\nfactory = "{name}:build"\ncode_digest = "{digest}"\n'
    folder = write(tmp_path / "w", study)
    (folder / f"{name}.py").write_text(source)
    assert simulate(folder, data_of(folder)) == 2
    out, err = capsys.readouterr()
    assert re.search(rf"{name}\.py' line \d+ raised RuntimeError", err)
    assert "4711" not in out + err
    assert not (folder / "run").exists()


def test_no_patients_value_is_in_any_output_or_file(files, tmp_path, capsys):
    write, data_of = files
    planted = ("MRN-4711", "987654.321")
    write(tmp_path / "w")
    tables = {}
    for site in ("bonn", "lund", "porto"):
        held = (tmp_path / "w" / f"{site}.csv").read_text().splitlines()
        held = [f"who,note,{held[0]}"] + [
            f"MRN-4711-{site}-{i},MRN-4711 text {i},{row}" for i, row in enumerate(held[1:])
        ]
        tables[site] = replaced(held, 7, 2, "987654.321")
    study = LOGISTIC + '[cohort]\npatient = "who"\n'
    folder = write(tmp_path / "w", study, **tables)
    assert run(["study", "check", str(folder / "study.toml"), *data_of(folder)]) == 0
    assert simulate(folder, data_of(folder)) == 0
    assert run(["evaluate", str(folder / "run"), *data_of(folder)]) == 0
    broken = write(folder, study, **(tables | {"bonn": replaced(tables["bonn"], 9, 2, "MRN-4711")}))
    assert simulate(broken, data_of(broken)) == 2
    said = "".join(capsys.readouterr())
    files_text = {
        path.name: path.read_bytes().decode("latin-1") for path in (folder / "run").rglob("*") if path.is_file()
    }
    assert len(files_text) == 4
    for value in planted:
        assert value not in said
        assert [name for name, text in files_text.items() if value in text] == []


def test_images_go_the_same_way(tmp_path, capsys):
    pytest.importorskip("torch")
    data = []
    for number, site in enumerate(("bonn", "lund")):
        rng = np.random.default_rng(number)
        label = np.arange(40) % 2
        image = rng.normal(0, 0.3, (40, 12, 12)).astype(np.float32)
        image[label == 1, 3:9, 3:9] += 1.0
        np.savez(tmp_path / f"{site}.npz", image=image, label=label)
        data += ["--data", f"{site}={tmp_path / site}.npz"]
    study = '[study]\nname = "x"\noutcome = "label"\n[model]\nname = "cnn-small"\n[strategy]\nrounds = 1\n'
    (tmp_path / "study.toml").write_text(study + "[evaluation]\nper_site = false\n")
    assert simulate(tmp_path, data) == 0
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 80


def test_a_published_failure_is_played_and_told_on_screen_and_in_the_record(files, tmp_path, capsys):
    write, data_of = files
    folder = write(tmp_path / "w", LOGISTIC + "[privacy]\nsecure_aggregation = false\n")  # so that two may go on
    assert simulate(folder, data_of(folder), "--faults", "f7") == 3
    said = capsys.readouterr().err.splitlines()
    record = json.loads((folder / "run" / "run.json").read_text())
    (fault,) = [line for line in said if line.startswith("fault f7: ")]
    site = fault.split()[2]
    assert fault == f"fault f7: {site} cannot train from merge 2 on (shared_memory)"
    told = next(line for line in said if line.startswith("told: "))
    assert re.fullmatch(
        rf"told: {site} \(train, shared_memory\) after \d+ s, known at 2 other sites 0\.\d s later", told
    )
    assert record["status"] == "partial (2/3 sites)"
    assert told in record["notes"]
    assert any(note.startswith("played with failure f7 (shared memory was too small") for note in record["notes"])
    assert "--faults f7" in record["command"]
    assert set(record["rounds"][1]["missing"]) == {site}


def test_results_that_never_came_are_missing_by_name_in_the_record(files, tmp_path):
    write, data_of = files
    folder = write(tmp_path / "w", LOGISTIC)
    assert simulate(folder, data_of(folder), "--faults", "f10") == 0
    notes = json.loads((folder / "run" / "run.json").read_text())["notes"]
    missing = [note for note in notes if note.startswith("results of ")]
    assert len(missing) == 1
    assert missing[0].endswith(": missing: not received")


def test_a_failure_that_is_not_in_the_catalogue_is_refused_with_the_list(folder, files, capsys):
    assert simulate(folder, files[1](folder), "--faults", "f11") == 2
    assert "unknown failure 'f11'; available: f1, f1-mute, f2" in capsys.readouterr().err
    assert simulate(folder, files[1](folder), "--faults", "f1", "--ledger", "local", "--resume") == 2
    assert "leave out --resume" in capsys.readouterr().err
