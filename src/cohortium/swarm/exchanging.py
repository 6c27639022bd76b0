"""Decisions after a round closed: run the recipe's steps, then merge or recompute.

The machine knows steps as data: who sends, who receives, how many are needed, what happens to the late. It
counts digests; payloads are the guard's business. A committed payload is the same for every leader, so a
fail-over forgets the merge and keeps the inputs; computed payloads belong to one attempt. Once a step that
gives away shares of other sites' keys was answered in one attempt, no other attempt of that round is served
(privacy.md 3.4, rule 3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cohortium.core.exchange import Step, inputs_root
from cohortium.swarm.actions import Ask, Fact, Fetch, Merge, Offer, Propose, Recompute, RunStep
from cohortium.swarm.desk import Desk
from cohortium.swarm.election import attestors
from cohortium.swarm.own import Slot
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import Phase, RoundView, RunState
from cohortium.swarm.waiting import overdue

__all__ = ["contributors_of", "decide_exchange", "expected_digest", "merging_sites", "root_of", "slot_of"]


def merging_sites(desk: Desk, round: RoundView) -> tuple[str, ...]:
    """The leader and those who recompute, in the order they are asked; the same until the ledger says otherwise."""
    if desk.merging[0] == desk.view.changes:
        return desk.merging[1]
    present = [site for site in round.frozen if site in desk.view.live or site == round.leader]
    sites = (round.leader, *attestors(desk.view.joiners, present, round.leader, drawn=desk.view.drawn))
    desk.merging = (desk.view.changes, sites)
    return sites


def contributors_of(desk: Desk, round: RoundView) -> tuple[str, ...]:
    """Whom the merge is made of: frozen and live, or under masks the agreed survivors; empty if not known yet."""
    if not desk.recipe.masked:
        return tuple(site for site in round.frozen if site in desk.view.live)
    for step in desk.recipe.steps:
        if step.payload == "survivors":
            agreed = round.agreed.get((round.attempt, step.number))
            return () if agreed is None else desk.view.names(int.from_bytes(agreed, "big"))
    return round.frozen


def slot_of(round: RoundView, step: Step) -> Slot:
    """Where a step's payloads are kept; a committed payload outlives attempts."""
    return (round.number, 0 if step.payload == "committed" else round.attempt, step.name)


def expected_digest(desk: Desk, round: RoundView, step: Step, site: str) -> bytes:
    """What a sender's payload must hash to as far as it is known: commit, post, or its own first offer."""
    if step.payload == "committed":
        commit = round.commits.get(site)
        return commit.digest if commit else b""
    if step.posted:
        return round.posts.get((round.attempt, step.number), {}).get(site, b"")
    return desk.own.offers[slot_of(round, step)].get(site, b"")


def root_of(round: RoundView, contributors: Collection[str]) -> bytes:
    """The inputs root of a merge of these contributors."""
    return inputs_root({site: round.commits[site].digest for site in contributors if site in round.commits})


def decide_exchange(desk: Desk, round: RoundView) -> None:
    """The next thing this node owes the exchange."""
    own, me = desk.own, desk.me
    if me not in round.frozen or me not in desk.view.live or own.halted:
        return
    if own.revealed.get(round.number, round.attempt) != round.attempt:
        return
    merging = merging_sites(desk, round)
    for step in desk.recipe.steps:
        if not _run_step(desk, round, step, merging):
            return
    if me in merging:
        _merge(desk, round)


def _run_step(desk: Desk, round: RoundView, step: Step, merging: tuple[str, ...]) -> bool:
    """Send and collect; whether this node may go on to the next step."""
    if step.payload == "survivors":
        return _agree(desk, round, step)
    me, slot = desk.me, slot_of(round, step)
    senders = contributors_of(desk, round) if step.senders == "survivors" else round.frozen
    receivers = round.frozen if step.receivers == "each" else merging
    sent = me not in senders or _send(desk, round, step, receivers)
    if me not in receivers or not sent:
        return sent
    here = desk.own.received[slot]
    awaited = set(senders) if _whole(desk, step) else desk.view.live & set(senders)
    absent = awaited - here.keys() - {me}
    if absent:
        _collect(desk, round, step, absent, holders=receivers)
    if step.need == "threshold":
        return len(here.keys() & set(senders)) + (me in senders) >= round.threshold
    if step.need == "deadline" and (me != round.leader or desk.age_s >= step.deadline_s):
        return True
    return not absent


def _whole(desk: Desk, step: Step) -> bool:
    """Whether a step is worth nothing without each of its senders, even one that is gone: then a new attempt comes."""
    return desk.recipe.masked and step.need == "all"


