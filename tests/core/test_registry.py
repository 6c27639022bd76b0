"""Names resolve late, and an unknown one is answered with what there is."""

import math
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from cohortium.core.registry import Registry
from cohortium.errors import UsageError


def test_a_name_resolves_to_the_object_behind_it():
    assert Registry("thing", {"sqrt": "math:sqrt"}).resolve("sqrt")(9) == 3


def test_listing_imports_nothing():
    registry = Registry("thing", {"x": "cohortium_does_not_exist:X"})
    assert list(registry) == ["x"]
    assert "cohortium_does_not_exist" not in sys.modules


def test_an_unknown_name_is_answered_with_what_there_is_and_the_nearest():
    with pytest.raises(UsageError, match="unknown thing 'fedavgm'; available: fedadam, fedavg; did you mean 'fedavg'"):
        Registry("thing", {"fedavg": "math:sqrt", "fedadam": "math:sin"}).resolve("fedavgm")


def test_a_name_far_from_all_gets_no_guess():
    with pytest.raises(UsageError) as caught:
        Registry("thing", {"fedavg": "math:sqrt"}).resolve("zzz")
    assert "did you mean" not in str(caught.value)


def test_third_parties_add_names_but_replace_none_and_are_asked_once(monkeypatch):
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return EntryPoints([EntryPoint("mine", "math:pi", group), EntryPoint("sqrt", "math:sin", group)])

    monkeypatch.setattr("cohortium.core.registry.entry_points", entry_points)
    registry = Registry("thing", {"sqrt": "math:sqrt"}, group="cohortium.test-things")
    assert registry.resolve("sqrt")(9) == 3
    assert asked == [], "our own need nobody's word"
    assert (registry.resolve("mine"), list(registry), len(registry)) == (math.pi, ["mine", "sqrt"], 2)
    assert asked == ["cohortium.test-things"]
