from cohortium.swarm.actions import Fact, Outcome


def test_outcome_reads_in_the_three_words_a_run_may_end_with() -> None:
    assert str(Outcome(status="complete", rounds=3)) == "complete"
    partial = Outcome(status="partial", rounds=3, merged={"a": 3, "b": 1, "c": 3}, satisfied=("a", "c"))
    assert str(partial) == "partial (2/3 sites)"
    failed = Outcome(status="failed", rounds=0, site="porto", stage="train", reason="device")
    assert str(failed) == "failed (porto, train, device)"


def test_facts_are_values() -> None:
    assert Fact(kind="trained", run=1, round=2) == Fact(kind="trained", run=1, round=2)
    assert Fact(kind="trained", run=1) != Fact(kind="adopted", run=1)
