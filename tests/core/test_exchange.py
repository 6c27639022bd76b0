import hashlib
from dataclasses import replace

import pytest

from cohortium.core.exchange import (
    MASKED,
    PLAIN,
    Context,
    PlainGuard,
    Recipe,
    Step,
    inputs_root,
    n_colluders,
    threshold,
)
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import InvariantBroken, PeerError


def context(**fields: object) -> Context:
    base = Context(
        consortium=bytes(32), study=bytes(32), run=1, round=2, attempt=0, base=bytes(32),
        frozen=("bonn", "porto"), weights={"bonn": 10, "porto": 30},
    )  # fmt: skip
    return replace(base, **fields)


def test_inputs_root_is_the_written_formula_and_ignores_order() -> None:
    commits = {"porto": b"\x02" * 32, "bonn": b"\x01" * 32}
    by_hand = hashlib.sha256(b"cohortium-inputs-1" + b"\x04bonn" + b"\x01" * 32 + b"\x05porto" + b"\x02" * 32)
    assert inputs_root(commits) == by_hand.digest()
    assert inputs_root(dict(reversed(commits.items()))) == by_hand.digest()


def test_every_part_of_the_context_counts_but_the_weights() -> None:
    base = context().digest()
    assert context(weights={}).digest() == base
    assert context(frozen=("porto", "bonn")).digest() == base
    for change in (
        {"consortium": b"\1" * 32}, {"study": b"\1" * 32}, {"run": 2}, {"round": 3}, {"attempt": 1},
        {"base": b"\1" * 32}, {"frozen": ("bonn",)},
    ):  # fmt: skip
        assert context(**change).digest() != base


def test_threshold_lets_no_two_disjoint_sets_unmask() -> None:
    assert [n_colluders(n) for n in (3, 5, 6, 7)] == [1, 1, 2, 2]
    assert threshold(7, 7) == 5
    for joiners in range(3, 60):
        for frozen in range(3, joiners + 1):
            # two sets of t of n members overlap in more than c sites, so in at least one honest one
            assert 2 * threshold(frozen, joiners) - frozen > n_colluders(joiners)


def test_plain_guard_gives_each_sites_update_with_its_committed_weight() -> None:
    a, b = Parameters({"w": [1.0]}), Parameters({"w": [2.0]})
    guard = PlainGuard()
    assert guard.step("updates", context(), own=Update(site="bonn", parameters=a, weight=10), received={}) is a
    opened = guard.open(context(), survivors=("porto", "bonn"), received={"updates": {"porto": b, "bonn": a}})
    assert [(u.site, u.weight, u.parameters) for u in opened] == [("bonn", 10, a), ("porto", 30, b)]
    with pytest.raises(InvariantBroken, match="asked to show an update in step 'keys'"):
        guard.step("keys", context(), own=Update(site="bonn", parameters=a, weight=10), received={})
    guard.restore(guard.memory())
    guard.finish(2)
    guard.check(Update(site="bonn", parameters=Parameters({"w": [float("inf")]}), weight=1))


@pytest.mark.parametrize("weight", [0, (1 << 29) + 1, (1 << 256) - 1])
def test_committed_weight_no_update_may_have_is_a_peers_fault_and_named(weight: int) -> None:
    arrays = Parameters({"w": [1.0]})
    found = context(weights={"bonn": 1 << 29, "porto": weight})
    with pytest.raises(PeerError, match="'porto': its committed weight") as refused:
        PlainGuard().open(found, survivors=("bonn", "porto"), received={"updates": {"bonn": arrays, "porto": arrays}})
    assert refused.value.site == "porto"


def test_recipes_number_their_steps_and_name_them_once() -> None:
    assert [step.name for step in PLAIN.steps] == ["updates"]
    assert [step.name for step in MASKED.steps] == ["keys", "shares", "masked", "survivors", "unmask"]
    assert [step.number for step in MASKED.steps] == [0, 1, 2, 3, 4]  # the contract knows 2 and 3
    step = Step(name="a", number=1, payload="computed")
    with pytest.raises(ValueError, match="its own name"):
        Recipe(name="r", steps=(step, Step(name="a", number=2, payload="computed")))
    with pytest.raises(ValueError, match="numbered 1 to 1"):
        Recipe(name="r", steps=(Step(name="a", number=2, payload="computed"),))
    with pytest.raises(ValueError, match="at least one step"):
        Recipe(name="r", steps=())
