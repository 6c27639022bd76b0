"""Three small hospitals with a known signal, and a study of them."""

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.core.spending import MechanismEvent
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.privacy.dp.accounting import epsilon
from cohortium.privacy.dp.budget import Caps
from cohortium.privacy.dp.purse import Plan, Purse, Terms, version_of
from cohortium.swarm.book import MemoryBook

CHANCE = Chance(0, secrets_from_system=False)


def _table(n, *, seed, shift=0.0, missing=()):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(shift, 1, n), rng.normal(size=n)
    y = (a - 0.5 * b + rng.normal(0, 0.7, n) > shift).astype(float)
    columns = {"a": a, "b": b, "sex": np.where(rng.random(n) < 0.5, "f", "m"), "label": y}
    for name in missing:
        columns[name] = np.full(n, np.nan)
    return Table.from_columns(columns)


def _study(**sections):
    """Of three sites, one of which may be lost: that takes updates in the open."""
    content = {
        "study": {"name": "little", "outcome": "label"},
        "model": {"name": "logistic", "l2": 0.01},
        "privacy": {"secure_aggregation": False},
    }
    for name, changes in sections.items():
        content[name] = {**content.get(name, {}), **changes}
    return Study.model_validate(content)


@pytest.fixture
def tables():
    return {
        "bonn": _table(60, seed=1),
        "lund": _table(80, seed=2, shift=0.5),
        "porto": _table(70, seed=3, missing=("b",)),
    }


@pytest.fixture
def study():
    return _study()


@pytest.fixture
def make_table():
    return _table


@pytest.fixture
def make_study():
    return _study


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One finished run of the little study: (result, folder)."""
    from cohortium.sim.simulate import run_simulation

    out = tmp_path_factory.mktemp("runs") / "run"
    made = {"bonn": _table(60, seed=1), "lund": _table(80, seed=2, shift=0.5), "porto": _table(70, seed=3)}
    said: list[str] = []
    result = run_simulation(_study(), made, out=out, screen=said.append)
    return result, out, said


@pytest.fixture
def rows(study, tables):
    from cohortium.sim.cohorts import gather

    return gather(study, tables, chance=CHANCE).rows()


@pytest.fixture
def works_of(rows):
    """Site works of a study over the little sites."""
    from cohortium.assembly import build_program
    from cohortium.swarm.program import SiteWork

    def make(study, **options):
        program = build_program(
            study,
            rows[0].training.layout,
            sites=[one.site for one in rows],
            chance=CHANCE,
        )
        return {one.site: SiteWork(program, site=one.site, training=one.training, **options) for one in rows}

    return make


@pytest.fixture
def chance():
    return CHANCE


@pytest.fixture
def purses_of():
    """Purses for a toy plan: Gaussian noise with sigma 10 once a round, from the model stage on; no patient keys."""
    one = MechanismEvent.gaussian(sigma=10.0)

    def make(works, *, cap, when_short="stop"):
        def purse(site, consortium):
            program, book = works[site].program, MemoryBook()
            version, is_new = version_of(
                book, commitment=b"table", patients=None, entropy=lambda n: CHANCE.secret(n, "data", site)
            )
            return Purse(
                book,
                version=version,
                terms=Terms(site=site, run="little", consortium=consortium.hex(), accountant="", code="", clip="1.0"),
                caps=Caps(total=cap[site], run=9.0, when_short=when_short, accept_weak_privacy=True),
                plan=Plan(
                    whole=(one.times(400),),
                    training=lambda state: (one,) if program.stages[program.position(state)[0]].name == "model" else (),
                ),
                compose=epsilon,
                is_new=is_new,
            )

        return purse

    return make
