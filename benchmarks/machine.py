"""CPU cost of one event in the round machine, at 83 sites and 20 rounds (target 50 us, limit 100 us).

    python -m benchmarks machine [sites] [rounds]

Drives one machine through whole rounds in mode `all`: every commit, offer, payload and attestation of every site.
"""

import argparse
import time
from hashlib import sha256

from cohortium.core.exchange import PLAIN
from cohortium.core.seams import LedgerEvent
from cohortium.swarm import events as ev
from cohortium.swarm.actions import Adopt, Merge, Recompute, RunStep, Submit, Train
from cohortium.swarm.machine import RoundMachine
from cohortium.swarm.waiting import Policy


def _digest(*words: object) -> bytes:
    return sha256(repr(words).encode()).digest()


def _recorded(height: int, name: str, **args: object) -> ev.Recorded:
    return ev.Recorded(LedgerEvent(height, 0, name, {"run": 1, **args}))


def founding(sites: list[str], n_rounds: int) -> list[ev.Event]:
    """Everything until the first round."""
    everyone = (1 << len(sites)) - 1
    events: list[ev.Event] = [
        _recorded(0, "MemberChanged", site=site, account=_digest(site)[:20], status=1) for site in sites
    ]
    events.append(_recorded(1, "Proposed", spec=bytes(32), min_sites=2, n_rounds=n_rounds, flags=0))
    events.append(ev.Resumed())
    events += [_recorded(2, "Approved", site=site, joiner=i) for i, site in enumerate(sites)]
    events.append(_recorded(3, "Readying", live=everyone))
    events += [_recorded(4, "Ready", site=site) for site in sites]
    return [*events, _recorded(5, "Started", live=everyone, missing=0, seed=bytes(32))]


def one_round(number: int, sites: list[str], me: str) -> list[ev.Event]:
    """Every event one node sees in a round of mode `all`."""
    everyone = (1 << len(sites)) - 1
    leader = sites[number % len(sites)]
    merge = _digest("merge", number)
    updates = {site: _digest(site, number) for site in sites}
    others = [site for site in sites if site != me]
    opened = _recorded(10 * number, "RoundOpened", round=number, live=everyone, leader=leader)
    events: list[ev.Event] = [opened, ev.Trained(number, updates[me], 100)]
    events += [
        _recorded(10 * number, "Committed", round=number, site=site, digest=updates[site], weight=9, eps_micro=0)
        for site in sites
    ]
    events.append(
        _recorded(
            10 * number, "Closed", round=number, attempt=1, frozen=everyone, missing=0, leader=leader, threshold=9
        )
    )
    events += [ev.Offered(site, number, 0, "updates", updates[site]) for site in others]
    events += [ev.Received(site, number, 0, "updates", updates[site]) for site in others]
    made = ev.Merged if leader == me else ev.Recomputed
    events.append(made(number, 0, merge, tuple(sites)))
    events.append(
        _recorded(
            10 * number,
            "Published",
            round=number,
            term=0,
            digest=merge,
            inputs_root=bytes(32),
            contributors=everyone,
            k=len(sites) // 2,
        )
    )
    judges = [site for site in sites if site != leader][: len(sites) // 2]
    events += [_recorded(10 * number, "Attested", round=number, site=site) for site in judges]
    events.append(_recorded(10 * number, "Final", round=number, digest=merge, contributors=everyone))
    return [*events, ev.Adopted(number, merge)]


def microseconds_per_event(n_sites: int, n_rounds: int) -> tuple[float, int]:
    """Mean CPU per event over all rounds, and how many events there were."""
    sites = [f"site-{i:03d}" for i in range(n_sites)]
    me = sites[1]
    machine = RoundMachine(1, me, PLAIN, Policy())
    for event in founding(sites, n_rounds + 1):
        machine.handle(event)
    events = [event for number in range(1, n_rounds + 1) for event in one_round(number, sites, me)]
    answered = []
    start = time.process_time()
    for event in events:
        answered += machine.handle(event)
    spent = time.process_time() - start
    wanted = (Train, Adopt, Submit, Merge | Recompute)
    if not all(any(isinstance(action, kind) for action in answered) for kind in wanted):
        raise SystemExit("the machine did not play its rounds")
    if any(isinstance(action, RunStep) for action in answered) or machine.adopted[0] != n_rounds:
        raise SystemExit("the machine did not finish its rounds")
    return spent / len(events) * 1e6, len(events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_sites", nargs="?", type=int, default=83, metavar="sites")
    parser.add_argument("n_rounds", nargs="?", type=int, default=20, metavar="rounds")
    asked = parser.parse_args()
    n_sites, n_rounds = asked.n_sites, asked.n_rounds
    cost, n_events = microseconds_per_event(n_sites, n_rounds)
    print(f"{n_sites} sites, {n_rounds} rounds, {n_events} events: {cost:.1f} us of CPU an event")


if __name__ == "__main__":
    main()
