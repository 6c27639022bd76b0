"""One folder, one node, one process: never overwritten, held by a lock that dies with its holder."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from cohortium.errors import CohortiumError, FrameError, UsageError
from cohortium.node.founding import propose_founding
from cohortium.node.home import Home

NOW = 1_800_000_000.0


def test_a_new_home_is_private(made):
    assert stat.S_IMODE((made / "porto").stat().st_mode) == 0o700
    assert stat.S_IMODE((made / "porto" / "node.toml").stat().st_mode) == 0o644
    for name in ("keys", "peers", "blobs", "runs", "studies", "evidence", "logs"):
        assert stat.S_IMODE((made / "porto" / name).stat().st_mode) == 0o700


def test_a_home_is_opened_as_it_was_made(made):
    home = Home.open(made / "porto")
    assert (home.site, home.settings.network.advertise) == ("porto", "localhost:4430")
    assert home.card(NOW).endpoint == "localhost:4430"
    assert home.founding.complete
    assert home.ledger_host == "porto"


def test_keys_are_never_overwritten(porto):
    before = porto.keys.ledger
    with pytest.raises(UsageError, match="holds a node already"):
        Home.create(porto.path, site="porto", now=NOW)
    (porto.path / "node.toml").unlink()
    with pytest.raises(UsageError, match=r"holds a node already \(keys\)"):
        Home.create(porto.path, site="porto", now=NOW)
    assert Home.create(porto.path.with_name("new"), site="porto", now=NOW).keys.ledger != before


def test_wrong_values_are_refused_before_a_key_is_made(tmp_path):
    with pytest.raises(UsageError, match=r"network\.advertise"):
        Home.create(tmp_path / "home", site="porto", now=NOW, advertise="nowhere")
    assert not (tmp_path / "home").exists()


def test_no_node_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="no node in") as caught:
        Home.open(tmp_path)
    assert "cohortium node init" in caught.value.hint


def test_a_given_patients_secret_is_kept_and_another_is_drawn_else(tmp_path, made):
    home = Home.create(tmp_path / "lab", site="porto", now=NOW, patients=b"s" * 32)
    assert home.keys.patients == b"s" * 32
    assert (home.path / "keys" / "patients.key").read_bytes() == b"s" * 32
    assert Home.open(made / "porto").keys.patients != Home.open(made / "bonn").keys.patients


def test_one_home_serves_one_consortium(homes):
    cards = [home.card(NOW) for home in homes.values()]
    other = propose_founding(cards, engine="local", host="porto", chain_id=7002, time=int(NOW))
    with pytest.raises(UsageError, match="another consortium"):
        homes["porto"].keep_founding(other)


def test_a_damaged_founding_is_said(porto):
    (porto.path / "consortium.json").write_text("{}")
    with pytest.raises(FrameError, match=r"no consortium\.json"):
        _ = porto.founding


def test_the_book_of_cards_begins_with_the_founders(porto):
    book = porto.cards()
    assert [len(book.of(site)) for site in ("bonn", "lund", "porto", "oslo")] == [1, 1, 1, 0]


def test_new_keys_are_staged_then_promoted(porto):
    before = porto.card(NOW)
    assert porto.staged_digest() is None
    staged = porto.stage_keys(NOW)
    assert (staged.address, porto.staged_digest()) == (before.address, staged.tls)
    assert porto.card(NOW).tls == before.tls
    porto.promote_keys()
    assert porto.card(NOW).tls == staged.tls
    assert porto.staged_digest() is None


def test_relative_paths_of_the_table_start_at_the_home(porto):
    assert porto.table is None
    (porto.path / "node.toml").write_text('[node]\nsite = "porto"\n[data]\ntable = "table.csv"\nmapping = "/etc/map"\n')
    again = Home.open(porto.path)
    assert (again.table, str(again.mapping)) == (porto.path / "table.csv", "/etc/map")


# the lock


def test_the_second_process_is_refused_and_told_who_holds_it(porto):
    assert porto.holder() == ""
    with porto.lock("cohortium node start"):
        assert f"cohortium node start, process {os.getpid()}" in porto.holder()
        held = f"in use by cohortium node start, process {os.getpid()}"
        with pytest.raises(CohortiumError, match=held) as caught, Home.open(porto.path).lock():
            pass
        assert caught.value.exit_code == 1
    with porto.lock():
        pass


def test_a_killed_holder_leaves_nothing_to_clean_up(porto):
    code = (
        "import sys, pathlib\nfrom cohortium.node.home import Home\n"
        "with Home.open(pathlib.Path(sys.argv[1])).lock('killed one'):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(porto.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert "killed one" in porto.holder()
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=30)
    assert porto.holder() == ""
    with porto.lock():
        pass
