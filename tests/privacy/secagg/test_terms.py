import pytest

from cohortium.core.study import Study
from cohortium.privacy.secagg.terms import notes_on, sentence_on, unmaskable


def study_of(privacy=None, **more):
    plan = {"study": {"name": "s", "outcome": "died"}, "model": {"name": "logistic"}, "privacy": privacy or {}}
    return Study.model_validate({**plan, **more})


def found(study, n_sites):
    return {problem.key: problem.message for problem in unmaskable(study, n_sites)}


def test_masks_need_three_to_sixty_four_sites() -> None:
    for n, works in ((2, False), (3, True), (64, True), (65, False), (None, True)):
        assert ("privacy.secure_aggregation" in found(study_of(), n)) is not works
    assert found(study_of(), 2)["privacy.secure_aggregation"].endswith(
        "each sees the other's update as the difference; add a site, or say secure_aggregation = false under [privacy]"
    )


def test_two_sites_a_round_and_carried_updates_are_refused_with_the_way_out() -> None:
    study = study_of(strategy={"min_sites": 2}, swarm={"late": "carry"})
    problems = found(study, 5)
    assert (
        "needs at least 3, found 2; leave it out, or say secure_aggregation = false" in problems["strategy.min_sites"]
    )
    assert 'set late = "discard", or say secure_aggregation = false' in problems["swarm.late"]


@pytest.mark.parametrize(
    ("privacy", "n", "words"),
    [
        ({"weights": "hidden"}, 8, ""),
        ({"weights": "hidden", "word_bits": 64, "largest_weight": 1 << 29}, 64, ""),
        ({"weights": "hidden", "largest_weight": 100_000}, 8, "set word_bits = 64 or largest_weight = 65536"),
        ({"weights": "hidden", "word_bits": 16}, 4, "leave 1 bits of 16"),
    ],
)
def test_hidden_weights_that_leave_too_few_bits_are_refused_with_what_fits(privacy, n, words) -> None:
    problems = found(study_of(privacy), n)
    assert ("privacy.weights" in problems) is bool(words)
    if words:
        assert words in problems["privacy.weights"]


def test_what_is_said_fits_is_accepted() -> None:
    assert found(study_of({"weights": "hidden", "largest_weight": 65_536}), 8) == {}
    assert found(study_of({"weights": "hidden", "largest_weight": 65_537}), 8) != {}


@pytest.mark.parametrize(
    ("privacy", "n", "sentence"),
    [
        ({}, 2, "secure aggregation off: of 2 sites, each would see the other's update as the difference"),
        ({}, 3, "secure aggregation on: members see only the sum over 3 sites, all sites are needed to open a sum"),
        ({}, 10, "secure aggregation on: members see only the sum over 10 sites, 3 may be lost in mid-round"),
        ({}, 65, "secure aggregation off: 65 sites, at most 64 can mask their updates"),
        (
            {"secure_aggregation": False},
            5,
            "secure aggregation off, as the study says: members see each other's updates",
        ),
    ],
)
def test_one_sentence_says_what_a_run_does(privacy, n, sentence) -> None:
    assert sentence_on(study_of(privacy), n) == sentence


def test_record_names_the_site_that_two_successive_sums_differ_by() -> None:
    every = ("bonn", "graz", "lund", "porto")
    merged = {1: every, 2: every[:3], 4: every}
    assert notes_on(study_of(), 4, merged)[1:] == (
        "round 2 minus round 1 differs by porto", "round 4 minus round 2 differs by porto",
    )  # fmt: skip
    assert len(notes_on(study_of({"secure_aggregation": False}), 4, merged)) == 1
