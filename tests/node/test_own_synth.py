"""A generator learned between hospitals in virtual time: the simulation's bits, the same file and a seal everywhere."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from cohortium.cli.app import run as run_command
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms
from cohortium.core.spending import BudgetRecord, merged
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.table import Table
from cohortium.errors import CohortiumError
from cohortium.ledger.archive import verify
from cohortium.node.own_synth import OwnSynthesis
from cohortium.node.run_folder import GENERATOR, SEAL, VALIDATION, VALIDATION_PAGE
from cohortium.node.seals import check_seals
from cohortium.node.work import open_ward, synthesis, ward_work
from cohortium.sim.cohorts import split_of
from cohortium.sim.pinning import pin
from cohortium.sim.synth_census import count_by_swarm
from cohortium.sim.synth_program import split_study
from cohortium.sim.synthesis import open_generator, train
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate import private_network
from cohortium.synth.validation.by_sums import compare
from cohortium.synth.validation.census import Census
from cohortium.synth.validation.document import digest_of

SITES = ("bonn", "lund", "porto")
COLUMNS = ("site", "age", "TP53", "SF3B1", "complex", "blasts", "wbc", "anc", "os_years", "died")


def hospitals(sizes=(250, 150, 60)):
    whole = simulate(seed=0, sites=dict(zip("abc", sizes, strict=True))).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    parts = take(table, by_column(table, "site"), without=["site"])
    return dict(zip(SITES, (parts[one] for one in "abc"), strict=True))


def pinned(tables, *, masked=True, privacy=None, cohort=None, swarm=None, **synth):
    content = {
        "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
        "synth": {"genes": ["TP53", "SF3B1", "complex"], "rules": ["wbc >= anc"],
                  "derived": {"high": "blasts >= 5"}, **synth},
        "privacy": {"secure_aggregation": masked, **(privacy or {})},
    }  # fmt: skip
    more = {"cohort": cohort, "swarm": swarm}
    return pin({**content, **{name: held for name, held in more.items() if held}}, tables)


@pytest.fixture
def three(world):
    """Hospitals whose reserves are too small to judge by: quick."""
    found = world(*SITES, on_disk=False)
    found.tables.update(hospitals((90, 70, 50)))
    return found


def folders(world, number=1):
    return {site: home.runs / str(number) for site, home in world.homes.items()}


def play(world, study, *, status="complete", sites=SITES):
    async def main(world):
        await world.propose("bonn", study)
        endings = await world.ended(*sites)
        assert {ending.status for ending in endings.values()} == {status}, endings

    world.play(main)


def simulated(study, tables):
    found = train(study.study, tables)
    found.ledger.close()
    return found.saved.state.digest


def seals(world):
    """Every site's seal, checked against its digest and the ledger."""
    found = {site: json.loads((folder / SEAL).read_text()) for site, folder in folders(world).items()}
    digests = {(site, seal.pop("digest")) for site, seal in found.items()}
    assert digests == {(site, digest_of(seal).hex()) for site, seal in found.items()}
    said = verify(folders(world)["bonn"] / "ledger.jsonl", evm=False).privacy.audits
    assert {(one.site, one.digest.hex()) for one in said} == digests
    assert {one.tier for one in said} == {2}
    return found, {one.site: one.verdict for one in said}


def same_generator(world, digest):
    """All sites hold the same file, and it is the generator of this digest."""
    files = {(folder / GENERATOR).read_bytes() for folder in folders(world).values()}
    assert len(files) == 1
    saved = open_generator(folders(world)["lund"])
    assert saved.state.digest == digest
    assert {world.digest_of(site) for site in SITES} == {digest.hex()}
    found, _ = seals(world)
    assert {seal["generator"] for seal in found.values()} == {digest.hex()}
    assert len({seal["table"] for seal in found.values()}) == 1
    held = check_seals(folders(world)["porto"], [folder / SEAL for folder in folders(world).values()])
    assert [one.site for one in held] == [*SITES]
    return saved


