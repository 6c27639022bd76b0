"""What the machine's decisions read and where they write: the run's view, own facts, peers' pulses, the answer.

The machine is level-triggered. After every event all decisions are taken anew from the state; `once` keeps an
intention from being issued twice. A restart starts with nothing issued, so whatever is still due comes
again, and the order in which events arrived cannot matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cohortium.core.exchange import Recipe
from cohortium.swarm.actions import Action, Fact, Persist, Submit, Wake
from cohortium.swarm.own import Own
from cohortium.swarm.view import RunView
from cohortium.swarm.waiting import Policy, Pulse

__all__ = ["Desk"]

Key = tuple[object, ...]


@dataclass(slots=True)
class Desk:
    """State and answer of one machine. age_s counts from when this node saw the phase begin."""

    run: int
    me: str
    recipe: Recipe
    policy: Policy
    view: RunView
    own: Own = field(default_factory=Own)
    pulses: dict[str, Pulse] = field(default_factory=dict)
    now_s: float = 0.0
    since_s: float = 0.0
    round_since_s: float = 0.0
    merging: tuple[int, tuple[str, ...]] = (-1, ())
    out: list[Action] = field(default_factory=list)
    _issued: dict[int, set[Key]] = field(default_factory=dict)
    _again: dict[tuple[int, Key], float] = field(default_factory=dict)

    @property
    def age_s(self) -> float:
        """Seconds since the phase began, here."""
        return self.now_s - self.since_s

    @property
    def round_age_s(self) -> float:
        """Seconds since the round was opened, here."""
        return self.now_s - self.round_since_s

    def pulse(self, site: str) -> Pulse:
        """What was heard of a site; one never heard of counts from now."""
        pulse = self.pulses.get(site)
        if pulse is None:
            pulse = self.pulses[site] = Pulse(self.now_s, self.now_s)
        return pulse

    @property
    def in_majority(self) -> bool:
        """Whether more than half of the live sites, this one counted, were heard of late.

        Who hears fewer may be cut off itself: it cannot tell who is silent, and its votes would come when all are back.
        """
        live = self.view.live
        near = sum(site == self.me or not self.pulse(site).unheard(self.now_s, self.policy) for site in live)
        return 2 * near > len(live)

    def hear(self, site: str, stage: str = "", fraction: float = 0.0) -> None:
        """A word of a site came. Who hears a majority again waits anew for everybody: the others were not silent."""
        pulse = self.pulse(site)
        alone = pulse.unheard(self.now_s, self.policy) and not self.in_majority
        pulse.hear(self.now_s, stage, fraction)
        if alone and self.in_majority:
            self.since_s = self.now_s
            for other in self.view.live:
                self.pulse(other).heard_s = self.now_s

    def once(self, round: int, *key: object) -> bool:
        """True the first time this intention is met in this life of the node."""
        issued = self._issued.setdefault(round, set())
        if key in issued:
            return False
        issued.add(key)
        return True

    def submit(self, function: str, *args: object, round: int = 0, slot: Key = ()) -> None:
        """Call the contract about this run, once for each (round, function, slot)."""
        key = (function, *slot)
        if self.once(round, *key):
            self.out.append(Submit(function, (self.run, *args), (round, *key)))

    def persist(self, fact: Fact) -> None:
        """Remember a fact and have it written before anything that follows."""
        self.own.remember(fact)
        self.out.append(Persist(fact))

    def wake(self, at_s: float) -> None:
        """Ask to be called at a time; asked once for each time."""
        if self.once(-1, "wake", at_s):
            self.out.append(Wake(at_s))

    def retry(self, round: int, key: Key, *, at_s: float) -> None:
        """Let an intention be issued again from that time on."""
        self._again[round, key] = at_s
        self.out.append(Wake(at_s))

    def due_again(self) -> None:
        """Free the intentions whose time to be tried again has come."""
        for (round, key), at_s in [*self._again.items()]:
            if at_s <= self.now_s:
                del self._again[round, key]
                self._issued.get(round, set()).discard(key)
        self._issued.pop(-1, None)

    def forget_before(self, round: int) -> None:
        """Let go of what belongs to rounds before this one."""
        self.own.forget_before(round)
        for past in [number for number in self._issued if 0 < number < round]:
            del self._issued[past]

    def take(self) -> tuple[Action, ...]:
        """The answer so far; the next one starts empty."""
        answer = tuple(self.out)
        self.out.clear()
        return answer
