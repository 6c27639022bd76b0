from cohortium.transport.traffic import UNFINISHED, Doorbook, Tally, Traffic


def test_counts_add_up_by_peer() -> None:
    tally = Tally()
    tally.add("porto", sent_bytes=10, sent=1)
    tally.add("porto", sent_bytes=5, sent=1, lost=1)
    tally.add("bonn", refused=1)
    assert tally.read() == {"bonn": Traffic(refused=1), "porto": Traffic(sent_bytes=15, sent=2, lost=1)}


def test_refusals_are_counted_by_reason() -> None:
    book = Doorbook(lambda: 0.0)
    for why in ("TLSv1.2 is not TLSv1.3", "stranger", "stranger"):
        book.refuse(why)
    assert book.read() == {"TLSv1.2 is not TLSv1.3": 1, "stranger": 2}


def test_reasons_are_bounded() -> None:
    book = Doorbook(lambda: 0.0)
    for i in range(1000):
        book.refuse(f"certificate {i} is of no active member")
    assert len(book.read()) == 65
    assert sum(book.read().values()) == 1000
    assert book.read()["other"] == 936


def test_a_connection_that_made_no_call_in_time_was_refused_in_its_handshake() -> None:
    now = [0.0]
    book = Doorbook(lambda: now[0])
    for _ in range(3):
        book.begun()
    book.called("ipv4:127.0.0.1:5")
    book.called("ipv4:127.0.0.1:5")
    now[0] = 9.0
    assert book.read() == {}
    now[0] = 11.0
    assert book.read() == {UNFINISHED: 2}
    assert book.read() == {UNFINISHED: 2}


def test_connections_are_remembered_within_bounds() -> None:
    book = Doorbook(lambda: 0.0)
    for i in range(10_000):
        book.begun()
        book.called(f"ipv4:10.0.0.1:{i}")
    assert len(book._known) <= 4096
    assert book.read() == {}
