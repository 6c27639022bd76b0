"""`RoundMachine`: one run at one site as a pure state machine; events in, actions out.

Theory of operation. The machine holds three folds: what the ledger says (`RunView`), what this node has done
(`Own`), what was heard of the peers (`Pulse`). An event changes a fold; then every decision is taken anew from
the folds (`joining`, `collecting`, `exchanging`, `attesting`), and what was already asked for is not asked for
again (`Desk.once`). So the order of arrival cannot matter, a restart needs only facts and ledger events, and a
late, repeated or forged message can at most be refused: it never raises.

No clock, socket, disk, training, digest: time enters as `Tick`, payloads as names and digests. The simulator and
the node drive this same class. Design: swarm.md section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cohortium.core.exchange import Recipe
from cohortium.core.messages import Bye, Progress, Stage, Trouble
from cohortium.swarm import events as ev
from cohortium.swarm.actions import Action, End, Fact, Prepare, Refuse, Tell, Wake
from cohortium.swarm.attesting import decide_adoption, decide_attestation, decide_leader
from cohortium.swarm.collecting import decide_collecting, decide_drops
from cohortium.swarm.desk import Desk
from cohortium.swarm.ending import outcome_of
from cohortium.swarm.exchanging import decide_exchange, expected_digest
from cohortium.swarm.joining import decide_entry, decide_return, decide_sweep
from cohortium.swarm.membership import Members
from cohortium.swarm.parting import decide_end, leave_without_budget
from cohortium.swarm.reasons import REASONS, code_of
from cohortium.swarm.view import Phase, RoundView, RunState, RunView
from cohortium.swarm.waiting import Policy

__all__ = ["AHEAD", "FINAL_STEP", "RoundMachine"]

FINAL_STEP = "final"
"""Step of the offer with which any node serves a merge the ledger calls final; its digest says whether it is right."""

AHEAD = 2
"""Rounds ahead of the ledger, as seen here, for which offers are kept."""

_USUAL = 9
"""Past rounds from which a site's usual duration is taken."""

_QUIET = frozenset({"phase", "voted", "once", "live", "leader", "contributors", "frozen", "joiner", "subject"})
"""Refusals that say: others were faster. They end the intention quietly."""


