import json
import math

from cohortium.cli.output import strict_json
from cohortium.synth.validation.document import digest_of


def test_every_figure_of_the_contract_has_an_interval(judged):
    found = judged.document()
    for part in ("csf", "gsf"):
        for name in ("score", "floor", "ceiling", "skill"):
            low, high = found[part]["intervals"][name]
            assert low <= found[part][name] <= high
        assert set(found[part]["intervals"]["parts"]) == set(found[part]["parts"])
    for place, names in (
        ("classic", ("csf", "gsf")),
        ("survival", ("km_gap", "logrank_p", "c_index_tstr", "c_index_real")),
        ("privacy", ("nndr", "nndr_holdout", "dcr_share", "membership_auc", "singling_out", "linkability", "inference",
                     "identical_rows")),
    ):  # fmt: skip
        for name in names:
            low, high = found[place]["intervals"][name]
            assert low <= found[place][name] <= high, (place, name)


def test_controls_say_what_they_are_and_that_they_failed(judged):
    found = judged.document()["controls"]
    assert {one["name"] for one in found} == {"copy", "shuffled", "collapse", "planted", "leak"}
    assert all(one["failed"] for one in found)


def test_the_digest_is_that_of_the_written_json_and_of_nothing_else(judged):
    document = judged.document()
    read = json.loads(strict_json(document))
    assert digest_of(read) == digest_of(document)
    assert digest_of({**document, "draws": 99}) != digest_of(document)
    assert digest_of({"a": math.nan}) == digest_of({"a": None})