@pytest.mark.slow
def test_hospitals_under_masks_hold_the_generator_of_the_simulation_bit_for_bit(three):
    study = pinned(three.tables, options={"max_climbs": 1})
    play(three, study)
    same_generator(three, simulated(study, three.tables))
    out = folders(three)["lund"].parent / "drawn.csv"
    assert run_command(["synth", "sample", str(folders(three)["lund"]), "-n", "50", "-o", str(out)]) == 0
    assert out.read_text().count("\n") == 51
    for site, folder in folders(three).items():
        assert not (folder / "model.safetensors").exists()
        assert not (folder / VALIDATION).exists()
        assert "too few held-out rows to judge" in three.record(site)["checks"][0]["found"]
        page = (folder / "report.html").read_text()
        assert "same generator.safetensors" in page
        assert "Does it help?" not in page
        sent = [json.loads(line) for line in (folder / "egress.jsonl").read_text().splitlines()]
        assert {one["what"] for one in sent if one["kind"] == "offer"} == {"keys", "masked", "shares", "unmask"}
    assert set(seals(three)[1].values()) == {3}, "nothing was judged, so nothing has passed"


@pytest.mark.slow
def test_each_hospital_judges_the_same_table_on_its_own_patients_and_all_by_sums(world):
    three = world(*SITES, on_disk=False)
    three.tables.update(hospitals((250, 160, 60)))
    study = pinned(three.tables)
    play(three, study)
    same_generator(three, simulated(study, three.tables))
    found, verdicts = seals(three)
    reports = {}
    for site in ("bonn", "lund"):
        folder = folders(three)[site]
        reports[site] = json.loads((folder / VALIDATION).read_text())
        assert digest_of(reports[site]).hex() == found[site]["report"]
        assert set(reports[site]["verdict"]) == {"fidelity", "utility", "privacy"}
        assert list(reports[site]["by_site"]["sites"]) == [site]
        assert "http:" not in (folder / VALIDATION_PAGE).read_text()
        said = three.record(site)["checks"][0]
        words = ", ".join(f"{topic} {reports[site]['verdict'][topic]}" for topic in ("fidelity", "utility", "privacy"))
        assert said["id"] == "validation"
        assert f"judged on this hospital's own: {words}; see validation.html" in said["found"]
    assert reports["bonn"]["by_site"]["against_holdout"] == reports["lund"]["by_site"]["against_holdout"]
    assert found["porto"]["report"] == ""
    assert verdicts["porto"] == 3
    saved = open_generator(folders(three)["bonn"])
    drawn = saved.generator.sample(saved.state, saved.n_real, rng=np.random.default_rng([0, 0]))
    assert reports["bonn"]["by_site"]["against_holdout"].keys() >= {"marginals", "dependence", "survival", "pairs"}
    counts = count_by_swarm(study.study, three.tables)
    made = fit_by_sums(Census(facts=drawn.facts).like(counts[0]), [drawn])
    assert compare(drawn.facts, counts[0], counts[1], made) == pytest.approx(
        reports["lund"]["by_site"]["against_holdout"], abs=0.2
    ), "the table of the report is another draw, without broken rules"


MASKED = [{"generator": "copula"}, {"federation": "similarity", "options": {"max_parents": 2}}]


@pytest.mark.slow
@pytest.mark.parametrize("plan", MASKED, ids=lambda plan: "-".join(str(one) for one in plan.values())[:20])
def test_other_generators_by_sums_end_with_the_bits_of_the_simulation(three, plan):
    study = pinned(three.tables, **plan)
    play(three, study)
    same_generator(three, simulated(study, three.tables))


DP = {"privacy": {"dp": {"mode": "distributed", "epsilon": 4.0}}, "generator": "marginal_dp"}
AGREED = {
    "ranges": {"age": [18, 100], "blasts": [0, 20], "wbc": [0, 500], "anc": [0, 50], "os_years": [0, 12]}
}  # fmt: skip


