"""`MaskedGuard`: the masked recipe at one site (seam `core.exchange.Guard`), and the memory that keeps it honest.

The machine says who is asked what and when; `member` and `leader` compute. What lives here are the rules that need
remembering, across restarts too (privacy.md section 3.4):

- one context per attempt: a second question of the same attempt over another set, base or layout is refused;
- one header per attempt: a vector is masked for one set of keys only, so no stream is used twice;
- one set of survivors per round: an answer is given once, and after it no other attempt of that round is served;
- one set of survivors per update: a round that was answered and came to nothing is followed by one in which the same
  model gives the same update, and two sums of it over different sites would differ by whoever is in one of them.

`memory` holds 32 random bytes and a few digests for each attempt of the newest round, and the digests of answered ones
before it that began from the same model; the node writes it before the payload leaves. Equal questions get equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cohortium.core.exchange import MASKED, Context, Received
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import InvariantBroken, PeerError
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.fixed_point import exponents
from cohortium.privacy.secagg.layout import WordLayout
from cohortium.privacy.secagg.leader import open_sum
from cohortium.privacy.secagg.member import announce, answer, check_weight, deal_shares, header_of, mask
from cohortium.privacy.secagg.messages import Answer, seen_digest
from cohortium.privacy.secagg.reading import Reader
from cohortium.privacy.secagg.scratch import Scratch
from cohortium.privacy.secagg.secrets import ROOT_BYTES, Secrets

__all__ = ["MaskedGuard"]

_Attempt = tuple[int, int, int]
"""Run, round, attempt."""

_DIGEST_BYTES, _SAMPLE_BYTES = 32, 4096


@dataclass(frozen=True, kw_only=True, repr=False)
class _Kept:
    """What must survive a restart. header: once masked; answered: digest of the survivors, once answered. update: of
    what was masked, and the model it came from."""

    root: bytes
    ctx: bytes
    layout: bytes
    header: bytes = b""
    answered: bytes = b""
    update: bytes = b""


class MaskedGuard:
    """One site's part in masked rounds. entropy: n secret bytes, of the operating system outside of simulations.

    word_bits: of floating values; 16 halves the bytes of 32, 64 is for sums of moments. Integers always take 64.
    largest_weight: 0 for public weights; else weights are masked as well, and none may be above it.
    """

    def __init__(
        self, site: str, *, entropy: Callable[[int], bytes], word_bits: int = 32, largest_weight: int = 0
    ) -> None:
        self.site = site
        self.word_bits = word_bits
        self.largest_weight = largest_weight
        self.recipe = replace(MASKED, hidden_weights=True) if largest_weight else MASKED
        self._entropy = entropy
        self._kept: dict[_Attempt, _Kept] = {}
        self._past: dict[_Attempt, tuple[bytes, bytes]] = {}  # answered rounds before: digests of update and survivors
        self._secrets: dict[tuple[bytes, bytes], Secrets] = {}
        self._scratch, self._read = Scratch(), Reader()
        self._bound: tuple[Parameters, Binding] | None = None
        WordLayout((), word_bits)  # refuses other widths here, not in the first round

    def check(self, update: Update) -> None:
        """Raise TrainingFailed for values that are not finite or beyond 2^16, and for a hidden weight too large."""
        hidden = self.largest_weight > 0
        layout = WordLayout.of(update.parameters, word_bits=self.word_bits, hidden_weight=hidden)
        check_weight(self.site, update, largest=self.largest_weight)
        exponents(update.parameters, layout, site=self.site)

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """This site's payload of a step. Raises PeerError when asked against a rule, TrainingFailed out of range."""
        binding = self._bind(context, own)
        binding.check(self.site)
        kept = self._begin(binding, own) if step == "keys" else self._known(binding)
        secrets = self._secrets_of(kept)
        if step == "keys":
            return announce(binding, self.site, secrets, own).to_parameters()
        keys = self._read.keys(binding, received)
        if step == "shares":
            return deal_shares(binding, self.site, secrets, keys).to_parameters()
        shares = self._read.shares(binding, received)
        if step == "masked":
            self._bind_header(binding, kept, header_of(binding, keys))
            seen = seen_digest(received["keys"], received["shares"])
            return mask(binding, self.site, secrets, own, keys, seen=seen, scratch=self._scratch)
        if step == "unmask":
            survivors = tuple(sorted(received.get("survivors", {})))
            self._bind_answer(binding, kept, survivors, header_of(binding, keys))
            given = answer(binding, self.site, secrets, keys=keys, shares=shares, survivors=survivors)
            return given.to_parameters()
        raise InvariantBroken(f"masked recipe has no step '{step}' that a guard computes")

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> Aggregate:
        """The sum over the survivors. Raises PeerError, naming the site where that is certain."""
        layout = self.layout_of(context)
        binding = Binding(context=context, layout=layout, largest_weight=self.largest_weight)
        if binding.digest != self._kept[_attempt(context)].ctx:
            raise PeerError("asked to open a sum of another set, base model or layout than was masked")
        answered = received.get("unmask", {})
        return open_sum(
            binding,
            survivors=tuple(sorted(survivors)),
            keys=self._read.keys(binding, received),
            shares=self._read.shares(binding, received),
            masked=received.get("masked", {}),
            answers={
                site: Answer.from_parameters(arrays, binding, site=site)
                for site, arrays in sorted(answered.items())
                if site in survivors
            },
            seen=seen_digest(received["keys"], received["shares"]),
            scratch=self._scratch,
        )

    def layout_of(self, context: Context) -> WordLayout:
        """What was masked in this attempt. Raises PeerError where this site took no part."""
        kept = self._kept.get(_attempt(context))
        if kept is None:
            raise PeerError(f"site '{self.site}' took no part in attempt {context.attempt} of round {context.round}")
        return WordLayout.from_bytes(kept.layout)

    def memory(self) -> Parameters:
        """Roots and digests of the newest round's attempts."""
        held: dict[str, object] = {}
        for at, kept in sorted(self._kept.items()):
            room = "/".join(str(one) for one in at)
            for name in ("root", "ctx", "layout", "header", "answered", "update"):
                held[f"{room}/{name}"] = np.array(bytearray(getattr(kept, name)), dtype=np.uint8)
        for at, promised in sorted(self._past.items()):
            held["/".join(str(one) for one in at) + "/past"] = np.array(bytearray(b"".join(promised)), dtype=np.uint8)
        return Parameters(held)

    def restore(self, memory: Parameters) -> None:
        """Put back what `memory` gave; of one attempt, what was promised before is never taken back."""
        rooms = dict.fromkeys(name.rpartition("/")[0] for name in memory)
        for room in rooms:
            run, round, attempt = (int(one) for one in room.split("/"))
            found = {name: array.tobytes() for name, array in memory.under(room).items()}
            if past := found.get("past"):
                self._past[run, round, attempt] = (past[:_DIGEST_BYTES], past[_DIGEST_BYTES:])
                continue
            before = self._kept.get((run, round, attempt))
            for name in ("header", "answered"):
                if before is not None and not found[name]:
                    found[name] = getattr(before, name)
            self._kept[run, round, attempt] = _Kept(**found)
        self._forget()

    def _bind(self, context: Context, own: Update) -> Binding:
        """The attempt at hand; described once, though every step asks."""
        before = self._bound
        if before is not None and before[0] is own.parameters and _same(before[1].context, context):
            return before[1]
        hidden = self.largest_weight > 0
        layout = WordLayout.of(own.parameters, word_bits=self.word_bits, hidden_weight=hidden)
        binding = Binding(context=context, layout=layout, largest_weight=self.largest_weight)
        self._bound = (own.parameters, binding)
        return binding

    def _secrets_of(self, kept: _Kept) -> Secrets:
        """The secrets of the attempt at hand, derived once; those of another are let go."""
        if not kept.root:
            raise PeerError("asked about a round that is final: its secrets are gone")
        at = (kept.root, kept.ctx)
        if at not in self._secrets:
            self._secrets = {at: Secrets.from_root(*at)}
        return self._secrets[at]

    def finish(self, round: int) -> None:
        """Let go of the secrets of all rounds up to this one; what was promised in them stands."""
        self._kept = {at: kept if at[1] > round else replace(kept, root=b"") for at, kept in self._kept.items()}
        if not any(kept.root for kept in self._kept.values()):
            self._secrets, self._read, self._bound = {}, Reader(), None

    # --- what is remembered ------------------------------------------------------------------------------------

    def _begin(self, binding: Binding, own: Update) -> _Kept:
        """Secrets of a new attempt, or of this one again."""
        at = _attempt(binding.context)
        if at not in self._kept:
            self._refuse_after_answer(at)
            root = self._entropy(ROOT_BYTES)
            if len(root) != ROOT_BYTES:
                raise InvariantBroken(f"entropy gave {len(root)} bytes, asked for {ROOT_BYTES}")
            layout, update = binding.layout.to_bytes(), _known_again(own, binding.context.base)
            self._kept[at] = _Kept(root=root, ctx=binding.digest, layout=layout, update=update)
            self._forget()
        return self._known(binding)

    def _known(self, binding: Binding) -> _Kept:
        at = _attempt(binding.context)
        self._refuse_after_answer(at)
        kept = self._kept.get(at)
        if kept is None:
            raise PeerError(f"site '{self.site}' announced no keys in attempt {at[2]} of round {at[1]}")
        if kept.ctx != binding.digest:
            raise PeerError(f"attempt {at[2]} of round {at[1]} was begun over another set, base model or layout")
        return kept

    def _refuse_after_answer(self, at: _Attempt) -> None:
        """A second sum of the same round over a smaller set would uncover the missing site by subtraction."""
        for other, kept in self._kept.items():
            if kept.answered and other[:2] == at[:2] and other != at:
                raise PeerError(f"round {at[1]} was unmasked in attempt {other[2]}; attempt {at[2]} is refused")

    def _bind_header(self, binding: Binding, kept: _Kept, header: bytes) -> None:
        if kept.header not in (b"", header):
            raise PeerError("asked to mask again for other keys than before")
        self._kept[_attempt(binding.context)] = replace(kept, header=header)

    def _bind_answer(self, binding: Binding, kept: _Kept, survivors: tuple[str, ...], header: bytes) -> None:
        binding.check_survivors(survivors)
        if self.site not in survivors:
            raise PeerError(f"site '{self.site}' is no survivor and answers nothing")
        if kept.header != header:
            raise PeerError("asked to unmask for other keys than were masked for")
        said = hashlib.sha256("|".join(survivors).encode()).digest()
        if kept.answered not in (b"", said):
            raise PeerError(f"round {binding.context.round} was unmasked for other survivors")
        for at, (update, answered) in self._past.items():
            if update == kept.update and answered != said:
                raise PeerError(f"the same update was unmasked for other survivors in round {at[1]}")
        self._kept[_attempt(binding.context)] = replace(kept, answered=said)

    def _forget(self) -> None:
        """Keep the newest round, and of those before it what was answered for an update that comes again."""
        newest = max(at[:2] for at in self._kept)
        for at, kept in self._kept.items():
            if at[:2] != newest and kept.answered:
                self._past[at] = (kept.update, kept.answered)
        self._kept = {at: kept for at, kept in self._kept.items() if at[:2] == newest}
        again = {kept.update for kept in self._kept.values()}
        self._past = {at: promised for at, promised in self._past.items() if promised[0] in again}


def _same(one: Context, other: Context) -> bool:
    return one == other and one.weights == other.weights


def _known_again(own: Update, base: bytes) -> bytes:
    """Equal for equal updates from one model; with noise in them, the first numbers of each array differ."""
    found = hashlib.sha256(b"cohortium-again-1" + len(base).to_bytes(1, "big") + base)
    for array in own.parameters.values():
        found.update(array.reshape(-1).view(np.uint8)[:_SAMPLE_BYTES].tobytes())
    return found.digest()


def _attempt(context: Context) -> _Attempt:
    return context.run, context.round, context.attempt
