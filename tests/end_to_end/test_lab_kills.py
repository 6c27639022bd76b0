"""`kill -9` of real nodes at every stage of a round, the leader and all at once included: the same final digest."""

from collections import Counter

import pytest

from cohortium.lab.site_faults import Death, SiteFaults, deaths_died

from .labs import SITES, digests, lab_of, one_chain, propose, simulated

pytest.importorskip("grpc")
pytest.importorskip("eth")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

STAGES = (
    ("trained", "after", ""),  # collect: trained, not committed
    ("stepped", "after", "shares"),  # the set is frozen, the shares are not sent
    ("merged", "before", ""),  # the merge is lost
    ("attested", "after", ""),  # attested, nobody knows
    ("adopted", "before", ""),  # final, not adopted
)
NOT_NEEDED_OF_ALL = {"unmask", "merged", "attested"}
"""Once enough have answered, merged and attested, a round goes on without the others'."""

FIRST = 2
ALONE = {
    FIRST + turn * len(SITES) + at: (site, *STAGES[(at + turn) % len(STAGES)])
    for turn in range(len(STAGES))
    for at, site in enumerate(SITES)
}
"""By round, who dies there and when: each site at each stage, so that leaders are among them."""

LAST = max(ALONE)
TOGETHER = {
    LAST + 1: ("trained", "before", ""),
    LAST + 2: ("stepped", "before", "masked"),
    LAST + 3: ("stepped", "after", "unmask"),
    LAST + 4: ("merged", "after", ""),
    LAST + 5: ("adopted", "after", ""),
}
"""Rounds in which every node dies, the leader among them."""


def deaths_of(site):
    alone = [Death(fact=f, round=n, when=w, step=s) for n, (who, f, w, s) in ALONE.items() if who == site]
    return (*alone, *(Death(fact=f, round=n, when=w, step=s) for n, (f, w, s) in TOGETHER.items()))


def test_nodes_killed_at_every_stage_and_all_at_once_end_with_the_digest_of_a_run_without_kills(tmp_path):
    with lab_of(tmp_path / "lab") as lab:
        for site in SITES:
            lab.fault(site, SiteFaults(deaths=deaths_of(site)))
        number, study = propose(lab, strategy={"rounds": LAST + 6}, swarm={"silence_s": 120.0, "max_round_s": 3600.0})
        ended = lab.wait_for_run(number, timeout_s=1300, meanwhile=lab.start)
        died = {site: deaths_died(lab.home(site)) for site in SITES}
        assert {held["sentence"] for held in ended.values()} == {"complete"}
        assert digests(lab, number) == {simulated(lab, study)}
        one_chain(lab)
    print("killed", sum(len(names) for names in died.values()), "times")
    passed_by = Counter()
    for site in SITES:
        for death in deaths_of(site):
            if death.name not in died[site]:
                passed_by[death.step or death.fact, death.when] += 1
    print("passed by:", dict(passed_by))
    assert {stage for stage, _ in passed_by} <= NOT_NEEDED_OF_ALL
    assert max(passed_by.values(), default=0) <= 3, "each stage was met by most sites"
