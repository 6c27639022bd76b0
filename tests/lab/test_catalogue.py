import pytest

from cohortium.errors import UsageError
from cohortium.lab.catalogue import FAILURES, do_fault, seconds_of
from cohortium.lab.site_faults import FaultFile, SiteFaults

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "seconds"), [("+1h", 3600.0), ("-30m", -1800.0), ("90s", 90.0), ("45", 45.0), ("1.5d", 129_600.0)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1w", "1 h", "--1h", "1e3s"])
def test_other_times_are_refused_with_examples(text):
    with pytest.raises(UsageError, match=r"like \+1h, -30m or 90s"):
        seconds_of(text)


def faults_at(lab, site="porto"):
    return FaultFile(lab.home(site)).now


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (["F1"], SiteFaults(slow_s=60.0)),
        (["f2", "porto"], SiteFaults(fails="device")),
        (["F4"], SiteFaults(disk="read-only")),
        (["F5"], SiteFaults(slow_s=60.0, mute=True)),
        (["F6"], SiteFaults(cut=("bonn", "lund"), ledger_cut=True)),
        (["F7"], SiteFaults(worker_dies=True)),
        (["F10"], SiteFaults(deaf_to=("figures",))),
        (["slow", "porto", "5s"], SiteFaults(slow_s=5.0)),
        (["slow", "porto"], SiteFaults(slow_s=60.0)),
        (["clock", "porto", "-1h"], SiteFaults(clock_s=-3600.0)),
        (["disk-full", "porto"], SiteFaults(disk="full")),
        (["partition", "porto"], SiteFaults(cut=("bonn", "lund"), ledger_cut=True)),
        (["partition", "porto,lund"], SiteFaults(cut=("bonn",))),
    ],
)
def test_a_fault_is_written_to_the_home_of_its_site_and_said(lab, words, faults):
    said = do_fault(lab, words)
    assert faults_at(lab) == faults
    assert "porto" in said[0]
    do_fault(lab, ["heal"])
    assert faults_at(lab) == SiteFaults()


def test_all_ten_are_there():
    assert list(FAILURES) == [f"F{n}" for n in range(1, 11)]


def test_f3_starts_a_killed_node_again_and_has_a_second_one_refused_by_name(lab):
    before = lab.lab.proc("site", "porto").pid
    again, second = do_fault(lab, ["F3", "porto"])
    assert "without a manual step" in again
    assert "a second node was refused (1): error:" in second
    assert f"process {lab.lab.proc('site', 'porto').pid}" in second
    assert lab.lab.proc("site", "porto").pid != before


def test_f8_lasts_ten_seconds(lab, monkeypatch):
    seen = []
    monkeypatch.setattr("time.sleep", lambda s: seen.append((s, faults_at(lab))))
    do_fault(lab, ["F8", "porto"])
    monkeypatch.undo()
    assert seen == [(10.0, SiteFaults(not_ready="data"))]
    assert faults_at(lab) == SiteFaults()


def test_kill_and_freeze_are_ended_by_heal(lab):
    for what in ("kill", "freeze"):
        do_fault(lab, [what, "porto"])
        do_fault(lab, ["heal"])
    assert lab.lab.proc("site", "porto").is_alive


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["F11"], "unknown fault 'F11'; available: F1, F2"),
        (["F1", "rome"], "no site 'rome'"),
        (["F1", "porto", "lund"], "F1 takes one site at most"),
        (["kill"], "write: cohortium lab fault kill SITE"),
        (["partition"], "write: cohortium lab fault partition"),
        (["partition", "porto", "porto,lund"], "in one part only"),
        (["partition", "rome"], "no site 'rome'"),
        (["slow"], "write: cohortium lab fault slow"),
        (["slow", "rome"], "no site 'rome'"),
        (["clock", "porto"], "write: cohortium lab fault clock"),
        (["clock", "porto", "noon"], "a time is written like"),
        (["disk-full", "rome"], "no site 'rome'"),
        (["heal", "porto"], "it takes no site"),
    ],
)
def test_wrong_words_are_refused_with_the_right_ones(running, words, sentence):
    with pytest.raises(UsageError, match=sentence):
        do_fault(running, words)
