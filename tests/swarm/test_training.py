"""Trainings are paid before they begin: the node asks, books and stops; without a budget nothing is asked."""

import asyncio
import errno

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.spending import BudgetRecord, MechanismEvent
from cohortium.core.update import Update
from cohortium.errors import TrainingFailed
from cohortium.swarm.notices import Troubled
from cohortium.swarm.ports import Audited
from cohortium.swarm.store import StoreBroken
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link

HANDLE = b"\x5a" * 32


class CountingBudget:
    """A purse that counts rounds: it pays for `rounds` of them, each costs 100,000 millionths."""

    def __init__(self, site: str, *, rounds: int = 99, refuse: str = "") -> None:
        self.site, self.rounds, self.refuse = site, rounds, refuse
        self.states: dict[int, str] = {}
        self.asked: list[tuple[str, int]] = []
        self.told = False

    def admit(self, run):
        self.asked.append(("admit", run))
        return self.refuse

    def reserve(self, run, round, state):
        assert isinstance(state, Parameters)
        self.asked.append(("reserve", round))
        if round in self.states and self.states[round] != "returned":
            return ()
        if len([s for s in self.states.values() if s != "returned"]) >= self.rounds:
            raise TrainingFailed("the cap of 0.2 would be passed", code="budget")
        return self._turn(round, "reserved")

    def settle(self, run, round):
        self.asked.append(("settle", round))
        return self._turn(round, "spent") if self.states[round] == "reserved" else ()

    def give_back(self, run, round):
        self.asked.append(("give back", round))
        return self._turn(round, "returned") if self.states.get(round) == "reserved" else ()

    def close(self, run):
        self.asked.append(("close", run))

    def spent_micro(self, run):
        return 100_000 * sum(state == "spent" for state in self.states.values())

    def new_version(self):
        first, self.told = not self.told, True
        return HANDLE if first else b""

    def _turn(self, round, state):
        self.states[round] = state
        return (
            BudgetRecord(
                site=self.site, dataset=HANDLE.hex(), run="toy", round=round, state=state,
                events=(MechanismEvent.gaussian(sigma=1.0),), delta="1e-05", clip="1.0", accountant="toy", code="",
                eps_run_micro=0, eps_total_micro=0, cap_micro=0,
            ),
        )  # fmt: skip


def spent(result, site):
    told = [args for args in result.ledger.named("Spent") if args["site"] == site]
    return [(args["round"], BudgetRecord.read(args["record"]).state) for args in told]


def test_every_round_is_reserved_trained_and_spent_in_that_order(swarm) -> None:
    purse = CountingBudget("site-1")
    purse.spent_micro = lambda run: 0  # the toy run has no epsilon on the ledger
    result = swarm.run(3, rounds=2, options={"site-1": {"budget": purse}})
    assert set(result.outcomes.values()) == {"complete"}
    assert spent(result, "site-1") == [(1, "reserved"), (1, "spent"), (2, "reserved"), (2, "spent")]
    assert spent(result, "site-0") == []
    assert [args["dataset"] for args in result.ledger.named("DataChanged")] == [HANDLE]
    order = [f for s, f, a in result.ledger.calls if s == "site-1" and f in ("spend", "commit")]
    assert order == ["spend", "spend", "commit"] * 2
    assert purse.asked[0] == ("admit", 1)
    assert purse.asked[-1] == ("close", 1)


def test_what_was_spent_stands_in_the_commitment_and_more_than_the_study_allows_ends_the_sites_part(swarm) -> None:
    purse = CountingBudget("site-1")  # the toy study allows no epsilon at all, so the contract refuses the commitment
    result = swarm.run(3, rounds=2, options={"site-1": {"budget": purse}})
    assert [args[-1] for site, name, args in result.ledger.tried if (site, name) == ("site-1", "commit")] == [100_000]
    assert [args["site"] for args in result.ledger.named("Withdrawn")] == ["site-1"]
    assert set(result.outcomes.values()) == {"partial (2/3 sites)"}


def test_a_site_that_cannot_afford_the_run_declines_and_says_why_at_home(swarm) -> None:
    purse = CountingBudget("site-2", refuse="this run would bring the patients to epsilon 12.1, the cap is 10")
    result = swarm.run(3, rounds=1, options={"site-2": {"budget": purse}})
    assert [args["site"] for args in result.ledger.named("Declined")] == ["site-2"]
    heard = [n for site, n in result.notices if isinstance(n, Troubled) and site == "site-2" and n.stage == "approve"]
    assert [(n.stage, n.code, n.where) for n in heard] == [("approve", "budget", purse.refuse)]
    assert not [n for site, n in result.notices if isinstance(n, Troubled) and site != "site-2" and n.where]


