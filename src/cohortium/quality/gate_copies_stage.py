"""Near-copies of a site's records at other sites, in four exchanges before the model (`[quality] copies`).

    size      shown as committed (`core.marks`): whether a site has 20 training records, and how many sets of each part.
              Where fewer than three have, it ends here, and nobody is asked for a row
    ask       sums: of the sites' standardised training rows and their number, and of 32 random bytes of each site; then
              mean and secret are known to those in the run, and to nobody else
    tell      shown as committed: each site's sets of tokens (`gate_copies`), training and held-out apart
    compare   each site compares its own rows and remembers what it found; state and model keep none of all that

A set holds the tokens of 5 to 128 records, dealt by chance, so that the bands of one record are not linked and
strangers do not agree; parts below 5 records tell nothing and are compared all the same. Sites below 20 training
records add nothing to the mean. Equal records count once, near-copies inside a part are told once, and records without
spread neither count nor are told. Of more than 2,560 training or 1,280 held-out records chance draws which are told.

No guarantee: whoever is in the run can look a known patient up, and who lies can blind the look or make it alarm.
Design: harmful-data.md 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.check import Check
from cohortium.core.examples import Examples, Layout
from cohortium.core.marks import SHOWN, showing_once
from cohortium.core.parameters import Parameters
from cohortium.core.update import Beside, Fitted, Instructions
from cohortium.errors import InvariantBroken, PeerError, Problem, StudyError
from cohortium.quality.gate_copies import (
    BANDS,
    LEAST_VALUES,
    MOST_VALUES,
    SET_RECORDS,
    CopyTokens,
    Found,
    check_copies,
    different,
    found_elsewhere,
    standardised,
    tokens,
)
from cohortium.swarm.program import Program

__all__ = [
    "NO_GUARANTEE",
    "STAGE",
    "CopiesAtSites",
    "check_records",
    "copies_found",
    "copies_listed",
    "copies_remembered",
]

STAGE = "copies"

NO_GUARANTEE = (
    "copies at other sites were looked for by tokens of single records that every member of the run was told: this has "
    "no privacy guarantee, and whoever was in the run could look a known patient up"
)
"""For the page of every such run."""

_SIZE, _ASK, _TELL, _COMPARE, _OVER = range(5)
_FINE, _FEW, _ODD, _NARROW = range(4)
_WHY = {
    _FEW: "fewer than 3 sites hold 20 training records, or none has 5 to tell of",
    _ODD: "what sites have told to agree on a secret cannot be",
    _NARROW: f"fewer than {LEAST_VALUES} values a record are left",
}
_PARTS, _MOST_SETS = ("training", "held_out"), (20, 10)
_LEAST_TOLD, _LEAST_MEAN = 5, 20
_LEAST_SITES, _MOST_SITES, _MOST_ROWS = 3, 128, 1 << 24
_BITS, _TOKEN_BITS, _WORDS = 30, 48, 8
_NAMED = 5
_MANY, _LEAST_MANY = 5, 5  # more than every fifth record, and at least so many
_MANY_FOUND = (
    "more than a fifth of the records here have near-copies at other sites: either the same patients were sent by two "
    "hospitals, or the columns tell too little to tell strangers apart; compare a few by hand"
)
_LIES = {1: "same part", 2: "other part", 3: "both parts"}

Integers = NDArray[np.int64]
Tokens = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class CopiesAtSites:
    """A preparation that changes nothing, the last one: records are compared as the model sees them."""

    learns_by: ClassVar[Literal["sums"]] = "sums"
    looks_beside: ClassVar[bool] = True
    max_rounds: ClassVar[int] = 4

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`, and `why` nothing is compared."""
        return _over(_NARROW) if layout.n_features < LEAST_VALUES else showing_once(_at(_SIZE))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """What this site shows, or adds to the sums; in the last exchange what it remembers."""
        beside, step = instructions.beside, int(start["step"][0])
        if beside is None:
            raise InvariantBroken("the look for copies needs its site's held-out rows")
        memory = Parameters()
        if step == _SIZE:
            told = {"size": _size(examples, beside)}
        elif step == _ASK:
            told = _asked(examples, beside)
        elif step == _TELL:
            told = _told(start, examples, beside)
        else:
            told = {"compared": np.ones(1, dtype=np.int64)}
            memory = _compared(start, examples, beside) if step == _COMPARE else memory
        return Fitted(parameters=Parameters(told), n_samples=len(examples), memory=memory)

    def refuse(self, answer: Parameters, *, site: str) -> None:
        """Raise PeerError for sums that no site can add. What is shown is looked at in `gather`."""
        if "words" not in answer:
            return
        n, sites = (int(v) for v in answer["counted"])
        rows, words = (np.asarray(answer[name], dtype=np.int64) for name in ("rows", "words"))
        fine = (sites == 1 and n >= _LEAST_MEAN) or (sites == n == 0 and not rows.any())
        fine &= bool((np.abs(rows) <= n << _BITS).all() and (words >= 0).all() and (words < 1 << 32).all())
        if not fine or n > _MOST_ROWS:
            raise PeerError(f"update of site '{site}': no site can add this to the look for copies", site=site)

    def gather(self, parameters: Parameters, answers: Mapping[str, Parameters]) -> Parameters:
        """The sizes or the sets of all sites. Raises PeerError, naming the site, for anything else."""
        if int(parameters["step"][0]) == _SIZE:
            return Parameters({site: _size_told(answer, site=site) for site, answer in sorted(answers.items())})
        found = {}
        for site, answer in sorted(answers.items()):
            if set(answer) != set(_PARTS):
                raise PeerError(f"site '{site}' tells other things than its tokens", site=site)
            for part, n_sets in zip(_PARTS, _room(parameters), strict=True):
                if answer[part].dtype != np.int64 or answer[part].shape != (n_sets, SET_RECORDS * BANDS):
                    raise PeerError(f"site '{site}' tells more tokens than were asked for, or fewer", site=site)
                sets = np.asarray(answer[part], dtype=np.int64)
                if wrong := _no_sets(sets):
                    raise PeerError(f"site '{site}' tells {wrong}", site=site)
                if (told := sets[sets.any(axis=1)]).size:
                    found[f"{site}/{part}"] = told
        return Parameters(found)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Room for the sets; then mean and secret; then with all sets; then nothing but that it is over."""
        step = int(start["step"][0])
        if step == _SIZE:
            return _sized(total)
        if step == _ASK:
            return _agreed(start, total)
        if step == _TELL:
            kept = start.without([SHOWN, "room"])
            return kept | _at(_COMPARE) | total.prefixed("told")
        return _over(int(start["why"][0]))

    def finished(self, parameters: Parameters) -> bool:
        """After four exchanges, or where there is nothing to compare."""
        return int(parameters["step"][0]) >= _OVER

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing."""
        return Parameters()

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The examples as they are."""
        return examples

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The layout as it is."""
        return layout

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("the look for copies predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


def check_records(layout: Layout) -> None:
    """Refuse records in which copies cannot be told from strangers. Raises StudyError."""
    if not LEAST_VALUES <= layout.n_features <= MOST_VALUES:
        limits = f"{LEAST_VALUES} to {MOST_VALUES} values a record"
        why = f"near-copies are found among {limits}, and these have {layout.n_features}; leave copies out"
        raise StudyError([Problem("quality.copies", why)])


def copies_found(
    program: Program, state: Parameters, memory: Parameters, *, rows: Mapping[str, Sequence[int]]
) -> list[Check]:
    """What a site has found when it compared, for its own eyes; nothing while that is still to come.

    memory: the site's private arrays. rows: by part, where the records stand in the site's own table; empty where that
    is not known.
    """
    told = state.under(f"{STAGE}/model")
    if all(stage.name != STAGE for stage in program.stages) or "step" not in told or int(told["step"][0]) != _OVER:
        return []
    why, found = _WHY.get(int(told["why"][0]), ""), copies_remembered(memory)
    if not why and found is None:
        why = "this site was not there when the others compared"
    if why or found is None:
        return [Check(id="copies", level="skipped", found=f"copies at other sites were not looked for: {why}")]
    places = [str(row) for row, _, _ in copies_listed(found, rows)]
    listed = f" (rows {', '.join(places[:_NAMED])}{', ...' * (len(places) > _NAMED)})" if places else ""
    marks = np.concatenate([found.training, found.held_out]) > 0
    if marks.sum() >= _LEAST_MANY and _MANY * marks.sum() > len(marks):
        checks = [Check(id="copies", level="warn", found=_MANY_FOUND, fix="compare the patients of a few such records")]
    else:
        checks = check_copies(found, where="at other sites")
    return [one if one.level == "ok" else replace(one, found=one.found + listed) for one in checks]


def copies_listed(found: Found, rows: Mapping[str, Sequence[int]]) -> list[tuple[int, str, str]]:
    """(row in the site's own table, its part, where the near-copy lies) of each record with one, by row."""
    return sorted(
        (rows[part][at], part, _LIES[int(getattr(found, part)[at])])
        for part in rows
        for at in np.flatnonzero(getattr(found, part)).tolist()
    )


def copies_remembered(memory: Parameters) -> Found | None:
    """The marks of a site's own rows, None where it has not compared them."""
    held = memory.under(STAGE)
    if not len(held):
        return None
    return Found(**{part: np.asarray(held[part], dtype=np.int8) for part in _PARTS})


# a site's half


def _size(examples: Examples, beside: Beside) -> Integers:
    held = [_n_different(standardised(_numbers(one))) for one in (examples, beside.held_out)]
    sets = [_n_sets(n, most) for n, most in zip(held, _MOST_SETS, strict=True)]
    return np.array([held[0] >= _LEAST_MEAN, *sets], dtype=np.int64)


def _asked(examples: Examples, beside: Beside) -> dict[str, Integers]:
    rows = standardised(_numbers(examples))
    rows = rows[rows.any(axis=1)] if _n_different(rows) >= _LEAST_MEAN else rows[:0]
    total = fp.to_fixed(rows, _BITS, what="rows").sum(axis=0)
    counted = np.array([len(rows), len(rows) > 0], dtype=np.int64)
    words = np.frombuffer(beside.entropy(4 * _WORDS), dtype="<u4").astype(np.int64)
    return {"rows": total, "counted": counted, "words": words}


def _told(start: Parameters, examples: Examples, beside: Beside) -> dict[str, Integers]:
    own, rng = _own(start, examples, beside), np.random.default_rng(list(beside.entropy(32)))
    told = {}
    for part, n_sets in zip(_PARTS, _room(start), strict=True):
        made: Tokens = getattr(own, part)
        told[part] = np.zeros((n_sets, SET_RECORDS * BANDS), dtype=np.int64)
        order = rng.permutation(len(made))
        drawn = order[different(made[order], most=n_sets * SET_RECORDS)]
        if fill := _n_sets(len(drawn), n_sets):
            for place, some in zip(told[part], np.array_split(drawn, fill), strict=False):
                one = np.unique(made[some]).astype(np.int64)
                place[len(place) - len(one) :] = one
    return told


def _compared(start: Parameters, examples: Examples, beside: Beside) -> Parameters:
    told = start.under("told")
    sites = sorted({name.rsplit("/", 1)[0] for name in told} - {beside.site})
    others = [(_sets(told, f"{site}/training"), _sets(told, f"{site}/held_out")) for site in sites]
    found = found_elsewhere(_own(start, examples, beside), others)
    salt = np.frombuffer(beside.entropy(16), dtype=np.uint8)  # a memory that could be guessed could be asked for
    return Parameters({"training": found.training, "held_out": found.held_out, "salt": salt})


def _sets(told: Parameters, name: str) -> list[Tokens]:
    return [one[one > 0].astype(np.uint64) for one in np.asarray(told[name], dtype=np.int64)] if name in told else []


def _own(start: Parameters, examples: Examples, beside: Beside) -> CopyTokens:
    mean, secret = np.asarray(start["mean"], dtype=np.float64), start["secret"].tobytes()
    made = [tokens(_numbers(one), mean=mean, secret=secret) for one in (examples, beside.held_out)]
    return CopyTokens(training=made[0], held_out=made[1])


def _numbers(examples: Examples) -> NDArray[np.float64]:
    return np.nan_to_num(examples.x.reshape(len(examples), examples.layout.n_features).astype(np.float64))


def _n_different(rows: NDArray[np.float64]) -> int:
    """Standardised rows of which a site can speak: equal ones count once, those without spread not at all."""
    return len({row.tobytes() for row in rows if row.any()})


def _n_sets(n: int, most: int) -> int:
    """Sets of at most 128 records each, none of fewer than 5."""
    return 0 if n < _LEAST_TOLD else min(most, -(-n // SET_RECORDS))


# what is known to all


def _size_told(answer: Parameters, *, site: str) -> Integers:
    told = answer.get("size")
    if set(answer) != {"size"} or told is None or told.dtype != np.int64 or told.shape != (1 + len(_PARTS),):
        raise PeerError(f"site '{site}' tells other things than its size", site=site)
    size = np.asarray(told, dtype=np.int64)
    if (size < 0).any() or (size > (1, *_MOST_SETS)).any():
        raise PeerError(f"site '{site}' tells a size that cannot be", site=site)
    return size


def _sized(told: Parameters) -> Parameters:
    """Room for the sets of the largest site, or why nobody is asked for a row."""
    enough, *room = np.transpose([np.asarray(size, dtype=np.int64) for size in told.values()])
    most = np.array([one.max() for one in room], dtype=np.int64)
    if enough.sum() < _LEAST_SITES or not most.any():
        return _over(_FEW)
    return _at(_ASK) | Parameters({"room": most})


def _agreed(start: Parameters, total: Parameters) -> Parameters:
    """Mean and secret, or why there are none: into a masked sum anybody could write anything."""
    n, sites = (int(v) for v in total["counted"])
    words = np.asarray(total["words"], dtype=np.int64)
    odd = bool((words < 0).any() or (words >= _MOST_SITES << 32).any())
    if odd or not 0 <= sites <= _MOST_SITES or not sites * _LEAST_MEAN <= n <= _MOST_SITES * _MOST_ROWS:
        return _over(_ODD)
    if sites < _LEAST_SITES:
        return _over(_FEW)
    mean = np.asarray(total["rows"], dtype=np.int64).astype(np.float64) / float(n << _BITS)
    if (np.abs(mean) > 1.0).any():
        return _over(_ODD)
    secret = np.frombuffer(hashlib.sha256(b"cohortium-copies-1" + words.astype("<i8").tobytes()).digest(), np.uint8)
    return showing_once(start | _at(_TELL) | Parameters({"mean": mean, "secret": secret}))


def _no_sets(sets: Integers) -> str:
    """Why rows are not sorted sets of tokens behind zeros, empty where they are."""
    if (sets < 0).any() or (sets >> _TOKEN_BITS).any():
        return "numbers that are no tokens"
    steps = np.diff(sets, axis=1)
    return "tokens twice, or not in their order" if (steps < ((sets[:, 1:] > 0).astype(np.int64))).any() else ""


def _room(state: Parameters) -> tuple[int, int]:
    training, held_out = (int(v) for v in state["room"])
    return training, held_out


def _at(step: int, why: int = _FINE) -> Parameters:
    return Parameters({"step": np.array([step], dtype=np.int64), "why": np.array([why], dtype=np.int64)})


def _over(why: int) -> Parameters:
    return _at(_OVER, why)
