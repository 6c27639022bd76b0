from cohortium.sim.attribution import REFUSED_HANDSHAKE, attributions
from cohortium.swarm.notices import Refused, RoundRecord, Troubled

DEVICE = Troubled(site="a", round=2, stage="train", code="device")


def test_each_trouble_is_attributed_once_with_the_time_until_all_knew() -> None:
    other = Troubled(site="b", round=1, stage="load", code="data")
    record = RoundRecord(site="a", round=1, turn=1, digest=b"", contributors=("a",), leader="a")
    notices = [(5.0, "a", DEVICE), (5.5, "b", DEVICE), (7.0, "c", DEVICE), (9.0, "c", DEVICE), (2.0, "b", other)]
    first, second = attributions([*notices, (1.0, "a", record)], ("a", "b", "c"))
    assert (first.site, first.stage, first.code, first.at_s) == ("b", "load", "data", 2.0)
    assert first.missing == ("a", "c")
    assert str(first) == "b (load, data) after 2 s, known at no other site"
    assert second.heard_s == {"b": 0.5, "c": 2.0}
    assert (second.within_s, second.missing) == (2.0, ())
    assert str(second) == "a (train, device) after 5 s, known at 2 other sites 2.0 s later"


def test_sites_that_never_knew_are_named() -> None:
    (told,) = attributions([(5.0, "a", DEVICE), (6.0, "b", DEVICE)], ("a", "b", "c"))
    assert str(told) == "a (train, device) after 5 s, known at 1 other site 1.0 s later; not at c"


def test_a_site_with_a_refused_certificate_is_known_by_the_refusal() -> None:
    refused = Refused(site="a", why=f"{REFUSED_HANDSHAKE}: the certificate is not the one on the ledger")
    noise = Refused(site="b", why="a frame of 9 bytes")
    (told,) = attributions([(3.0, "b", refused), (4.0, "c", refused), (4.0, "c", noise)], ("a", "b", "c"))
    assert (told.site, told.stage, told.code, told.missing) == ("a", "connect", "certificate", ("a",))
