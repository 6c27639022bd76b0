"""`co.rehearse`: ordinary functions, the real nodes, one result that a plain loop confirms."""

import asyncio
import math
import threading

import numpy as np
import pytest

import cohortium as co
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.errors import RunFailed, StudyError, UsageError
from cohortium.ledger.archive import verify


@pytest.fixture
def make_sites(data, make_site):
    def make(study, **before):
        return {site: make_site(study, x, y, **before.get(site, {})) for site, (x, y) in data.items()}

    return make


def network():
    """A linear unit."""
    import torch

    return torch.nn.Linear(2, 1)


def by_hand(data, step, *, rounds, weights=None):
    """Federated averaging in six lines: the mean change weighted by rows, added to the round's weights."""
    w = np.zeros(3)
    total = sum((weights or {}).get(site, len(data[site][1])) for site in data)
    for _ in range(rounds):
        change = np.zeros(3)
        for site in sorted(data):
            x, y = data[site]
            own = w.copy()
            step(own, x, y)
            change += (own - w) * float((weights or {}).get(site, len(y)))
        w = w + change / float(total)
    return Parameters({"w": w})


def test_a_rehearsal_gives_the_bits_of_a_loop_by_hand(data, make_sites, make_study, step):
    study = make_study(rounds=6)
    result = co.rehearse(study, sites=make_sites(study))
    assert result.parameters.digest == by_hand(data, step, rounds=6).digest
    assert result.outcome.status == "complete"
    assert result.included == (("bonn", "lund", "porto"),) * 6


def test_one_full_batch_step_a_round_is_gradient_descent_on_the_pooled_rows(data, make_sites, make_study, step):
    """Theorem: averaging steps weighted by rows is the step on all rows together."""
    study = make_study(rounds=6)
    x, y = (np.concatenate([data[site][part] for site in sorted(data)]) for part in (0, 1))
    pooled = np.zeros(3)
    for _ in range(6):
        step(pooled, x, y)
    assert np.allclose(co.rehearse(study, sites=make_sites(study)).parameters["w"], pooled, rtol=0, atol=1e-12)


def test_the_unweighted_mean_counts_sites_not_rows(data, make_sites, make_study, step):
    study = make_study(name="mean", rounds=3)
    equal = by_hand(data, step, rounds=3, weights=dict.fromkeys(data, 1))
    assert co.rehearse(study, sites=make_sites(study)).parameters.digest == equal.digest
    assert equal != by_hand(data, step, rounds=3)


def test_every_site_ends_with_the_merged_model(make_sites, make_study):
    study = make_study()
    result = co.rehearse(study, sites=make_sites(study))
    assert {site: w.tolist() for site, w in result.values.items()} == dict.fromkeys(
        ("bonn", "lund", "porto"), result.parameters["w"].tolist()
    )


def test_the_order_in_which_sites_are_given_changes_nothing(make_sites, make_study):
    study = make_study()
    functions = make_sites(study)
    found = [co.rehearse(study, sites={site: functions[site] for site in order}) for order in (
        ("porto", "bonn", "lund"), ("lund", "porto", "bonn"))]  # fmt: skip
    assert found[0].parameters.digest == found[1].parameters.digest
    assert found[0].ledger == found[1].ledger


def test_all_start_from_the_weights_of_the_first_site_by_name(make_study):
    study = make_study(rounds=1)
    seen = {}

    def site(name, value):
        def function():
            model = {"w": np.full(2, value)}
            with co.join(study) as swarm:
                for round in swarm.rounds(model):
                    seen[name] = model["w"].tolist()
                    round.share(n=1)

        return function

    co.rehearse(study, sites={"porto": site("porto", 9.0), "bonn": site("bonn", 4.0)})
    assert seen == {"bonn": [4.0, 4.0], "porto": [4.0, 4.0]}


