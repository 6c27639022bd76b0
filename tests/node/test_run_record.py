"""What an ended run leaves: one row for each site that approved, a page without holes, a ledger that verifies."""

import pytest

from cohortium.ledger.archive import verify
from cohortium.sim.results import load_model, read_record


@pytest.fixture
def ended(world):
    world = world()
    pinned = world.study(evaluation={"per_site": True, "recalibrate": True})
    world.tables["porto"] = world.tables["porto"].take(range(30))

    async def main(world):
        await world.propose("bonn", pinned)
        await world.ended()

    world.play(main)
    return world, pinned.study


def test_the_record_has_own_figures_and_what_the_others_told(ended):
    world, study = ended
    folder = world.homes["bonn"].runs / "1"
    record = read_record(folder / "run.json")
    assert set(record.test.per_site) == {"bonn"}
    assert set(record.shared) == {"bonn", "lund", "porto"}
    own, told = record.test.per_site["bonn"]["swarm"]["auroc"], record.shared["bonn"].swarm["auroc"]
    assert told.value == pytest.approx(own.value, abs=5e-4)
    assert record.shared["lund"].swarm["auroc"].n is None
    assert record.shared["porto"].missing == "withheld: fewer than 20 patients are held back"
    assert world.run("bonn").folder.ending().missing == {"porto": record.shared["porto"].missing}
    assert record.test.pooled == {}
    assert record.randomness == "operating system"
    assert record.study_digest == study.digest.hex()
    assert [one.site for one in record.ledger.members] == ["bonn", "lund", "porto"]
    assert all(one.n_attested for one in record.rounds)
    assert record.rounds[-1].per_site["bonn"]["auroc"] > 0.5


def test_ledger_and_model_stand_on_their_own(ended):
    world, _ = ended
    folder = world.homes["lund"].runs / "1"
    record = read_record(folder / "run.json")
    assert verify(folder / "ledger.jsonl", evm=False).head.hex() == record.ledger.head
    assert record.ledger.verified
    assert load_model(folder / "model.safetensors").digest == record.model.digest


def test_the_page_says_that_nobody_holds_the_pooled_data_and_shows_every_site(ended):
    world, _ = ended
    page = (world.homes["bonn"].runs / "1" / "report.html").read_text()
    assert "there is no model of all patients in one place" in page
    assert "fewer than 20 patients are held back" in page
    assert "None" not in page.split('type="application/json"')[0]