def test_the_node_stops_before_the_round_it_cannot_pay_and_the_others_go_on(swarm) -> None:
    purse = CountingBudget("site-2", rounds=2)
    purse.spent_micro = lambda run: 0
    result = swarm.run(4, rounds=4, min_sites=3, options={"site-2": {"budget": purse}})
    assert set(result.outcomes.values()) == {"partial (3/4 sites)"}
    assert spent(result, "site-2")[-1] == (2, "spent")
    assert ("settle", 3) not in purse.asked
    assert [args["site"] for args in result.ledger.named("Withdrawn")] == ["site-2"]
    said = [n.where for site, n in result.notices if isinstance(n, Troubled) and n.where]
    assert said == ["the cap of 0.2 would be passed"], "at this site only"


def test_a_failed_training_gives_its_reservation_back(swarm) -> None:
    class Weak(swarm.SumWork):
        def train(self, round, state):
            if round == 2:
                raise TrainingFailed("no memory", code="memory")
            return super().train(round, state)

    purse = CountingBudget("site-2")
    purse.spent_micro = lambda run: 0
    options = {"site-2": {"budget": purse, "work": Weak("site-2", 2)}}
    result = swarm.run(4, rounds=3, min_sites=3, options=options)
    booked = [entry for entry in spent(result, "site-2") if entry[0] == 2]
    assert booked[:2] == [(2, "reserved"), (2, "returned")]
    assert (2, "spent") not in booked


@pytest.mark.parametrize("late", ["discard", "carry"])
def test_a_late_update_is_given_back_only_where_it_is_thrown_away(swarm, late: str) -> None:
    work = swarm.SumWork("site-3", 3)

    async def slow(turn: int, state: Parameters) -> Update:
        await asyncio.sleep(100.0 if turn == 1 else 1.0)
        return Update(site="site-3", parameters=Parameters({"w": np.zeros(4)}), weight=1, memory=work.memory())

    purse = CountingBudget("site-3")
    purse.spent_micro = lambda run: 0
    policy = Policy(late=late, wait="quorum", round_timeout_s=60.0, silence_s=30.0)
    options = {"site-3": {"budget": purse, "trainer": slow, "work": work}}
    result = swarm.run(4, rounds=3, min_sites=3, policy=policy, options=options)
    first = [state for round, state in spent(result, "site-3") if round == 1]
    assert first == (["reserved", "returned"] if late == "discard" else ["reserved", "spent"])


@pytest.mark.parametrize("dies_at", range(1, 12))
def test_a_node_killed_anywhere_pays_for_each_round_once(swarm, dies_at: int) -> None:
    purse = CountingBudget("site-1")
    purse.spent_micro = lambda run: 0
    stores = {"site-1": swarm.MortalStore(dies_at, after=False)}
    options = {"site-1": {"budget": purse}}
    result = swarm.run(3, stores=stores, options=options, link=Link(delay_s=0.1), policy=Policy(linger_s=600.0))
    assert set(result.outcomes.values()) == {"complete"}
    assert [state for state in spent(result, "site-1") if state[1] == "spent"] == [(n, "spent") for n in (1, 2, 3)]


def test_what_cannot_be_booked_is_not_trained(swarm) -> None:
    purse = CountingBudget("site-2")

    def broken(run, round, state):
        raise StoreBroken(OSError(errno.ENOSPC, "No space left on device"))

    purse.reserve = broken
    result = swarm.run(4, rounds=1, min_sites=3, options={"site-2": {"budget": purse}})
    assert set(result.outcomes.values()) == {"partial (3/4 sites)"}
    assert "disk" in [n.code for site, n in result.notices if isinstance(n, Troubled) and n.site == site == "site-2"]
    assert not [args for args in result.ledger.named("Committed") if args["site"] == "site-2"]


def test_what_a_sites_audit_came_to_stands_on_the_ledger_after_the_run(swarm) -> None:
    said = [Audited(tier=0, verdict=1, digest=b"\1" * 32), Audited(tier=1, verdict=3, digest=b"\2" * 32)]
    result = swarm.run(3, rounds=1, options={"site-1": {"audit": lambda state: said}})
    assert [(args["site"], args["tier"], args["verdict"]) for args in result.ledger.named("Audited")] == [
        ("site-1", 0, 1), ("site-1", 1, 3),
    ]  # fmt: skip
    assert set(result.outcomes.values()) == {"complete"}


def test_without_a_budget_nothing_is_asked_or_booked(swarm) -> None:
    result = swarm.run(3, rounds=1)
    assert not result.ledger.named("Spent")
    assert {args["eps_micro"] for args in result.ledger.named("Committed")} == {0}