class RoundMachine:
    """One run at one site. Events may come in any order but the ledger's own; nothing raises."""

    def __init__(self, run: int, me: str, recipe: Recipe, policy: Policy, *, members: Members | None = None) -> None:
        view = RunView(run=run, members=members if members is not None else Members())
        self._desk = Desk(run=run, me=me, recipe=recipe, policy=policy, view=view)
        self._steps = {step.name: step for step in recipe.steps}
        self._acting = False
        self._stage: tuple[object, ...] = ()
        self._ended = False

    @property
    def view(self) -> RunView:
        """What the ledger says, read-only."""
        return self._desk.view

    @property
    def adopted(self) -> tuple[int, bytes]:
        """Round and digest of the merge that is this node's state; (0, b"") at the start."""
        return self._desk.own.adopted

    @property
    def trouble(self) -> Tell | None:
        """What keeps this node away, as it was first met; None while it is well."""
        return self._desk.own.trouble

    @property
    def stage(self) -> Stage:
        """Where this node is, in the words of a progress message."""
        view, me = self._desk.view, self._desk.me
        if view.state is RunState.APPROVING or view.state is RunState.NONE:
            return "approve"
        if view.state is RunState.READYING:
            return "ready"
        if view.round is None or view.ended or view.round.phase is Phase.FINAL:
            return "adopt"
        if view.round.phase is Phase.COLLECT:
            return "commit" if me in view.round.commits else "train"
        return "exchange" if view.round.phase is Phase.EXCHANGE else "attest"

    def handle(self, event: ev.Event) -> tuple[Action, ...]:
        """What this node has to do now. A `Persist` must be on disk before what follows it is done."""
        _FOLDS[type(event)](self, event)
        if self._acting:
            self._decide()
        return self._desk.take()

    # --- folds ---------------------------------------------------------------------------------------------

    def _recorded(self, event: ev.Recorded) -> None:
        desk, view = self._desk, self._desk.view
        if not view.apply(event.event):
            return
        if event.event.name == "Dropped" and event.event.args["site"] == desk.me:
            desk.own.prepared = False  # it checks itself again before it comes back
            desk.retry(0, ("prepare",), at_s=desk.now_s)
        if event.event.name == "Committed":
            usual = desk.pulse(str(event.event.args["site"])).durations
            usual.append(desk.round_age_s)
            del usual[:-_USUAL]
        round = view.round
        stage = (view.state, round and (round.number, round.phase, round.term, round.attempt))
        if stage != self._stage:
            if round and (not self._stage or not self._stage[1] or self._stage[1][0] != round.number):  # type: ignore[index]
                self._round_began(round)
            self._stage = stage
            desk.since_s = desk.now_s

    def _round_began(self, round: RoundView) -> None:
        desk = self._desk
        desk.round_since_s = desk.now_s
        desk.own.failures = 0
        for site in sorted(desk.view.live):
            pulse = desk.pulse(site)  # whoever is never heard of is silent from here on
            pulse.trouble, pulse.troubles = "", 0  # who has not given up, is asked again
        desk.forget_before(round.number - 1)

    def _remembered(self, event: ev.Remembered) -> None:
        self._desk.own.remember(event.fact)

    def _resumed(self, event: ev.Resumed) -> None:
        self._acting = True

    def _tick(self, event: ev.Tick) -> None:
        desk = self._desk
        desk.now_s = max(desk.now_s, event.now_s)
        desk.due_again()

    def _consented(self, event: ev.Consented) -> None:
        desk = self._desk
        if desk.own.consent is None:
            desk.persist(
                Fact(kind="consent", run=desk.run, digest=event.commitment, data=event.nonce, number=int(event.granted))
            )

    def _prepared(self, event: ev.Prepared) -> None:
        self._desk.own.prepared = True
        self._desk.own.absent = False
        self._desk.own.failures = 0
        self._desk.own.trouble = None

    def _trained(self, event: ev.Trained) -> None:
        desk, round = self._desk, self._desk.view.round
        if desk.own.running == event.round:
            desk.own.running = None
        if round is None or event.round > round.number or event.round in desk.own.trained:
            return
        if event.round < round.number or (round.phase is not Phase.COLLECT and desk.me not in round.commits):
            if desk.policy.late == "carry" and not desk.recipe.masked:
                desk.own.late = (event.round, event.digest)
            return  # late: recorded, no error; the site goes on from the newest merge
        desk.own.failures = 0
        desk.persist(
            Fact(
                kind="trained",
                run=desk.run,
                round=event.round,
                digest=event.digest,
                memory=event.memory,
                number=event.weight,
                data=event.spent_micro.to_bytes(8, "big"),
            )
        )

    def _stepped(self, event: ev.Stepped) -> None:
        desk, slot = self._desk, (event.round, event.attempt, event.step)
        step = self._steps.get(event.step)
        if step is None or slot in desk.own.stepped:
            return
        desk.persist(
            Fact(
                kind="stepped",
                run=desk.run,
                round=event.round,
                attempt=event.attempt,
                step=event.step,
                digest=event.digest,
                memory=event.memory,
                number=int(step.senders == "survivors"),
            )
        )

    def _arrived(self, event: ev.Arrived) -> None:
        desk = self._desk
        pulse = desk.pulse(event.site)
        if isinstance(event.body, Progress):
            desk.hear(event.site, event.body.stage, event.body.fraction)
        elif isinstance(event.body, Trouble):
            desk.hear(event.site)
            pulse.trouble = event.body.code
            pulse.troubles += 1
        elif isinstance(event.body, Bye):
            pulse.heard_s = desk.now_s - desk.policy.silence_s - 1
        else:
            desk.hear(event.site)

    def _offered(self, event: ev.Offered) -> None:
        """Keep what a peer says it has; refuse strangers, old attempts, and what is not the committed payload."""
        desk, round = self._desk, self._desk.view.round
        desk.hear(event.site)
        if event.step in ("merge", FINAL_STEP):
            return
        step = self._steps.get(event.step)
        number = round.number if round else 0
        if step is None:
            self._refuse(event.site, f"unknown step {event.step!r:.40}")
        elif event.site not in desk.view.live and event.site not in desk.view.pending:
            self._refuse(event.site, "stranger to this run")
        elif event.round == number - 1:
            return  # late: its round is over, which is nobody's fault
        elif event.round < number or event.round > number + AHEAD:
            self._refuse(event.site, f"round {event.round}, here is round {number}")
        elif event.attempt > (0 if step.payload == "committed" else desk.policy.max_attempts):
            self._refuse(event.site, f"step {event.step!r} has no attempt {event.attempt}")
        elif round is None or event.round > number:
            self._keep(event)
        elif step.payload != "committed" and event.attempt != round.attempt and round.phase is not Phase.COLLECT:
            self._refuse(event.site, f"attempt {event.attempt}, here is attempt {round.attempt}")
        elif round.phase is not Phase.COLLECT and event.site not in round.frozen:
            self._refuse(event.site, "not in the frozen set of this round")
        else:
            known = expected_digest(desk, round, step, event.site)
            if known and known != event.digest:
                self._refuse(event.site, f"payload of step {event.step!r} is not the one committed")
            else:
                self._keep(event)

    def _keep(self, event: ev.Offered) -> None:
        slot = (event.round, event.attempt, event.step)
        kept = self._desk.own.offers[slot].setdefault(event.site, event.digest)
        if kept != event.digest:
            self._refuse(event.site, f"two payloads for step {event.step!r} of round {event.round}")

    def _proposed(self, event: ev.Proposed) -> None:
        desk, round = self._desk, self._desk.view.round
        step = self._steps.get(event.step)
        if step is None or step.payload != "survivors":
            self._refuse(event.site, "no such proposal in this recipe")
            return
        if round is not None and event.round == round.number and round.phase is not Phase.COLLECT:
            if event.site != round.leader:
                self._refuse(event.site, "proposes survivors but does not lead")
                return
            if event.attempt != round.attempt:
                self._refuse(event.site, f"attempt {event.attempt}, here is attempt {round.attempt}")
                return
        slot = (event.round, event.attempt, event.step)
        kept = desk.own.proposals.setdefault(slot, (event.site, event.bitmap))
        if kept[0] != event.site and event.site in desk.view.live:
            desk.own.proposals[slot] = (event.site, event.bitmap)
        elif kept != (event.site, event.bitmap):
            self._refuse(event.site, "two proposals of survivors")

    def _received(self, event: ev.Received) -> None:
        desk, round = self._desk, self._desk.view.round
        if event.step == "merge":
            desk.own.held.add(event.digest)
            return
        step = self._steps.get(event.step)
        if step is None or round is None or event.round != round.number:
            return
        known = expected_digest(desk, round, step, event.site)
        if known and known != event.digest:
            self._refuse(event.site, f"payload of step {event.step!r} is not the one committed")
            return
        desk.own.received[event.round, event.attempt, event.step].setdefault(event.site, event.digest)

    def _merged(self, event: ev.Merged | ev.Recomputed) -> None:
        desk = self._desk
        if (event.round, event.attempt, event.contributors) in desk.own.merges:
            return
        desk.persist(
            Fact(
                kind="merged",
                run=desk.run,
                round=event.round,
                attempt=event.attempt,
                digest=event.digest,
                data=",".join(event.contributors).encode(),
            )
        )

    def _adopted(self, event: ev.Adopted) -> None:
        desk = self._desk
        if event.round > desk.own.adopted[0]:
            desk.persist(
                Fact(
                    kind="adopted",
                    run=desk.run,
                    round=event.round,
                    digest=event.digest,
                    memory=event.memory,
                    number=int(event.finished),
                )
            )

    def _failed(self, event: ev.Failed) -> None:
        desk, own = self._desk, self._desk.own
        if event.stage == "merge":
            self._merge_failed(event)
            return
        if event.stage == "exchange" and event.code != "lost":
            self._step_failed(event)
            return
        if event.code == "budget":
            self._stop_spending()
            return
        desk.out.append(Tell(event.stage, event.code, event.where))
        own.failures += 1
        if event.stage == "train":
            own.running = None
        if event.stage == "train" and own.failures < 2:
            return  # one more try in a fresh worker
        if event.stage in ("train", "load", "ready", "connect"):
            own.absent, own.prepared = True, False
            own.trouble = own.trouble or Tell(event.stage, event.code, event.where)
            desk.retry(0, ("prepare",), at_s=desk.now_s + desk.policy.rejoin_s)

    def _stop_spending(self) -> None:
        """The site's budget, or the study's, is spent: no further training."""
        desk, view = self._desk, self._desk.view
        desk.own.running = None
        if view.round is not None and desk.me in view.live:
            leave_without_budget(desk, view.round)

    def _merge_failed(self, event: ev.Failed) -> None:
        """Inputs that cannot be merged, by nobody: without the site that sent them, or not at all."""
        desk, view = self._desk, self._desk.view
        if view.round is None or event.round != view.round.number or desk.me not in view.live:
            return
        if desk.recipe.masked:  # more answers may still open the sum
            desk.own.spoiled[event.round] = desk.own.asked.get(event.round, 0)
        if event.site == desk.me:
            desk.submit("withdraw", REASONS["unusable"])
        elif event.site:
            self._refuse(event.site, "a payload that cannot be merged")
            desk.submit("vote_drop", event.site, REASONS["unusable"], round=event.round, slot=(event.site, "unusable"))
        elif desk.recipe.masked:
            self._refuse(view.round.leader, "a sum that does not open")
        else:
            desk.out.append(Tell("merge", event.code, event.where))
            desk.submit("vote_end", int(RunState.FAILED), code_of(event.code), round=event.round)

    def _step_failed(self, event: ev.Failed) -> None:
        """A step the guard will not compute: without the site that made it impossible, or not by this node."""
        desk, view = self._desk, self._desk.view
        if view.round is None or event.round != view.round.number or desk.me not in view.live:
            return
        if event.site == desk.me:
            desk.submit("withdraw", REASONS["unusable"])
            return
        self._refuse(event.site or view.round.leader, event.where)
        if event.site:
            desk.submit("vote_drop", event.site, code_of(event.code), round=event.round, slot=(event.site, event.code))

    def _denied(self, event: ev.Denied) -> None:
        desk = self._desk
        round, *key = event.key
        if event.reason == "budget":
            self._stop_spending()
        elif event.reason not in _QUIET and isinstance(round, int):
            desk.retry(round, tuple(key), at_s=desk.now_s + desk.policy.retry_s)

    def _step_down(self, event: ev.StepDown) -> None:
        self._desk.own.leaving = True

    def _refuse(self, site: str, why: str) -> None:
        self._desk.out.append(Refuse(site, why))

    # --- decisions -----------------------------------------------------------------------------------------

    def _decide(self) -> None:
        desk, view = self._desk, self._desk.view
        if self._ended or view.state is RunState.NONE:
            return
        newest, round = view.newest, view.round
        if newest is not None and view.takes_part(desk.me):
            decide_adoption(desk, newest)
        if view.ended:
            self._decide_end()
            return
        if view.state is not RunState.RUNNING or round is None:
            decide_entry(desk)
            return
        if round.phase is Phase.COLLECT:
            decide_collecting(desk, round)
            decide_end(desk, round)
        elif round.phase is not Phase.FINAL:
            decide_exchange(desk, round)
            decide_attestation(desk, round)
            decide_leader(desk, round)
        decide_return(desk)
        decide_sweep(desk)
        decide_drops(desk, round)
        if desk.own.absent and desk.me not in view.live and desk.once(0, "prepare"):
            desk.out.append(Prepare())
        if desk.own.finished and desk.me in view.live:
            desk.submit("vote_end", int(RunState.FINISHED), REASONS["stopped"], round=round.number)

    def _decide_end(self) -> None:
        """End once the last merge is adopted, or when nobody could give it in time; without one who took no part."""
        desk, newest = self._desk, self._desk.view.newest
        took_part = desk.view.takes_part(desk.me)
        have = newest is None or not took_part or desk.own.adopted[0] >= newest.round or desk.own.halted
        if not have and desk.age_s < desk.policy.linger_s:
            desk.out.append(Wake(desk.since_s + desk.policy.linger_s))
            return
        self._ended = True
        desk.out.append(End(outcome_of(desk.view, complete_share=desk.policy.complete_share)))


_FOLDS: dict[type, Callable[[RoundMachine, Any], None]] = {
    ev.Recorded: RoundMachine._recorded,
    ev.Remembered: RoundMachine._remembered,
    ev.Resumed: RoundMachine._resumed,
    ev.Tick: RoundMachine._tick,
    ev.Consented: RoundMachine._consented,
    ev.Prepared: RoundMachine._prepared,
    ev.Trained: RoundMachine._trained,
    ev.Stepped: RoundMachine._stepped,
    ev.Arrived: RoundMachine._arrived,
    ev.Offered: RoundMachine._offered,
    ev.Proposed: RoundMachine._proposed,
    ev.Received: RoundMachine._received,
    ev.Merged: RoundMachine._merged,
    ev.Recomputed: RoundMachine._merged,
    ev.Adopted: RoundMachine._adopted,
    ev.Failed: RoundMachine._failed,
    ev.Denied: RoundMachine._denied,
    ev.StepDown: RoundMachine._step_down,
}