def test_functions_take_turns_in_the_order_of_their_names(make_study):
    study, log = make_study(rounds=3), []

    def site(name):
        def function():
            model = {"w": np.zeros(1)}
            with co.join(study) as swarm:
                for round in swarm.rounds(model):
                    log.append(f"{name} in")
                    np.linalg.svd(np.ones((50, 50)))  # long enough for another thread to come between, if it could
                    log.append(f"{name} out")
                    round.share(n=1)

        return function

    co.rehearse(study, sites={name: site(name) for name in ("porto", "bonn")})
    assert log == ["bonn in", "bonn out", "porto in", "porto out"] * 3


def test_it_works_where_an_event_loop_is_running(make_sites, make_study):
    study = make_study()

    async def notebook():
        return co.rehearse(study, sites=make_sites(study))

    assert asyncio.run(notebook()).parameters == co.rehearse(study, sites=make_sites(study)).parameters


def test_the_ledger_of_a_rehearsal_verifies_offline(make_sites, make_study, tmp_path):
    study = make_study(rounds=3)
    result = co.rehearse(study, sites=make_sites(study))
    (run,) = verify(result.export(tmp_path / "ledger.jsonl"), evm=False).runs
    assert run.study == study.digest
    assert [merge.contributors for merge in run.merges] == list(result.included)


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "coordinate-median", "trimmed-mean", "minimum"])
def test_other_merges_learn_too_and_repeat(make_sites, make_study, name):
    study = make_study(name=name, rounds=3)
    found = [co.rehearse(study, sites=make_sites(study)).parameters for _ in range(2)]
    assert found[0].digest == found[1].digest
    assert np.abs(found[0]["w"]).max() > 0


def test_rounds_of_re_weighing_do_not_wake_the_loops(make_sites, make_study):
    """The geometric median trains once in a cycle of 1 + 3 rounds."""
    study, passes = make_study(name="geometric-median", rounds=8), []
    before = {"before": lambda number, weights: passes.append(number)}
    result = co.rehearse(study, sites=make_sites(study, bonn=before))
    assert passes == [1, 2]
    assert len(result.included) == 8


def test_a_study_that_stops_early_ends_the_loops(make_sites, make_study):
    study = make_study(rounds=40, stop={"patience": 1, "min_delta": 0.05})
    result = co.rehearse(study, sites=make_sites(study))
    assert result.outcome.status == "complete"
    assert len(result.included) < 10
    assert {len(losses) for losses in result.losses.values()} == {len(result.included)}


def test_losses_are_kept_by_site_and_pass(make_sites, make_study):
    study = make_study(rounds=3)
    losses = co.rehearse(study, sites=make_sites(study)).losses["bonn"]
    assert losses[0] == pytest.approx(math.log(2))
    assert losses[0] > losses[1] > losses[2]


def test_a_list_model_and_a_dict_model_learn_the_same(data, make_sites, make_study, step):
    study = make_study()

    class Listed:
        def __init__(self):
            self.w = [np.zeros(3)]

        def get_weights(self):
            return self.w

        def set_weights(self, weights):
            self.w = weights

    def listed(x, y):
        def function():
            model = Listed()
            with co.join(study) as swarm:
                for round in swarm.rounds(model):
                    step(model.w[0], x, y)
                    round.share(n=len(y))

        return function

    result = co.rehearse(study, sites={site: listed(*rows) for site, rows in data.items()})
    expected = co.rehearse(study, sites=make_sites(study)).parameters["w"]
    assert result.parameters["array_0"].tolist() == expected.tolist()


# --- what goes wrong ---------------------------------------------------------------------------------------------


def fails_in(number):
    def before(round, weights):
        if round == number:
            raise ValueError("cannot read scan")

    return {"before": before}


def test_an_error_at_one_site_is_raised_when_the_others_have_ended(make_sites, make_study):
    study, passes = make_study(rounds=5), []
    others = {"before": lambda number, weights: passes.append(number)}
    with pytest.raises(ValueError, match="cannot read scan") as caught:
        co.rehearse(study, sites=make_sites(study, lund=fails_in(3), bonn=others))
    assert passes == [1, 2, 3, 4, 5]
    assert caught.value.__notes__ == ["the run ended: partial (2/3 sites)"]