def _send(desk: Desk, round: RoundView, step: Step, receivers: tuple[str, ...]) -> bool:
    """Compute (once), post and offer the own payload; whether it exists."""
    own, slot = desk.own, slot_of(round, step)
    fact = own.trained.get(round.number) if step.payload == "committed" else own.stepped.get(slot)
    if fact is None:
        if step.payload == "computed" and desk.once(round.number, "step", round.attempt, step.name):
            desk.out.append(RunStep(round.number, round.attempt, step.name, _inputs_so_far(desk, round, step)))
        return False
    if step.payload == "committed" and round.commits[desk.me].digest != fact.digest:
        return False  # trained once more, after the committed one was lost: a second release that nobody has paid for
    if step.posted:
        desk.submit(
            "post", round.number, round.attempt, step.number, fact.digest,
            round=round.number, slot=(round.attempt, step.number),
        )  # fmt: skip
    fresh = tuple(site for site in receivers if site != desk.me and site not in own.given[slot])
    if fresh:
        own.given[slot].update(fresh)
        desk.out.append(Offer(round.number, round.term, slot[1], step.name, fact.digest, fresh))
    return True


def _inputs_so_far(desk: Desk, round: RoundView, upto: Step) -> Mapping[str, Mapping[str, bytes]]:
    """Digests of what the earlier steps brought, own payloads included; agreed survivors with no digest."""
    inputs: dict[str, dict[str, bytes]] = {}
    for step in desk.recipe.steps[: desk.recipe.steps.index(upto)]:
        slot = slot_of(round, step)
        if step.payload == "survivors":
            inputs[step.name] = dict.fromkeys(contributors_of(desk, round), b"")
            continue
        held = dict(desk.own.received[slot])
        if slot in desk.own.stepped:
            held[desk.me] = desk.own.stepped[slot].digest
        inputs[step.name] = dict(sorted(held.items()))
    return inputs


