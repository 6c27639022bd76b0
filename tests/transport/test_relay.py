from cohortium.transport.relay import Routes, Waiting


def test_room_is_given_up_to_the_limit_of_a_pair_and_comes_back() -> None:
    waiting = Waiting(pair_bytes=100, total_bytes=1000)
    first, second = waiting.take("a", "b", 60), waiting.take("b", "a", 40)
    assert waiting.take("a", "b", 1) is None
    assert waiting.take("a", "c", 100) is not None
    assert waiting.total == 200
    first()
    assert waiting.take("b", "a", 60) is not None
    second()
    assert waiting.total == 160


def test_room_is_bounded_for_all_pairs_together() -> None:
    waiting = Waiting(pair_bytes=100, total_bytes=250)
    assert [waiting.take("hub", f"site-{i}", 100) is not None for i in range(4)] == [True, True, False, False]


def test_the_first_preferred_relay_that_reaches_a_peer_is_taken() -> None:
    routes = Routes()
    for relay in ("bonn", "lund", "oslo"):
        routes.heard(relay, ["porto", "turin"])
    assert routes.via("porto", preferred=["nobody", "lund", "bonn"]) == "lund"
    assert routes.via("porto", preferred=[]) == "bonn"
    routes.lost("bonn")
    routes.heard("lund", [])
    assert routes.via("porto", preferred=["lund"]) == "oslo"
    assert routes.via("genoa", preferred=["oslo"]) == ""
