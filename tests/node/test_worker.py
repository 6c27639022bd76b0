"""The worker's end of the pipe, in this process: errors are told by kind, progress in coarse steps."""

import json
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.marks import shows
from cohortium.core.parameters import Parameters
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.node.pipe import Word, read_word, write_word
from cohortium.node.work import open_ward, ward_work
from cohortium.node.worker import FRACTION_STEP, Bench, serve
from cohortium.sim.inputs import read_study


@pytest.fixture
def plan(home_of_bonn):
    return {
        "study": str(home_of_bonn / "study.toml"),
        "site": "bonn",
        "table": str(home_of_bonn / "bonn.csv"),
        "mapping": "",
        "secret": bytes(32).hex(),
    }


@pytest.fixture
def worker(plan):
    """Say one word to a worker in a thread, hear its answer."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    stream = ours.makefile("rwb")
    write_word(stream, Word(0, "plan", plan))

    def ask(word, text=None, arrays=(), updates=()):
        write_word(stream, Word(5, word, {"sites": ["bonn", "lund"], **(text or {})}, arrays, tuple(updates)))
        while (said := read_word(stream)).word == "fraction":
            assert round(said.text["fraction"] / FRACTION_STEP) >= 1
        assert said.number == 5
        return said

    yield ask
    stream.close()
    ours.close()
    thread.join(10)
    theirs.close()
    assert not thread.is_alive(), "the end of the socket is the end of the worker"


def test_the_terms_of_a_study_need_no_patient(worker, home_of_bonn):
    (home_of_bonn / "bonn.csv").unlink()
    terms = worker("look", {"n_sites": 3}).text["terms"]
    assert terms["min_sites"] == 3  # masked, as three sites are by default
    assert terms["n_rounds"] > 1


def test_a_study_that_so_few_sites_cannot_run_is_told_as_its_own_fault(worker):
    told = worker("look", {"n_sites": 1})
    assert (told.word, told.text["code"]) == ("failed", "code")
    assert "at least 2 sites" in told.text["sentence"]


def test_own_data_are_counted_for_the_site_itself(worker):
    found = worker("prepare").text
    assert found["n_patients"] == 60
    assert {check["level"] for check in found["checks"]} <= {"ok", "warn", "skipped"}


def test_what_a_worker_does_not_do_is_refused_and_it_goes_on(worker):
    assert worker("export").text["sentence"] == "a worker does not 'export'"
    assert worker("start").word == "done"


def test_an_error_is_told_by_its_kind_and_place_never_by_its_text(worker, capfd):
    told = worker("train", {"round": 1}, (Parameters({"clock": np.array([9, 9])}), Parameters()))
    assert told.word == "failed"
    assert told.text["kind"] == "error"
    assert told.text["sentence"] in ("IndexError", "KeyError")
    assert told.text["where"].startswith(("IndexError/", "KeyError/"))
    capfd.readouterr()


def test_a_bench_reads_the_table_only_when_it_is_needed(plan):
    bench = Bench({**plan, "table": "/nowhere.csv"})
    assert bench.program(("bonn", "lund")).max_rounds > 1
    assert bench.study.name == "little"


AUDIT = """
[quality]
detector = "out-of-bag"
on_harm = "report"
halves = 6
passes = 1
[privacy]
secure_aggregation = false
"""


def audit_works(folder):
    """Of bonn, whose labels are reversed, and five others; their names."""
    study = read_study(folder / "study.toml")
    tables = {"bonn": read(folder / "bonn.csv")}
    for k, site in enumerate(("graz", "lund", "oslo", "porto", "riga"), start=2):
        rng = np.random.default_rng(k)
        a, b = rng.normal(size=(2, 60))
        sex = np.where(b > 0, "f", "m")
        label = (a - 0.5 * b + rng.normal(0, 0.8, 60) <= 0).astype(float)
        tables[site] = Table.from_columns({"a": a, "b": b, "sex": sex, "label": label})
    sites = sorted(tables)
    return [ward_work(open_ward(study, tables[s], site=s, secret=bytes(32)), sites=sites) for s in sites], sites


def ended_audit(folder):
    """The state after the last exchange."""
    works, sites = audit_works(folder)
    state = works[0].start()
    while not works[0].finished(state):
        state = works[0].merge(state, [work.train(1, state) for work in works])
    return state, sites


def test_after_an_audit_a_worker_tells_the_verdicts_and_drafts_what_it_leaves(worker, home_of_bonn, tmp_path):
    path = home_of_bonn / "study.toml"
    path.write_text(path.read_text() + AUDIT)
    state, sites = ended_audit(home_of_bonn)
    said = worker("judge", {"sites": sites}, (state,)).text["said"]
    assert {site: code for site, code, _ in said} == {**dict.fromkeys(sites, 1), "bonn": 3}
    assert worker("audit", {"sites": sites}, (state, Parameters())).text["said"] == [], "no model, no attacks on it"
    (home := tmp_path / "run").mkdir()
    named = {"sites": sites, "model": str(home / "model"), "ledger": str(home / "none")}
    answer = worker("record", named, (state, Parameters()))
    assert answer.text["withheld"] == "an audit trains no model"
    assert json.loads(answer.text["record"])["quality"]["sites"]["bonn"]["repair"] == "label-polarity"
    drafts = [".evidence.json.draft", ".scores.json.draft", ".suspects.csv.draft"]
    assert sorted(one.name for one in home.iterdir()) == drafts


def test_a_row_that_no_site_can_show_names_its_site_before_any_merge_and_right_ones_pass(worker, home_of_bonn):
    path = home_of_bonn / "study.toml"
    path.write_text(path.read_text() + AUDIT)
    works, sites = audit_works(home_of_bonn)
    state = works[0].start()
    while not shows(state):
        state = works[0].merge(state, [work.train(1, state) for work in works])
    shown = [work.train(1, state) for work in works]
    assert worker("refuse", {"sites": sites}, (state,), shown).word == "done"
    shown[2] = replace(shown[2], parameters=shown[1].parameters)
    told = worker("refuse", {"sites": sites}, (state,), shown).text
    assert (told["kind"], told["site"]) == ("peer", sites[2])


def test_a_training_judges_nobody(worker):
    state = worker("start").arrays[0]
    assert worker("judge", {}, (state,)).text["said"] == []


def test_data_that_were_mended_are_read_anew(worker, home_of_bonn):
    assert worker("prepare").text["n_patients"] == 60
    table = home_of_bonn / "bonn.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:51]) + "\n")
    assert worker("prepare").text["n_patients"] == 50


def test_what_the_gate_warns_of_is_told_with_the_measures(plan, home_of_bonn, kit):
    lines_of, _, pinned_text = kit
    learning = {"model": {"name": "logistic", "learn": "weights"}, "strategy": {"name": "fedavg", "rounds": 1}}
    text = pinned_text(lines_of(1), quality={"gate": "consortium"}, privacy={"secure_aggregation": False}, **learning)
    (home_of_bonn / "study.toml").write_text(text)
    bench, sites, none = Bench(plan), ["bonn", "lund"], Parameters()
    state, told = bench.start(Word(0, "start", {"sites": sites})).arrays[0], []
    for number in range(1, bench.program(("bonn", "lund")).max_rounds + 1):
        (own,) = bench.train(Word(number, "train", {"sites": sites, "round": number}, (state, none))).updates
        copied = (own, replace(own, site="lund"))
        state = bench.merge(Word(number, "merge", {"sites": sites}, (state,), copied)).arrays[0]
        told.append(bench.measure(Word(number, "measure", {"sites": sites, "round": number}, (state, none))).text)
    assert [one["stage"] for one in told] == ["gate", "presence", "standard", "mean", "model"]
    assert [one["warned"] for one in told[:-1]] == [[]] * 4
    assert [one["found"] for one in told[-1]["warned"]] == [
        f"site '{site}': its update is another site's; verdict: look" for site in sites
    ]