def test_a_site_that_catches_its_own_error_leaves_the_run_partial(data, make_sites, make_study, step):
    study = make_study(rounds=5)
    functions = make_sites(study, lund=fails_in(3))

    def careful():
        with pytest.raises(ValueError, match="cannot read scan"):
            functions["lund"]()
        return "caught"

    result = co.rehearse(study, sites={**functions, "lund": careful})
    assert (result.outcome.status, result.values["lund"]) == ("partial", "caught")
    assert result.included == (("bonn", "lund", "porto"),) * 2 + (("bonn", "porto"),) * 3
    assert result.outcome.reasons["lund"] == ("train, error",)


def test_a_site_that_breaks_out_of_its_loop_is_missing_from_then_on(make_sites, make_study):
    study = make_study(rounds=4)

    def early():
        model = {"w": np.zeros(3)}
        with co.join(study) as swarm:
            for round in swarm.rounds(model):
                round.share(n=10)
                if round.number == 2:
                    break

    result = co.rehearse(study, sites={**make_sites(study), "porto": early})
    assert str(result.outcome) == "partial (2/3 sites)"
    assert result.included[-1] == ("bonn", "lund")
    assert result.outcome.reasons["porto"] == ("train, left",)


def test_too_few_sites_left_end_the_run_with_the_first_error(make_sites, make_study):
    study = make_study(min_sites=3)
    with pytest.raises(ValueError, match="cannot read scan") as caught:
        co.rehearse(study, sites=make_sites(study, lund=fails_in(2)))
    assert caught.value.__notes__ == ["the rehearsal ended: failed (lund, train, error)"]


def test_the_others_learn_that_a_run_has_no_model(make_sites, make_study):
    study, heard = make_study(min_sites=3), []
    functions = make_sites(study, lund=fails_in(2))

    def listening():
        try:
            functions["bonn"]()
        except RunFailed as error:
            heard.append(str(error))

    with pytest.raises(ValueError, match="cannot read scan"):
        co.rehearse(study, sites={**functions, "bonn": listening})
    assert heard == ["failed (lund, train, error)"]


def test_an_error_before_the_first_round_ends_the_rehearsal_at_once(make_sites, make_study):
    study, passes = make_study(), []

    def broken():
        raise OSError("no such disk")

    others = {"before": lambda number, weights: passes.append(number)}
    with pytest.raises(OSError, match="no such disk") as caught:
        co.rehearse(study, sites={**make_sites(study, bonn=others), "porto": broken})
    assert passes == []
    assert caught.value.__notes__ == ["the rehearsal ended: failed (porto, load, error)"]


def test_an_error_after_the_last_round_is_raised_and_the_run_is_complete(make_sites, make_study):
    study = make_study()
    functions = make_sites(study)

    def late():
        functions["bonn"]()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        co.rehearse(study, sites={**functions, "bonn": late})
    assert caught.value.__notes__ == ["the run ended: complete"]


def test_a_merge_that_refuses_every_update_ends_instead_of_training_for_ever(make_sites, make_study):
    study = make_study(weights={"bonn": 1})
    with pytest.raises(RunFailed, match=r"failed \((lund|porto), train, weight\)"):
        co.rehearse(study, sites=make_sites(study))


def test_models_of_different_shape_are_refused_by_site_and_array(make_sites, make_study, data, make_site):
    study = make_study()
    x, y = data["porto"]
    functions = {**make_sites(study), "porto": make_site(study, x[:, :2], y)}
    with pytest.raises(
        UsageError, match=r"site 'porto' has array 'w' F64 \[2\], expected 'w' F64 \[3\] as site 'bonn'"
    ):
        co.rehearse(study, sites=functions)


def test_a_function_that_takes_no_part_is_named(make_sites, make_study):
    study = make_study()
    with pytest.raises(UsageError, match=r"site 'lund': its function took no part; loop over swarm\.rounds"):
        co.rehearse(study, sites={**make_sites(study), "lund": lambda: None})


def test_sites_are_functions_with_plain_names(make_study):
    with pytest.raises(UsageError, match="site 'Porto': a name is 1 to 32 characters"):
        co.rehearse(make_study(), sites={"Porto": len, "bonn": len})
    with pytest.raises(UsageError, match="site 'porto': expected a function to call, got int"):
        co.rehearse(make_study(), sites={"porto": 1, "bonn": len})
    with pytest.raises(StudyError, match="at least 2 sites, found 1"):
        co.rehearse(make_study(), sites={"porto": len})