@pytest.mark.slow
def test_a_private_generator_spends_each_hospitals_budget_and_shows_no_count(three):
    study = pinned(three.tables, cohort=AGREED, rules=[], derived={}, **DP)
    play(three, study)
    files = {(folder / GENERATOR).read_bytes() for folder in folders(three).values()}
    assert len(files) == 1
    seals(three)
    for site in SITES:
        privacy = three.record(site)["privacy"]
        assert privacy["promise"]["epsilon"] == 4.0
        assert {one["site"] for one in privacy["spending"]} == set(SITES)
        assert all(0 < one["total"] <= 4.0 for one in privacy["spending"])
    assert all(one["stage"] == "model" for one in three.record("bonn")["rounds"]), "nobody is counted without noise"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("generator", ["vae_bgm", "ctgan"])
def test_a_private_network_takes_its_noisy_steps_between_hospitals_and_books_each_at_every_one(
    three, generator, monkeypatch
):
    pytest.importorskip("torch")
    monkeypatch.setattr(private_network, "LEAST_DRAWN", 1500)
    options = {"vae_bgm": {"hidden": 16, "latent": 3, "components": 2, "warm_epochs": 1},
               "ctgan": {"hidden": 16, "critic_hidden": 16, "noise": 8, "private_warm_steps": 10}}  # fmt: skip
    study = pinned(
        three.tables, cohort=AGREED, rules=[], derived={}, privacy=DP["privacy"], generator=generator,
        federation="fedavg", options={"private_steps": 3} | options[generator],
    )  # fmt: skip
    play(three, study)
    folder = folders(three)["lund"]
    assert len({(one / GENERATOR).read_bytes() for one in folders(three).values()}) == 1
    assert len(open_generator(folder).sample(30, rng=np.random.default_rng(0)).rows) == 30
    seals(three)
    steps = {site: len(three.record(site)["rounds"]) for site in SITES}
    assert set(steps.values()) == {2 + 3}, "two noisy sums, then a step a round"
    booked = [BudgetRecord.read(one.record) for one in verify(folder / "ledger.jsonl", evm=False).privacy.booked]
    for site in SITES:
        spent = [one for one in booked if one.site == site and one.state == "spent" and one.against == "colluders"]
        assert [(event.type, event.count) for event in merged(e for one in spent for e in one.events)] == [
            ("gaussian", 1), ("gaussian", 1), ("poisson-gaussian", 3)
        ]  # fmt: skip
    assert all(0 < one["total"] <= 4.0 for one in three.record("bonn")["privacy"]["spending"])


OPEN = [("sharing", "rows"), ("ensemble", "model")]


@pytest.mark.slow
@pytest.mark.parametrize(("federation", "what"), OPEN)
def test_rows_and_models_leave_only_through_the_gate_of_their_own_hospital(world, federation, what):
    three = world(*SITES, on_disk=False)
    three.tables.update(hospitals((250, 160, 60)))
    study = pinned(three.tables, masked=False, federation=federation, rounds=2)
    play(three, study)
    same_generator(three, simulated(study, three.tables))
    notes = {site: " ".join(three.record(site)["notes"]) for site in SITES}
    for site in SITES:
        assert f"{what} of bonn, lund are in the generator; each passed the gate" in notes[site]
        assert f"no {what} of porto" in notes[site], "a refused table is named everywhere"
    assert f"this hospital gave no {what}: too few training rows to share: 48 of 100" in notes["porto"]
    assert "this hospital gave no" not in notes["bonn"], "why is said at the hospital itself and nowhere else"


SMALL = {
    "vae_bgm": {"epochs": 4, "warm_epochs": 1, "hidden": 16, "latent": 3, "components": 2},
    "ctgan": {"steps": 20, "warm_steps": 10, "batch": 20, "noise": 8, "hidden": 16, "critic_hidden": 16},
}
NETWORKS = [("vae_bgm", "fedavg"), ("vae_bgm", "similarity"), ("vae_bgm", "cyclic"), ("ctgan", "fedavg")]


