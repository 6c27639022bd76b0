"""Where a consortium begins: equal facts, equal identity; other facts, another one."""

from dataclasses import replace

import pytest

from cohortium.ledger.genesis import Genesis
from cohortium.ledger.rules import Founder


def test_order_of_founders_does_not_matter(hospitals):
    one = hospitals.genesis_of("local")
    other = replace(one, founders=tuple(reversed(one.founders)))
    assert (other.consortium, other.contract, other.deployment) == (one.consortium, one.contract, one.deployment)


def test_every_fact_changes_identity_and_address(hospitals):
    one = hospitals.genesis_of("local")
    others = [
        replace(one, chain_id=7002),
        replace(one, time=one.time + 1),
        replace(one, founders=one.founders[1:]),
        replace(one, founders=(hospitals.founder("riga"), *one.founders[1:])),
    ]
    assert len({g.consortium for g in [one, *others]}) == 5
    assert len({g.contract for g in [one, *others]}) == 5


def test_the_engine_changes_the_identity_and_not_the_address(hospitals):
    local, memory = hospitals.genesis_of("local"), hospitals.genesis_of("memory")
    assert local.consortium != memory.consortium
    assert local.contract == memory.contract
    assert local.deployment == memory.deployment


def test_facts_describe_it_completely(hospitals):
    one = hospitals.genesis_of("local")
    again = Genesis.from_facts(one.facts())
    assert again == one
    assert again.consortium == one.consortium


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"founders": ()}, "1 to 128 founders, got 0"),
        ({"time": 0}, "time must be"),
        ({"chain_id": 0}, "chain id must be"),
        ({"chain_id": 2**53}, "chain id must be"),
        ({"founders": (Founder(bytes(19), "a", bytes(32), bytes(32)),)}, "founder 'a'"),
        ({"founders": (Founder(bytes(20), "A", bytes(32), bytes(32)),)}, "site name must be"),
        ({"founders": (Founder(bytes(20), "a", bytes(32), bytes(32)),) * 2}, "the same name"),
        (
            {"founders": tuple(Founder(bytes(20), name, bytes(32), bytes(32)) for name in "ab")},
            "the same address",
        ),
    ],
)
def test_impossible_beginnings_are_refused(hospitals, change, says):
    with pytest.raises(ValueError, match=says):
        replace(hospitals.genesis_of("local"), **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"code_hash": "00" * 32}, "another contract code"),
        ({"extra": 1}, "genesis holds"),
        ({"founders": "bonn"}, "each founder"),
        ({"founders": [{"name": "bonn"}]}, "each founder"),
        ({"founders": [{"name": 1, "address": "", "tls": "", "seal": ""}]}, "each founder"),
        ({"engine": 3}, "engine is text"),
        ({"chain_id": True}, "whole numbers"),
        ({"time": 1.5}, "whole numbers"),
    ],
)
def test_other_facts_are_refused(hospitals, change, says):
    with pytest.raises(ValueError, match=says):
        Genesis.from_facts({**hospitals.genesis_of("local").facts(), **change})
