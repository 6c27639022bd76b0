import socket

import pytest

from cohortium.errors import CohortiumError
from cohortium.lab import ports
from cohortium.lab.ports import free_ports


def test_ports_are_different_free_and_below_those_the_system_gives_away():
    found = free_ports(30)
    assert len(set(found)) == 30
    assert all(20_000 <= port < 32_000 for port in found)


def test_taken_ports_are_not_given_and_want_of_any_is_said(monkeypatch):
    monkeypatch.setattr(ports, "_FIRST", 25_000)
    monkeypatch.setattr(ports, "_LAST", 25_001)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 25_000))
        assert free_ports(1) == [25_001]
        with pytest.raises(CohortiumError, match="no 1 free ports between 25000 and 25001"):
            free_ports(1, taken=[25_001])
