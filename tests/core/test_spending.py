"""Events and records of privacy spending: rounded to the safe side, one form, limits on everything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.spending import MAX_RECORD_BYTES, BudgetRecord, MechanismEvent, merged

HANDLE = "9f3c" * 16


def record(**changed) -> BudgetRecord:
    event = MechanismEvent.poisson_gaussian(q=0.1, sigma=2.584471, count=30)
    facts = {
        "site": "porto", "dataset": HANDLE, "run": "mds-3", "round": 7, "state": "reserved", "events": (event,),
        "delta": "1e-05", "clip": "1.0", "accountant": "dp-accounting 0.6.0 PLD 1e-4", "code": "sha256:" + "ab" * 32,
        "eps_run_micro": 812_000, "eps_total_micro": 3_471_000, "cap_micro": 10_000_000, "against": "colluders",
    }  # fmt: skip
    return BudgetRecord(**{**facts, **changed})


def test_the_record_of_the_design_is_said_word_for_word() -> None:
    assert json.loads(record().canonical()) == {
        "v": 1, "site": "porto", "dataset": HANDLE, "unit": "patient", "adjacency": "add-remove-one", "run": "mds-3",
        "round": 7, "state": "reserved",
        "events": [{"type": "poisson-gaussian", "q": "0.1", "sigma": "2.584471", "count": 30}], "delta": "1e-05",
        "clip": "1.0", "against": "colluders", "accountant": "dp-accounting 0.6.0 PLD 1e-4",
        "code": "sha256:" + "ab" * 32, "eps_run_micro": 812_000, "eps_total_micro": 3_471_000, "cap_micro": 10_000_000,
    }  # fmt: skip


@given(
    q=st.floats(1e-6, 1, exclude_max=True),
    sigma=st.floats(1e-3, 1e6),
    count=st.integers(1, 10**9),
)
def test_noise_is_rounded_down_and_sampling_up_by_less_than_a_millionth(q: float, sigma: float, count: int) -> None:
    event = MechanismEvent.poisson_gaussian(q=q, sigma=sigma, count=count)
    assert q <= float(event.q) <= q + 1.000001e-6
    assert sigma - 1.000001e-6 * max(1, sigma) <= float(event.sigma) <= sigma
    assert MechanismEvent.from_facts(event.facts()) == event


def test_every_mechanism_is_rounded_against_its_user() -> None:
    assert MechanismEvent.gaussian(sigma=1.23456789).sigma == "1.234567"
    assert MechanismEvent.laplace(scale=2.0).scale == "2.0"
    assert MechanismEvent.zcdp(rho=0.00000001).rho == "0.000001"
    assert MechanismEvent.tree(sigma=3.9999999, steps=12).facts() == {
        "type": "tree", "sigma": "3.999999", "steps": 12, "count": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        lambda: MechanismEvent.gaussian(sigma=0.0000001),
        lambda: MechanismEvent.gaussian(sigma=-1.0),
        lambda: MechanismEvent.gaussian(sigma=float("nan")),
        lambda: MechanismEvent.gaussian(sigma=float("inf")),
        lambda: MechanismEvent.gaussian(sigma=1.0, count=0),
        lambda: MechanismEvent.poisson_gaussian(q=1.1, sigma=1.0),
        lambda: MechanismEvent(type="gaussian", sigma="1.0", q="0.1"),
        lambda: MechanismEvent(type="gaussian", sigma="1e0"),
        lambda: MechanismEvent(type="gaussian", sigma="01.0"),
        lambda: MechanismEvent(type="gaussian", sigma="1.50"),
        lambda: MechanismEvent(type="exponential", sigma="1.0"),
        lambda: MechanismEvent(type="tree", sigma="1.0"),
        lambda: MechanismEvent(type="zcdp", rho="1.0", count=True),
        lambda: MechanismEvent.from_facts(["gaussian"]),
        lambda: MechanismEvent.from_facts({"type": "gaussian", "count": 1, "sigma": 1.0}),
        lambda: MechanismEvent.from_facts({"type": "gaussian", "count": 1}),
    ],
)
def test_what_is_no_event_is_refused(make) -> None:
    with pytest.raises(ValueError, match=r"event|count|steps|mechanism|sigma"):
        make()


def test_equal_mechanisms_are_counted_together() -> None:
    one, other = MechanismEvent.gaussian(sigma=2.0), MechanismEvent.poisson_gaussian(q=0.1, sigma=1.0, count=10)
    assert merged([other, one, other.times(2), one]) == (one.times(2), other.times(3))
    assert merged([]) == ()


@given(st.integers(0, 2**40), st.sampled_from(["reserved", "spent", "returned"]), st.integers(1, 6))
def test_a_record_comes_back_as_it_was(round: int, state: str, n: int) -> None:
    events = tuple(MechanismEvent.gaussian(sigma=1.0 + i, count=i + 1) for i in range(n))
    found = record(round=round, state=state, events=events)
    assert BudgetRecord.read(found.canonical()) == found
    assert len(found.canonical()) <= MAX_RECORD_BYTES


def mutated(**changed) -> bytes:
    facts = json.loads(record().canonical())
    facts |= changed
    facts = {name: value for name, value in facts.items() if value != "gone"}
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 1000,
        mutated(extra=1),
        mutated(clip="gone"),
        mutated(v=2),
        mutated(v=True),
        mutated(v=1.0),
        mutated(site="Porto"),
        mutated(dataset="9f3c"),
        mutated(state="forgiven"),
        mutated(unit="ward"),
        mutated(round=-1),
        mutated(round=1.5),
        mutated(eps_run_micro=True),
        mutated(events=[]),
        mutated(events="x"),
        mutated(events=[{"type": "gaussian"}]),
        mutated(delta="nan"),
        mutated(delta="2"),
        mutated(delta="small"),
        mutated(run="m\u00e4rz"),
        mutated(code="x" * 101),
        mutated(events=[{"type": "gaussian", "sigma": f"{i}.5", "count": 1} for i in range(1, 40)]),
        record().canonical() + b" ",
        record().canonical().replace(b'"v":1', b'"v":1,"v":1'),
    ],
)
def test_bytes_that_are_no_record_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        BudgetRecord.read(raw)
