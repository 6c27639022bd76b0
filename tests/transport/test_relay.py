from cohortium.transport.relay import Routes, Waiting


def test_room_is_given_up_to_the_limit_of_a_pair_and_comes_back() -> None:
    waiting = Waiting(pair_bytes=20_000, total_bytes=1_000_000)
    first, second = waiting.take("a", "b", 12_000), waiting.take("b", "a", 6_900)
    assert waiting.take("a", "b", 1) is None
    assert waiting.take("a", "c", 19_000) is not None
    held = waiting.total
    first()
    assert waiting.take("b", "a", 12_000) is not None
    assert waiting.total == held
    second()
    assert waiting.total < held


def test_many_small_frames_are_bounded_by_what_each_of_them_takes() -> None:
    waiting = Waiting(pair_bytes=64 << 10)
    taken = 0
    while waiting.take("a", "b", 1) is not None:
        taken += 1
    assert taken < 130


def test_room_is_bounded_for_all_pairs_together() -> None:
    waiting = Waiting(pair_bytes=10_000, total_bytes=25_000)
    assert [waiting.take("hub", f"site-{i}", 9_000) is not None for i in range(4)] == [True, True, False, False]


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
