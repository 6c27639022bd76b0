"""Little hospitals for the tests of one node."""

import pytest

from cohortium.core.study import Study


@pytest.fixture
def make_study():
    def make(**sections):
        content = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}}
        for name, changes in sections.items():
            content[name] = {**content.get(name, {}), **changes}
        return Study.model_validate(content)

    return make
