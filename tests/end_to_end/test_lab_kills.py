"""`kill -9` of real nodes at every stage of a round, the leader and all at once included: the same final digest."""

import pytest

from cohortium.lab.site_faults import Death, SiteFaults, deaths_died

from .labs import SITES, digests, lab_of, propose, simulated

pytest.importorskip("grpc")
pytest.importorskip("eth")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

STAGES = (
    ("trained", "before"),  # collect: the training is lost
    ("trained", "after"),  # collect: trained, not committed
    ("merged", "before"),  # the set is frozen, the merge is lost
    ("merged", "after"),  # merged, neither published nor attested
    ("adopted", "before"),  # final, not adopted
    ("adopted", "after"),  # adopted, the next round not begun
)
FIRST, TURNS = 2, 3
ALONE = {
    FIRST + turn * len(SITES) + at: (site, *STAGES[(at + 2 * turn) % len(STAGES)])
    for turn in range(TURNS)
    for at, site in enumerate(SITES)
}
"""By round, who dies there and when: each site at three stages, each stage at two or three sites."""

LAST = max(ALONE)
TOGETHER = {LAST + 1: ("attested", "after"), LAST + 2: ("trained", "after"), LAST + 3: ("merged", "before")}
"""Rounds in which every node dies, the leader among them. Once enough have attested, the others need not any more."""


def deaths_of(site):
    alone = [Death(fact=fact, round=n, when=when) for n, (who, fact, when) in ALONE.items() if who == site]
    return (*alone, *(Death(fact=fact, round=n, when=when) for n, (fact, when) in TOGETHER.items()))


def test_nodes_killed_at_every_stage_and_all_at_once_end_with_the_digest_of_a_run_without_kills(tmp_path):
    with lab_of(tmp_path / "lab") as lab:
        for site in SITES:
            lab.fault(site, SiteFaults(deaths=deaths_of(site)))
        number, study = propose(lab, strategy={"rounds": LAST + 4}, swarm={"silence_s": 120.0, "max_round_s": 3600.0})
        ended = lab.wait_for_run(number, timeout_s=1100, meanwhile=lab.start)
        died = {site: deaths_died(lab.home(site)) for site in SITES}
        assert {held["sentence"] for held in ended.values()} == {"complete"}
        assert digests(lab, number) == {simulated(lab, study)}
    print("killed", sum(len(names) for names in died.values()), "times")
    attested = {death.name for death in deaths_of(SITES[0]) if death.fact == "attested"}
    for site in SITES:
        meant = {death.name for death in deaths_of(site)}
        assert meant - died[site] <= attested, f"{site} was not killed at all of its points"
    assert sum(bool(names & attested) for names in died.values()) >= 3