def _collect(desk: Desk, round: RoundView, step: Step, absent: set[str], *, holders: tuple[str, ...]) -> None:
    """Fetch what is known, ask for what is not, vote about who stays away."""
    slot = slot_of(round, step)
    fetching = desk.own.fetching[slot]
    for site in sorted(absent - fetching):
        digest = expected_digest(desk, round, step, site)
        if digest:
            fetching.add(site)
            others = tuple(other for other in holders if other not in (desk.me, site))
            desk.out.append(Fetch(site, *slot, digest, (site, *others)))
        elif desk.age_s >= desk.policy.retry_s:
            beat = int(desk.age_s // desk.policy.retry_s)
            if desk.once(round.number, "ask", *slot, site, beat):
                desk.out.append(Ask(site, *slot))
    if step.on_late in ("drop", "drop_restart") and desk.age_s >= desk.policy.step_s and desk.in_majority:
        pulses = {site: desk.pulse(site) for site in absent}
        for site in overdue(desk.policy, age_s=desk.age_s, absent=absent, pulses=pulses, now_s=desk.now_s):
            desk.submit("vote_drop", site, REASONS["withheld"], round=round.number, slot=(site, "withheld"))


def _agree(desk: Desk, round: RoundView, step: Step) -> bool:
    """Leader proposes who survived, everybody posts the same once; done when the ledger says `Agreed`."""
    if (round.attempt, step.number) in round.agreed:
        return True
    own, slot, me = desk.own, slot_of(round, step), desk.me
    before = desk.recipe.steps[desk.recipe.steps.index(step) - 1]
    earlier = slot_of(round, before)
    if slot not in own.survivors:
        bitmap = _proposal(desk, round, slot, earlier)
        if bitmap is None:
            return False
        desk.persist(
            Fact(kind="survivors", run=desk.run, round=round.number, attempt=round.attempt, step=step.name,
                 data=bitmap.to_bytes(32, "big"))
        )  # fmt: skip
    bitmap = own.survivors[slot]
    if me == round.leader and desk.once(round.number, "propose", round.term, round.attempt):
        others = tuple(site for site in round.frozen if site != me)
        desk.out.append(Propose(round.number, round.term, round.attempt, step.name, bitmap, others))
    desk.submit(
        "post", round.number, round.attempt, step.number, bitmap.to_bytes(32, "big"),
        round=round.number, slot=(round.attempt, step.number),
    )  # fmt: skip
    return False


def _proposal(desk: Desk, round: RoundView, slot: Slot, earlier: Slot) -> int | None:
    """The survivors to post: as leader those whose payload is here, else what the leader proposed and I can accept."""
    if desk.me == round.leader:
        here = {site for site in desk.own.received[earlier] if site in desk.view.live} | {desk.me}
        return desk.view.bitmap(here) if len(here) >= desk.view.least else None
    proposed = desk.own.proposals.get(slot)
    if proposed is None or proposed[0] != round.leader:
        return None
    sites = desk.view.names(proposed[1])
    mine_held = earlier in desk.own.stepped
    acceptable = set(sites) <= set(round.frozen) and len(sites) >= desk.view.least
    return proposed[1] if acceptable and (desk.me in sites or not mine_held) else None


def _merge(desk: Desk, round: RoundView) -> None:
    """With all inputs here: merge as leader, recompute as attestor; publish what the leader has."""
    own, me, number = desk.own, desk.me, round.number
    published = round.published
    contributors = published.contributors if published else contributors_of(desk, round)
    if len(contributors) < desk.view.least:
        return
    key = (number, round.attempt if desk.recipe.masked else 0, contributors)
    merged = own.merges.get(key)
    if merged is None:
        inputs = _merge_inputs(desk, round, contributors)
        if inputs is None:
            return
        n_answers, spoiled = _n_answers(desk, inputs), own.spoiled.get(number)
        if spoiled is not None and n_answers == spoiled:
            _give_up(desk, round, inputs, contributors)
        elif (spoiled is None or n_answers > spoiled) and desk.once(number, "merge", key, spoiled):
            own.asked[number] = n_answers
            newest = desk.view.newest
            base = newest.digest if newest else b""
            make = Merge if me == round.leader else Recompute
            desk.out.append(make(number, key[1], base, contributors, inputs))
        return
    if me == round.leader and round.phase is Phase.EXCHANGE:
        root = root_of(round, contributors)
        desk.submit(
            "publish", number, merged, root, desk.view.bitmap(contributors), bytes(32),
            round=number, slot=(round.term, contributors),
        )  # fmt: skip
    elif me == round.leader and published is not None and merged == published.digest:
        # not before it is on the ledger: a site that goes meanwhile makes it another merge, and two signed for one
        # term convict their leader
        _offer_merge(desk, round, merged, contributors, published.inputs_root)


def _give_up(
    desk: Desk, round: RoundView, inputs: Mapping[str, Mapping[str, bytes]], contributors: tuple[str, ...]
) -> None:
    """A sum that does not open and nobody left to help: the next round, or after as many as attempts the end."""
    answered = {site for step in desk.recipe.steps if step.need == "threshold" for site in inputs[step.name]}
    if set(contributors) & desk.view.live - answered:
        return
    newest = desk.view.newest
    voids = sum(number > (newest.round if newest else 0) for number, _ in desk.view.voids)
    if voids + 1 < desk.policy.max_attempts:
        desk.submit("vote_void", round.number, REASONS["share"], round=round.number)
    else:
        desk.submit("vote_end", int(RunState.FAILED), REASONS["share"], round=round.number)


def _n_answers(desk: Desk, inputs: Mapping[str, Mapping[str, bytes]]) -> int:
    """Payloads of the steps of which a threshold is enough."""
    return sum(len(inputs[step.name]) for step in desk.recipe.steps if step.need == "threshold")


def _offer_merge(desk: Desk, round: RoundView, merged: bytes, contributors: tuple[str, ...], root: bytes) -> None:
    """Offer the merge to the live sites that do not make it themselves."""
    makers = merging_sites(desk, round)
    to = tuple(sorted(site for site in desk.view.live if site not in makers))
    if to and desk.once(round.number, "offer", "merge", round.term, merged):
        desk.out.append(Offer(round.number, round.term, 0, "merge", merged, to, contributors, root))


def _merge_inputs(
    desk: Desk, round: RoundView, contributors: tuple[str, ...]
) -> Mapping[str, Mapping[str, bytes]] | None:
    """Digests by step and sender; None (and fetching) while a contributor's payload is missing."""
    inputs: dict[str, Mapping[str, bytes]] = {}
    complete = True
    for step in desk.recipe.steps:
        if step.payload == "survivors":
            continue
        slot = slot_of(round, step)
        held = dict(desk.own.received[slot])
        mine = desk.own.trained.get(round.number) if step.payload == "committed" else desk.own.stepped.get(slot)
        if mine is not None:
            held[desk.me] = mine.digest
        wanted = set(contributors) - held.keys()
        if wanted and step.need in ("all", "deadline"):
            _collect(desk, round, step, wanted, holders=merging_sites(desk, round))
            complete = False
        if step.need in ("all", "deadline") and step.payload != "computed":
            held = {site: digest for site, digest in held.items() if site in contributors}
        inputs[step.name] = dict(sorted(held.items()))
    return inputs if complete else None