@pytest.mark.slow
@pytest.mark.parametrize(("generator", "federation"), NETWORKS)
def test_networks_are_trained_at_the_hospitals_and_end_as_in_the_simulation(three, generator, federation):
    pytest.importorskip("torch")
    masked = federation != "cyclic"
    study = pinned(
        three.tables, masked=masked, generator=generator, federation=federation, rounds=2, options=SMALL[generator]
    )
    play(three, study)
    same_generator(three, simulated(study, three.tables))


# --- what goes wrong


@pytest.mark.slow
def test_a_hospital_lost_in_the_middle_costs_its_patients_and_not_the_generator(world):
    four = world(*SITES, "oslo", on_disk=False)
    four.tables.update(hospitals((90, 70, 50)), oslo=hospitals((60, 40, 40))["bonn"])
    study = pinned(four.tables, swarm={"silence_s": 45.0})

    async def main(world):
        await world.propose("bonn", study)
        await world.round_open("bonn", 4)
        await world.kill("oslo")
        endings = await world.ended(*SITES)
        assert {ending.sentence for ending in endings.values()} == {"partial (3/4 sites), missing: oslo"}

    four.play(main)
    files = {(four.homes[site].runs / "1" / GENERATOR).read_bytes() for site in SITES}
    assert len(files) == 1
    rounds = four.record("lund")["rounds"]
    assert "oslo" in rounds[1]["contributors"]
    assert "oslo" not in rounds[-1]["contributors"]
    assert "oslo" in rounds[-1]["missing"]


@pytest.mark.slow
def test_a_hospital_killed_in_the_middle_goes_on_where_it_was_and_ends_with_everybodys_generator(world):
    three = world(*SITES)
    three.tables.update(hospitals((90, 70, 50)))
    study = pinned(three.tables, options={"max_climbs": 1})

    async def main(world):
        await world.propose("bonn", study)
        await world.round_open("lund", 4)
        await world.kill("lund")
        await world.start("lund")
        endings = await world.ended()
        assert {ending.status for ending in endings.values()} == {"complete"}, endings

    three.play(main)
    same_generator(three, simulated(study, three.tables))
    assert all(set(one["contributors"]) == {*SITES} for one in three.record("lund")["rounds"])


def refuse(world, site, line):
    path = world.homes[site].path / "node.toml"
    key = line.partition(" ")[0]
    lines = [line if one.startswith(f"# {key} ") else one for one in path.read_text().splitlines()]
    assert line in lines
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('generators = ["copula"]', "consent.generators: 'bn' is not among copula"),
        ('generators_from = ["lund", "porto"]', "consent.generators_from: 'bonn' is not among lund, porto"),
        ("min_cohort_generator = 60", "min_cohort_generator: fewer than 60 patients of this site would teach"),
        ("require_secure_aggregation = true", "consent.require_secure_aggregation: the study shows single updates"),
    ],
)
def test_a_hospital_whose_rules_forbid_the_generator_declines_in_words(three, line, words):
    refuse(three, "porto", line)
    study = pinned(three.tables, masked=False, rules=[], derived={}, options={"max_climbs": 1})

    async def main(world):
        await world.propose("bonn", study)
        run = await world.first("porto")
        await world.until(lambda: run.folder.decision() is not None)
        decision = run.folder.decision()
        assert (decision.word, decision.by) == ("decline", "policy")
        assert words in decision.why
        assert world.run("bonn").folder.decision().word == "approve"

    three.play(main)


def test_a_study_that_cannot_be_between_hospitals_is_refused_when_it_is_proposed(three):
    tables = three.tables
    wrong = [
        (pinned(tables, federation="sharing"), "but secure aggregation is on"),
        (pinned(tables, masked=False, federation="central"), "is a reference for simulations"),
        (pinned(tables, generator="marginal_dp"), "learns with noise only"),
    ]

    async def main(world):
        for study, words in wrong:
            with pytest.raises(CohortiumError, match=words):
                await world.propose("bonn", study)

    three.play(main)


