"""From a home to its ledger: only when all founders have signed, and only where this site can have it."""

import contextlib

import pytest

from cohortium.errors import LedgerUnreachable, StudyError, UsageError
from cohortium.node.chain import agreed_founding, client_tls, open_chain
from cohortium.node.founding import propose_founding
from cohortium.node.home import Home

NOW = 1_800_000_000.0


def test_the_host_founds_once_and_opens_ever_after(porto):
    with contextlib.closing(open_chain(porto, clock=lambda: NOW)) as ledger:
        assert ledger.head().height == 1
        with pytest.raises(LedgerUnreachable, match="held by another process"):
            open_chain(porto, clock=lambda: NOW)
    with contextlib.closing(open_chain(porto, clock=lambda: NOW)) as ledger:
        assert ledger.genesis == porto.founding.genesis


def test_another_site_needs_a_way_to_ask(homes):
    with pytest.raises(UsageError, match="hosted by 'porto'"):
        open_chain(homes["bonn"], clock=lambda: NOW)


def test_without_a_consortium_there_is_no_ledger(tmp_path):
    home = Home.create(tmp_path / "porto", site="porto", now=NOW)
    with pytest.raises(UsageError, match="belongs to no consortium yet"):
        agreed_founding(home)


def test_without_all_signatures_there_is_no_ledger(tmp_path, homes):
    home = Home.create(tmp_path / "porto", site="porto", now=NOW)
    cards = [home.card(NOW), homes["bonn"].card(NOW)]
    founding = propose_founding(cards, engine="local", host="porto", chain_id=7, time=int(NOW))
    home.keep_founding(founding.signed("porto", home.keys.ledger))
    with pytest.raises(UsageError, match="missing signatures: bonn"):
        agreed_founding(home)


def test_the_files_for_etcd_are_named_together_and_lie_in_the_home(porto):
    assert client_tls(porto) is None
    head = '[node]\nsite = "porto"\n[ledger]\n'
    (porto.path / "node.toml").write_text(f'{head}authority = "ca.pem"\ncertificate = "/etc/c.pem"\nkey = "c.key"\n')
    files = client_tls(Home.open(porto.path))
    assert (files.ca, str(files.certificate), files.key) == (porto.path / "ca.pem", "/etc/c.pem", porto.path / "c.key")
    (porto.path / "node.toml").write_text(f'{head}authority = "ca.pem"\n')
    with pytest.raises(StudyError, match="named together"):
        Home.open(porto.path)
