"""A consortium is founded by all its founders: sorted, signed by each, refused when anything differs."""

import json
from itertools import permutations

import pytest

from cohortium.errors import FrameError, SignatureError, UsageError
from cohortium.node.founding import MAX_FOUNDING_BYTES, Founding, propose_founding
from cohortium.node.home import Home

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def parts(made):
    opened = {site: Home.open(made / site) for site in ("bonn", "lund", "porto")}
    cards = {site: home.card(float(NOW)) for site, home in opened.items()}
    return {site: home.keys.ledger for site, home in opened.items()}, cards


def propose(cards, **other):
    said = {"engine": "local", "host": "porto", "chain_id": 7001, "time": NOW}
    return propose_founding(cards, **{**said, **other})


def test_the_order_of_the_request_files_does_not_matter(parts):
    _, cards = parts
    assert len({propose(order).genesis.consortium for order in permutations(cards.values())}) == 1


def test_it_is_complete_when_every_founder_has_signed(parts):
    keys, cards = parts
    founding = propose(cards.values())
    assert founding.missing == ("bonn", "lund", "porto")
    for site in ("porto", "bonn"):
        founding = founding.signed(site, keys[site])
    assert (founding.complete, founding.missing) == (False, ("lund",))
    assert founding.signed("lund", keys["lund"]).complete


def test_signatures_given_apart_are_joined(parts):
    keys, cards = parts
    one = propose(cards.values()).signed("porto", keys["porto"])
    two = propose(cards.values()).signed("bonn", keys["bonn"])
    assert set(one.merged(two).signatures) == {"porto", "bonn"}
    with pytest.raises(UsageError, match="two different consortia"):
        one.merged(propose(cards.values(), time=NOW + 1))


def test_it_is_read_as_it_was_written(parts):
    keys, cards = parts
    founding = propose(cards.values()).signed("porto", keys["porto"])
    assert Founding.from_bytes(founding.to_bytes()) == founding
    assert Founding.from_bytes(founding.to_bytes()).fingerprint == founding.fingerprint


def test_a_stranger_cannot_sign_and_no_founder_for_another(parts):
    keys, cards = parts
    founding = propose(cards.values())
    with pytest.raises(UsageError, match="'oslo' is no founder"):
        founding.signed("oslo", keys["porto"])
    with pytest.raises(UsageError, match="another ledger key"):
        founding.signed("porto", keys["bonn"])


def test_a_signature_of_another_is_refused(parts):
    keys, cards = parts
    founding = propose(cards.values()).signed("porto", keys["porto"])
    said = json.loads(founding.to_bytes())
    said["signatures"] = {"bonn": said["signatures"]["porto"]}
    with pytest.raises(SignatureError, match="'bonn' is not its own"):
        Founding.from_bytes(json.dumps(said).encode())


@pytest.mark.parametrize("change", ["time", "chain_id", "host", "endpoint"])
def test_the_signatures_cover_everything(parts, change):
    keys, cards = parts
    said = json.loads(propose(cards.values()).signed("porto", keys["porto"]).to_bytes())
    if change == "host":
        said["host"] = "bonn"
    elif change == "endpoint":
        said["cards"][2]["endpoint"] = "evil.example:443"
    else:
        said["genesis"][change] += 1
    with pytest.raises(SignatureError):
        Founding.from_bytes(json.dumps(said).encode())


def test_the_identity_covers_keys_engine_time_and_chain(parts):
    _, cards = parts
    first = propose(cards.values())
    others = [
        propose(cards.values(), time=NOW + 1),
        propose(cards.values(), chain_id=7002),
        propose(cards.values(), engine="replicated", host=""),
        propose([cards["porto"], cards["bonn"]]),
    ]
    assert len({one.fingerprint for one in [first, *others]}) == 5


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"host": ""}, "hosted by one of the founders"),
        ({"host": "oslo"}, "hosted by one of the founders"),
        ({"engine": "replicated"}, "has no host"),
        ({"chain_id": 0}, "chain id"),
        ({"engine": "memory"}, "unknown ledger engine 'memory'"),
    ],
)
def test_what_cannot_begin_is_refused(parts, other, sentence):
    with pytest.raises(UsageError, match=sentence):
        propose(parts[1].values(), **other)


def test_a_founder_twice_is_refused(parts):
    _, cards = parts
    with pytest.raises(UsageError, match="two founders have the same name"):
        propose([cards["porto"], cards["porto"]])


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b"\xff", b"x" * (MAX_FOUNDING_BYTES + 1), b'{"cards":[]}'], ids=range(6)
)
def test_what_is_no_founding_is_refused(raw):
    with pytest.raises(FrameError, match=r"consortium\.json"):
        Founding.from_bytes(raw)


@pytest.mark.parametrize(
    ("field", "value"),
    [("cards", {}), ("cards", ["x"]), ("genesis", []), ("host", 1), ("signatures", []), ("signatures", {"porto": 1})],
)
def test_each_field_has_its_form(parts, field, value):
    said = json.loads(propose(parts[1].values()).to_bytes())
    said[field] = value
    with pytest.raises(FrameError):
        Founding.from_bytes(json.dumps(said).encode())
