from cohortium.swarm.actions import Fact
from cohortium.swarm.own import Own


def test_facts_fold_in_order_and_the_newest_merge_wins() -> None:
    own = Own()
    own.remember(Fact(kind="consent", run=1, number=1, digest=b"c", data=b"n"))
    own.remember(Fact(kind="adopted", run=1, round=1, digest=b"a"))
    own.remember(Fact(kind="adopted", run=1, round=3, digest=b"b", number=1))
    own.remember(Fact(kind="adopted", run=1, round=2, digest=b"x"))
    assert own.consent == (True, b"c", b"n")
    assert own.adopted == (3, b"b")
    assert own.finished
    assert own.held == {b"a", b"b"}


def test_first_answer_that_reveals_shares_fixes_the_attempt() -> None:
    own = Own()
    own.remember(Fact(kind="stepped", run=1, round=2, attempt=1, step="unmask", digest=b"d", number=1))
    own.remember(Fact(kind="stepped", run=1, round=2, attempt=2, step="unmask", digest=b"e", number=1))
    assert own.revealed == {2: 1}


def test_merges_are_kept_by_what_they_were_made_of() -> None:
    own = Own()
    own.remember(Fact(kind="merged", run=1, round=2, attempt=0, digest=b"m", data=b"bonn,porto"))
    assert own.merges == {(2, 0, ("bonn", "porto")): b"m"}


def test_old_rounds_are_let_go() -> None:
    own = Own()
    for round in (1, 2, 3):
        own.remember(Fact(kind="trained", run=1, round=round, digest=b"t"))
        own.remember(Fact(kind="stepped", run=1, round=round, attempt=1, step="masked", digest=b"s"))
        own.remember(Fact(kind="attested", run=1, round=round, term=0, digest=b"a"))
        own.received[round, 0, "updates"]["porto"] = b"r"
    own.forget_before(3)
    assert set(own.trained) == {3}
    assert set(own.stepped) == {(3, 1, "masked")}
    assert set(own.received) == {(3, 0, "updates")}
    assert set(own.attested) == {(3, 0)}
