"""One line a round, said when all have adopted it; figures are means over sites."""

from cohortium.sim.progress import Progress
from cohortium.swarm.notices import RoundRecord

SITES = ("bonn", "lund")


def record(site, turn, *, measures, contributors=SITES):
    return RoundRecord(
        site=site,
        round=turn,
        turn=turn,
        digest=bytes([turn]) * 32,
        contributors=contributors,
        leader="lund",
        measures=measures,
        ended_s=float(turn),
    )


def listening(stages=None):
    said = []
    return Progress(sites=SITES, max_rounds=7, stages=stages or {}, say=said.append), said


def test_a_round_is_said_once_all_sites_have_adopted_it():
    progress, said = listening()
    progress.hear(record("bonn", 1, measures={"auroc": 0.8}))
    assert said == []
    progress.hear(record("lund", 1, measures={"auroc": 0.9}))
    assert len(said) == 1
    assert said[0].startswith("round   1/7  2/2 sites  AUROC 0.850")
    assert "leader lund" in said[0]


def test_a_round_that_not_all_adopt_is_said_before_the_next_and_at_the_end():
    progress, said = listening()
    progress.hear(record("bonn", 1, measures={}))
    progress.hear(record("bonn", 2, measures={}, contributors=("bonn",)))
    assert [line[:21] for line in said] == ["round   1/7  2/2 site"]
    progress.close()
    progress.close()
    assert len(said) == 2
    assert "1/2 sites" in said[1]


def test_preparations_are_named_and_models_are_not():
    progress, said = listening({1: "standard", 2: "model"})
    for turn in (1, 2):
        for site in SITES:
            progress.hear(record(site, turn, measures={}))
    assert "prepares: standard" in said[0]
    assert "prepares" not in said[1]


def test_the_merged_figure_is_the_mean_of_the_sites_that_have_it():
    progress, _ = listening()
    progress.hear(record("bonn", 1, measures={"auroc": 0.5, "brier": 0.2}))
    progress.hear(record("lund", 1, measures={"auroc": 1.0}))
    assert progress.merged(progress.rounds[0]) == {"auroc": 0.75, "brier": 0.2}
