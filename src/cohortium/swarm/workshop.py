"""Where a node works: state, updates and merges as arrays, and the facts and payloads it keeps of them.

The machine knows digests; the workshop knows what they stand for. It trains, computes the guard's steps, merges,
adopts, and brings all of it back after a restart: private memory, the update under way, the newest merge. Payloads of
old rounds are let go, in memory and in the store; what a guard remembers of a round is never served to anybody and
burnt when the round is final. Nothing here decides what happens next.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from cohortium.core.exchange import Context
from cohortium.core.frames import Packed, pack, parameters_of, read_header
from cohortium.core.marks import shows, with_lot
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import PeerError, TrainingFailed
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.actions import Fact
from cohortium.swarm.courier import Courier
from cohortium.swarm.ports import Charter, Ports
from cohortium.swarm.showing import context_of, read_shown, salt_of, showing_step, with_shown, without_shown
from cohortium.swarm.view import RunView

__all__ = ["Workshop"]

_NONE = Parameters()
_WITH_PAYLOAD = ("trained", "stepped", "merged", "adopted")


class Workshop:
    """One site's arrays. base: digest of the state, empty before the first merge.

    lot: the ledger's seed of the run, for a program that draws by it; empty while it is not known.
    """

    def __init__(
        self, site: str, charter: Charter, ports: Ports, courier: Courier, *, lot: Callable[[], bytes] = bytes
    ) -> None:
        self.base = b""
        self._state, self._lot, self._drawn = _NONE, lot, False
        self.measures: Mapping[str, float] = {}
        self._site, self._charter, self._ports, self._courier = site, charter, ports, courier
        self._updates: dict[bytes, Update] = {}
        self._stored: dict[int, set[bytes]] = {}
        self._secrets: dict[bytes, Packed] = {}
        self._blank = ports.work.memory()

    @property
    def state(self) -> Parameters:
        """Of the newest adopted merge; before it, what all start from, with the lot once it is drawn."""
        if not self.base and not self._drawn and (lot := self._lot()):
            self._state, self._drawn = with_lot(self._state, lot), True
        return self._state

    @state.setter
    def state(self, state: Parameters) -> None:
        self._state, self._drawn = state, False

    # --- keeping ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The state before the first merge, and the private memory that belongs to it."""
        self.state, self.base = await self._ports.blocking(self._ports.work.start), b""
        await self._ports.blocking(lambda: self._ports.work.restore(self._blank))

    async def persist(self, fact: Fact) -> None:
        """Write the payloads a fact speaks of, then the fact. Raises StoreBroken."""
        store = self._ports.store
        secret = self._secrets.pop(fact.memory, None)
        if secret is not None:
            self._stored.setdefault(fact.round, set()).add(fact.memory)
            await self._ports.blocking(lambda: store.hide(secret, run=fact.run, round=fact.round))
        for digest in (fact.digest, fact.memory):
            packed = self._courier.payloads.get(digest)
            if packed is not None and digest not in self._stored.setdefault(fact.round, set()):
                await self._ports.blocking(lambda packed=packed: store.put(packed))  # type: ignore[misc]
                self._stored[fact.round].add(digest)
        await self._ports.blocking(lambda: store.add(fact))

    async def recall(self, fact: Fact) -> bool:
        """Bring back what a fact speaks of; False if its payload is lost, then the fact does not count."""
        work = self._ports.work
        if fact.kind not in _WITH_PAYLOAD:
            return True
        if fact.kind == "stepped":  # counts without its payload too: made again, it would be a second one for one slot
            await self._restore(fact)
            await self._found(fact.digest, fact.round)
            return True
        for digest in filter(None, (fact.digest, fact.memory)):
            if not await self._found(digest, fact.round):
                return False
        arrays = self._arrays(fact.digest)
        memory = self._arrays(fact.memory) if fact.memory else _NONE
        if fact.kind == "adopted":
            self.state, self.base = arrays, fact.digest
            await self._ports.blocking(lambda: work.restore(memory))
            await self.finish(fact.run, fact.round)
        elif fact.kind == "trained":
            self._updates[fact.digest] = Update(site=self._site, parameters=arrays, weight=fact.number, memory=memory)
        return True

    async def _found(self, digest: bytes, round: int) -> bool:
        """Bring a payload back from the store; False if it is lost."""
        packed = await self._ports.blocking(lambda: self._ports.store.get(digest))
        if packed is None:
            return False
        self._courier.hold(packed, round=round)
        self._stored.setdefault(round, set()).add(digest)
        return True

    async def _restore(self, fact: Fact) -> None:
        """What the guard remembered at a step. Burnt, where its round is final: the step was made, that is all."""
        store, guard = self._ports.store, self._ports.guard
        if not fact.memory:
            return
        packed = await self._ports.blocking(lambda: store.reveal(fact.memory, run=fact.run, round=fact.round))
        if packed is not None:
            self._stored.setdefault(fact.round, set()).add(fact.memory)
            guard.restore(parameters_of(packed, limits=self._ports.limits)[0])

    async def finish(self, run: int, upto: int) -> None:
        """Rounds up to this one are over: their secrets end, in memory and in the store."""
        self._ports.guard.finish(upto)
        await self._ports.blocking(lambda: self._ports.store.burn(run=run, upto=upto))

    async def forget_before(self, round: int, *, keep: tuple[bytes, ...]) -> None:
        """Let go of what belongs to rounds before this one in the store; in memory, of this one's inputs too."""
        store = self._ports.store
        self._courier.forget_before(round + 1, keep=keep)
        self._courier.forget_inputs(round + 1, keep={*keep, *self._updates})
        old = [number for number in self._stored if number < round]
        gone = set().union(*(self._stored.pop(number) for number in old)) - set(keep)
        gone -= set().union(*self._stored.values())
        if gone:
            await self._ports.blocking(lambda: store.let_go(gone))
        for digest in gone & self._updates.keys():
            del self._updates[digest]

    def _hold_secret(self, memory: Parameters) -> bytes:
        """For the store alone: what lies with the courier can be asked for."""
        if not len(memory):
            return b""
        packed = pack(memory)
        self._secrets[packed.digest] = packed
        return packed.digest

    def _hold_memory(self, memory: Parameters, round: int) -> bytes:
        if not len(memory):
            return b""
        packed = pack(memory)
        self._courier.hold(packed, round=round)
        return packed.digest

    def _arrays(self, digest: bytes) -> Parameters:
        return parameters_of(self._courier.payloads[digest], limits=self._ports.limits)[0]

    # --- making ----------------------------------------------------------------------------------------------

    async def train(self, turn: int) -> Update:
        """This site's contribution to the merge of this number. Raises TrainingFailed."""
        ports, state = self._ports, self.state
        if ports.trainer is not None:
            update = await ports.trainer(turn, state)
        else:
            update = await ports.blocking(lambda: ports.work.train(turn, state))
        await ports.blocking(lambda: ports.guard.check(update))
        return update

    async def pack_update(self, update: Update, *, run: int, round: int) -> ev.Trained:
        """Hash an update under its salted context, so that small tables cannot be guessed from the ledger."""
        salt = self._ports.entropy(16, "salt", run, round)
        context = context_of(self._site, run=run, round=round, study=self._charter.study, salt=salt)
        packed = await self._ports.blocking(lambda: pack(update.parameters, context))
        self._courier.hold(packed, round=round)
        memory = self._hold_memory(update.memory, round)
        arrays = self._arrays(packed.digest)  # those of the payload: no second copy of a large update is kept
        self._updates[packed.digest] = replace(update, parameters=arrays)
        return ev.Trained(round, packed.digest, update.weight, memory=memory)

    async def carry(self, action: do.Carry, *, run: int) -> ev.Trained | ev.Failed:
        """A late update once more, with less weight the older it is."""
        late = self._updates.get(action.digest)
        if late is None:
            return ev.Failed("train", "lost", round=action.round)
        weight = max(1, int(late.weight / math.sqrt(1 + action.round - action.late_round)))
        return await self.pack_update(replace(late, weight=weight), run=run, round=action.round)

    async def run_step(self, action: do.RunStep, view: RunView) -> ev.Stepped | ev.Failed | None:
        """The guard's payload of a step, salted; None when the round has moved on.

        What a peer sent may be unusable, or asked against a rule: then `Failed`, naming the peer where that is certain.
        """
        guard, context = self._ports.guard, self._context(view, action.round, action.attempt)
        commit = view.round.commits.get(self._site) if view.round else None
        own = self._updates.get(commit.digest) if commit else None
        if context is None or own is None or view.round is None or view.round.attempt != action.attempt:
            return None
        if not self._holds(action.inputs):
            return ev.Failed("exchange", "lost", round=action.round)
        received = self._gather(action.inputs)
        showing = showing_step(guard.recipe) if shows(self.state) else ""
        try:  # before anything is masked for whoever shows what cannot be, and before a share of any key is given
            await self._refuse(view, action.inputs.get(showing, {}), base=context.base)
        except PeerError as wrong:
            return ev.Failed("exchange", "unusable", where=str(wrong), round=action.round, site=wrong.site)
        try:
            arrays = await self._ports.blocking(lambda: guard.step(action.step, context, own=own, received=received))
            if showing == action.step and commit is not None:
                arrays = with_shown(arrays, self._courier.payloads[commit.digest])
        except PeerError as wrong:
            return ev.Failed("exchange", "dealing", where=str(wrong), round=action.round, site=wrong.site)
        except TrainingFailed as failed:
            return ev.Failed("exchange", failed.code, where=str(failed), round=action.round, site=self._site)
        salt = self._ports.entropy(16, "salt", view.run, action.round, action.attempt, action.step).hex()
        packed = pack(arrays, {"site": self._site, "run": view.run, "round": action.round, "salt": salt})
        self._courier.hold(packed, round=action.round)
        memory = self._hold_secret(guard.memory())
        return ev.Stepped(action.round, action.attempt, action.step, packed.digest, memory)

    async def merge(
        self, action: do.Merge | do.Recompute, view: RunView
    ) -> ev.Merged | ev.Recomputed | ev.Failed | None:
        """The merge of these inputs, bit for bit as every other site makes it; None when the round has moved on.

        Inputs that cannot be merged are no error of this node: `Failed`, naming the peer where that is certain.
        """
        ports, state = self._ports, self.state
        context = self._context(view, action.round, action.attempt)
        if context is None or self.base != action.base:
            return None
        if not self._holds(action.inputs):
            return ev.Failed("exchange", "lost", round=action.round)
        received = self._gather(action.inputs)

        def make() -> Packed:
            updates = ports.guard.open(context, survivors=action.contributors, received=received)
            if not shows(state):
                return pack(ports.work.merge(state, updates))
            if not isinstance(updates, Aggregate):
                return pack(ports.work.merge(state, tuple(self._salted(view, one) for one in updates)))
            held = action.inputs[showing_step(ports.guard.recipe)]
            updates = replace(updates, shown=tuple(self._shown(view, held, site) for site in updates.contributors))
            return pack(ports.work.merge(state, updates))

        try:
            self._check_origin(action.inputs, run=view.run, round=action.round)
            packed = await ports.blocking(make)
        except PeerError as wrong:
            return ev.Failed("merge", "unusable", round=action.round, site=wrong.site)
        except TrainingFailed as failed:
            return ev.Failed("merge", failed.code, round=action.round)
        except (ArithmeticError, ValueError, LookupError, MemoryError):  # totals that no honest sites can give
            return ev.Failed("merge", "error", round=action.round)
        self._courier.hold(packed, round=action.round)
        made = ev.Merged if isinstance(action, do.Merge) else ev.Recomputed
        return made(action.round, action.attempt, packed.digest, action.contributors)

    async def adopt(self, action: do.Adopt, *, turn: int) -> ev.Adopted:
        """A final merge is the state; private memory advances only if the merge lists this site."""
        work, state = self._ports.work, self._arrays(action.digest)
        own = self._updates.get(action.own) if action.own else None
        self.measures = await self._ports.blocking(lambda: work.adopt(turn, state, own))
        self.state, self.base = state, action.digest
        self._updates.pop(action.own, None)  # it is in the merge; one that missed its round is kept to be carried
        memory = self._hold_memory(work.memory(), action.round)
        finished = await self._ports.blocking(lambda: work.finished(state))
        return ev.Adopted(action.round, action.digest, finished, memory)

    def _context(self, view: RunView, round: int, attempt: int) -> Context | None:
        current, newest = view.round, view.newest
        if current is None or current.number != round:
            return None
        return Context(
            consortium=self._charter.consortium,
            study=self._charter.study,
            run=view.run,
            round=round,
            attempt=attempt,
            base=newest.digest if newest else b"",
            frozen=current.frozen,
            weights={site: commit.weight for site, commit in current.commits.items()},
            n_joiners=current.n_joiners,
            joiners=tuple(view.joiners[: current.n_joiners]),
        )

    def _check_origin(self, inputs: Mapping[str, Mapping[str, bytes]], *, run: int, round: int) -> None:
        """Raise PeerError unless each payload says it is its sender's own, of this run and round.

        A digest on the ledger is public: without this, a site could commit its neighbour's and count it twice.
        """
        for held in inputs.values():
            for site, digest in held.items():
                if not digest:
                    continue
                said = read_header(self._courier.payloads[digest].header, limits=self._ports.limits).context
                if (said.get("site"), said.get("run"), said.get("round")) != (site, run, round):
                    raise PeerError(f"payload of site '{site}' was made by another, or for another round", site=site)

    def _holds(self, inputs: Mapping[str, Mapping[str, bytes]]) -> bool:
        """Whether every payload is here; an own one may be lost on the disk."""
        known = self._courier.payloads.keys() | {b""}
        return all(digest in known for held in inputs.values() for digest in held.values())

    def _payload(self, digest: bytes) -> Parameters:
        if not digest:
            return _NONE
        return self._updates[digest].parameters if digest in self._updates else self._arrays(digest)

    def _shown(self, view: RunView, held: Mapping[str, bytes], site: str) -> Update:
        """The answer a site shows, as the ledger holds its digest. Raises PeerError, naming the site."""
        round = view.round
        commit = round.commits.get(site) if round else None
        if round is None or commit is None or site not in held:
            raise PeerError(f"site '{site}' has committed no answer that it could show", site=site)
        return read_shown(
            self._payload(held[site]), site=site, run=view.run, round=round.number, committed=commit.digest,
            limits=self._ports.limits,
        )  # fmt: skip

    async def _refuse(self, view: RunView, held: Mapping[str, bytes], *, base: bytes) -> None:
        """Raise PeerError, naming the site, for an answer that is shown and cannot be merged.

        Whatever else fails in looking accuses nobody: the merge will meet it again.
        """
        state, shown = self.state, tuple(self._shown(view, held, site) for site in sorted(held))
        if shown and self.base == base:
            with contextlib.suppress(TrainingFailed, ArithmeticError, ValueError, LookupError, MemoryError):
                await self._ports.blocking(lambda: self._ports.work.refuse(state, shown))

    def _salted(self, view: RunView, open_: Update) -> Update:
        """An answer that lies open, with the salt of its commitment. Raises PeerError, naming the site."""
        commit = view.round.commits.get(open_.site) if view.round else None
        if commit is None or commit.digest not in self._courier.payloads:
            return open_
        said = read_header(self._courier.payloads[commit.digest].header, limits=self._ports.limits).context
        return replace(open_, salt=salt_of(said, site=open_.site))

    def _gather(self, inputs: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, Parameters]]:
        """Arrays by step and sender, as guards make them; own updates without reading them back."""
        return {
            step: {site: without_shown(self._payload(digest)) for site, digest in held.items()}
            for step, held in inputs.items()
        }
