"""Which of several streams to one peer is in use."""

from cohortium.transport.links import Link, Links


def link(peer: str, *, dialled: bool, instance: bytes = b"one", stream="control") -> Link:
    return Link(
        peer=peer, stream=stream, dialled=dialled, instance=instance, fingerprint=bytes(32), cut=lambda why: None
    )


def test_a_peer_is_ready_once_both_streams_stand() -> None:
    links = Links("m")
    control, bulk = link("a", dialled=True), link("a", dialled=True, stream="bulk")
    assert links.attach(control) == ("", None)
    assert not links.ready("a")
    links.attach(bulk)
    assert links.ready("a")
    assert links.peers() == ("a",)
    assert set(links.all()) == {control, bulk}
    assert links.detach(bulk)
    assert not links.ready("a")


def test_a_new_stream_from_the_same_side_replaces_the_old_one() -> None:
    links = Links("m")
    old, new = link("a", dialled=False), link("a", dialled=False)
    links.attach(old)
    assert links.attach(new) == ("", old)
    assert not links.detach(old)
    assert links.live("a", "control") is new


def test_where_both_dialled_both_sites_keep_the_stream_of_the_earlier_one() -> None:
    for first_dialled_by_a in (True, False):
        at_a, at_b = Links("a"), Links("b")
        kept = {}
        for site, links, peer in (("a", at_a, "b"), ("b", at_b, "a")):
            for by_a in (first_dialled_by_a, not first_dialled_by_a):
                links.attach(link(peer, dialled=by_a == (site == "a")))
            kept[site] = links.live(peer, "control").dialled
        assert kept == {"a": True, "b": False}


def test_the_refused_one_hears_why() -> None:
    links = Links("a")
    links.attach(link("b", dialled=True))
    assert links.attach(link("b", dialled=False)) == ("'a' and 'b' are connected already", None)


def test_another_instance_replaces_whoever_dialled() -> None:
    links = Links("a")
    old, new = link("b", dialled=True), link("b", dialled=False, instance=b"two")
    links.attach(old)
    assert links.attach(new) == ("", old)


def test_an_instance_that_comes_back_while_its_successor_talks_is_refused() -> None:
    links = Links("a")
    links.attach(link("b", dialled=False, instance=b"one"))
    successor = link("b", dialled=False, instance=b"two")
    links.attach(successor)
    why, _ = links.attach(link("b", dialled=False, instance=b"one"))
    assert "two processes hold its keys" in why
    assert links.live("b", "control") is successor


def test_it_may_come_back_once_its_successor_is_gone() -> None:
    links = Links("a")
    links.attach(link("b", dialled=False, instance=b"one"))
    successor = link("b", dialled=False, instance=b"two")
    links.attach(successor)
    links.detach(successor)
    assert links.attach(link("b", dialled=False, instance=b"one")) == ("", None)