@pytest.mark.slow
def test_rows_without_a_verdict_of_the_gate_are_refused_and_their_sender_named(world):
    three = world(*SITES, on_disk=False)
    three.tables.update(hospitals((130, 160, 160)))
    three.faults["porto"]["sends"] = lambda sent: (
        sent | Parameters({name: np.zeros_like(sent[name]) for name in ("values", "gaps") if name in sent})
    )
    study = pinned(three.tables, masked=False, federation="sharing", rounds=2, swarm={"silence_s": 45.0})

    async def main(world):
        await world.propose("bonn", study)
        endings = await world.ended()
        assert endings["bonn"].sentence == "partial (2/3 sites), missing: porto"

    three.play(main)
    record = three.record("bonn")
    assert any("rows of lund are in the generator" in note for note in record["notes"])
    assert "porto" in record["rounds"][-1]["missing"]


# --- one site's part of a finished run, without nodes


@pytest.fixture(scope="module")
def finished():
    """A ward, the program of three, and the state after the last exchange."""
    tables = hospitals((60, 50, 40))
    study = pinned(tables, rules=[], derived={}, options={"max_climbs": 1}).study
    wards = {site: open_ward(study, tables[site], site=site, secret=bytes(32)) for site in SITES}
    works = {site: ward_work(ward, sites=SITES) for site, ward in wards.items()}
    state = works["bonn"].start()
    while not works["bonn"].finished(state):
        state = works["bonn"].merge(state, [work.train(1, state) for work in works.values()])
    return wards["lund"], synthesis(study, sites=SITES), state


def test_a_run_without_a_finished_generator_leaves_a_record_that_says_so(finished, tmp_path):
    ward, made, _ = finished
    own = OwnSynthesis(ward=ward, made=made, state=made.program.start())
    assert own.audit() == ()
    record = json.loads(own.record(folder=tmp_path, privacy=None)[0])
    assert record["notes"][0] == "the run ended before its generator was learned"
    assert [*tmp_path.iterdir()] == []


def test_a_generator_that_a_liar_has_spoilt_stops_no_node(finished, tmp_path):
    ward, made, state = finished
    assert OwnSynthesis(ward=ward, made=made, state=state).missing == ""
    name = next(one for one in state if one.startswith("model/model/table/age/"))
    own = OwnSynthesis(ward=ward, made=made, state=state.without([name]))
    assert own.audit() == ()
    record = json.loads(own.record(folder=tmp_path, privacy=None)[0])
    assert "cannot be drawn from; somebody sent sums" in record["notes"][0]
    assert record["model"]["digest"] == own.state.digest.hex()


def test_a_site_remembers_what_its_gate_said(finished, capsys):
    ward, made, state = finished
    own = OwnSynthesis(ward=ward, made=made, state=state)
    training, reserve = own._own
    verdict = own.book(training, reserve, training, subject=bytes(32), seed=0, attack_risk_max=0.05)
    assert own.book.last is verdict
    assert "gate: too few training rows to share" in capsys.readouterr().err


def test_a_seal_under_epsilon_binds_no_report_that_was_made_without_noise(finished):
    ward, made, state = finished
    promised = copy.copy(made.program)
    promised.privacy = PrivacyTerms(epsilon=1.0, delta=1e-6, noise_multiplier=1.0, steps=0, steps_a_round=1)
    plain = OwnSynthesis(ward=ward, made=made, state=state)
    private = OwnSynthesis(ward=ward, made=replace(made, program=promised), state=state)
    for own in (plain, private):
        own.__dict__["report"] = {"any": "report"}
    assert plain.seal["report"] == digest_of({"any": "report"}).hex()
    assert private.seal == {**plain.seal, "report": ""}
    assert [one.verdict for one in private.audit()] == [3]


def test_only_a_promise_of_epsilon_divides_patients_one_by_one():
    tables = hospitals((60, 50, 40))
    private = pinned(tables, cohort=AGREED, rules=[], derived={}, **DP).study
    plain = pinned(tables, rules=[], derived={}).study
    assert [split_of(split_study(one)).drawn for one in (private, plain)] == ["alone", "balanced"]