def test_nothing_of_a_rehearsal_is_left_running(make_sites, make_study):
    study = make_study()
    before = threading.active_count()
    co.rehearse(study, sites=make_sites(study))
    with pytest.raises(ValueError, match="cannot read scan"):
        co.rehearse(study, sites=make_sites(study, bonn=fails_in(1)))
    for thread in threading.enumerate():
        if thread.name.startswith("cohortium"):
            thread.join(timeout=5)
    assert threading.active_count() == before


def test_the_seed_of_the_study_decides_the_ledger(make_sites, make_study):
    study = make_study()
    other = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"seed": 1})})
    assert Chance(0).stream("x").random() != Chance(1).stream("x").random()
    assert co.rehearse(study, sites=make_sites(study)).ledger != co.rehearse(other, sites=make_sites(other)).ledger


def test_an_own_torch_loop_learns_what_the_simulation_of_the_module_learns():
    """Two ways, one model: `module` under co.simulate, and the same full-batch steps in an own loop."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)

    def table(n):
        a, b = rng.normal(size=(2, n))
        return {"a": a, "b": b, "label": (a - b + rng.normal(size=n) > 0).astype(float)}

    study = {
        "study": {"name": "two-ways", "outcome": "label"},
        "model": {
            "name": "module",
            "factory": f"{__name__}:network",
            "momentum": 0.0,
            "learning_rate": 0.5,
            "batch_size": 1000,
        },
        "strategy": {"name": "fedavg", "rounds": 5},
        "cohort": {"scale": "none", "fill": "none"},
    }
    simulated = co.simulate(sites={"bonn": table(50), "lund": table(60)}, study=co.Study.model_validate(study))
    own = {**study, "model": {"name": "own-loop"}}

    def site(examples):
        x, y = (torch.tensor(one, dtype=torch.float32) for one in (examples.x, examples.y))
        net = torch.nn.Linear(2, 1)
        program = simulated.model.program
        first = program.learner.initial(examples.layout, rng=program.chance.stream("initial", "model"))

        def function():
            with torch.no_grad():
                net.weight.copy_(torch.tensor(np.array(first["weight"])))
                net.bias.copy_(torch.tensor(np.array(first["bias"])))
            with co.join(own) as swarm:
                for round in swarm.rounds(net):
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y)
                    grads = torch.autograd.grad(loss, list(net.parameters()))
                    with torch.no_grad():
                        for held, grad in zip(net.parameters(), grads, strict=True):
                            held -= 0.5 * grad
                    round.share(n=len(y), loss=loss.item())

        return function

    looped = co.rehearse(own, sites={one.site: site(one.training) for one in simulated.rows})
    expected = simulated.model.program.model(simulated.model.state)
    assert {n: a.shape for n, a in looped.parameters.items()} == {n: a.shape for n, a in expected.items()}
    for name, array in expected.items():
        assert np.allclose(looped.parameters[name], array, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lost", ["bonn", "porto"])
def test_the_final_model_is_that_of_the_sites_that_went_on(data, make_sites, make_study, step, lost):
    """Known answer: two rounds of all by hand, then two of the others; whichever site is lost, the first included."""
    study = make_study(rounds=4)
    functions = make_sites(study, **{lost: fails_in(3)})

    def careful():
        with pytest.raises(ValueError, match="cannot read scan"):
            functions[lost]()

    result = co.rehearse(study, sites={**functions, lost: careful})
    w = np.zeros(3)
    for among in [data] * 2 + [{site: rows for site, rows in data.items() if site != lost}] * 2:
        change = np.zeros(3)
        for site in sorted(among):
            x, y = among[site]
            own = w.copy()
            step(own, x, y)
            change += (own - w) * float(len(y))
        w = w + change / float(sum(len(y) for _, y in among.values()))
    assert result.parameters.digest == Parameters({"w": w}).digest
