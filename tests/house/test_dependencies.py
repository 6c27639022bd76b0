"""What we stand on: licences all may use, versions pinned once, and a core that stays small."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_USERS = ("torch", "evm", "frames", "demo-data", "node", "dp")
PERMISSIVE = re.compile(
    r"\b(MIT|MIT-0|0BSD|BSD|BSD-[23]-Clause|Apache(-| |$)|ISC|Zlib|PSF|PSF-2\.0|Python Software Foundation"
    r"|CNRI-Python|CC0-1\.0|BSL-1\.0|Public Domain|Unlicense|MPL-2\.0|Mozilla Public License 2\.0)",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(
    r"\bA?GPL|SSPL|BUSL|Business Source|(?<!Lesser )General Public|Affero|Commons Clause|Elastic|Proprietary",
    re.IGNORECASE,
)
# Metadata that names no licence although the distribution carries one: name -> what its LICENSE file says.
READ_BY_HAND: dict[str, str] = {}


def runtime_requirements():
    """Requirements of the core and of the extras users install; nothing of development."""
    named = PROJECT["dependencies"] + [one for name in FOR_USERS for one in EXTRAS[name]]
    return [Requirement(one) for one in named if not one.startswith("cohortium")]


def closure(requirements):
    """Canonical name -> installed distribution, of everything the requirements pull in on this machine."""
    found, waiting, seen = {}, [(one.name, frozenset(one.extras)) for one in requirements], set()
    while waiting:
        name, extras = waiting.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        found[canonicalize_name(name)] = one
        for text in one.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in {"", *extras}):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


RUNTIME = closure(runtime_requirements())


def licence(one):
    """What a distribution says of its licence, in its most binding form: expression, classifiers, one line."""
    meta = one.metadata
    if meta.get("License-Expression"):
        return meta["License-Expression"]
    classifiers = [c.split("::")[-1].strip() for c in meta.get_all("Classifier", []) if c.startswith("License ::")]
    return " AND ".join(classifiers) or (meta.get("License") or "").split("\n")[0]


@pytest.mark.parametrize("name", sorted(RUNTIME))
def test_everything_we_run_on_may_be_used_by_all(name):
    said = READ_BY_HAND.get(name) or licence(RUNTIME[name])
    assert PERMISSIVE.search(said), f"{name}: no known licence in {said!r}"
    assert not FORBIDDEN.search(said), f"{name}: {said}"


@pytest.mark.parametrize("said", ["GPL-3.0-only", "AGPL-3.0", "SSPL-1.0", "BUSL-1.1", "GNU General Public License v3"])
def test_a_licence_that_binds_others_would_be_noticed(said):
    assert FORBIDDEN.search(said)


def test_the_closure_is_followed_through_its_dependencies():
    assert {"numpy", "pydantic-core", "markupsafe", "pycparser"} <= set(RUNTIME)
    assert "pytest" not in RUNTIME


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_are_exact_without_labels_and_without_cuda():
    for name, version in pins().items():
        assert Version(version).local is None, name
        assert not re.match(r"nvidia|cuda|triton", name)


def test_torch_is_pinned_to_the_version_the_bootstrap_fetches():
    assert f'"torch=={pins()["torch"]}"' in (ROOT / "bootstrap.py").read_text(encoding="utf-8")


def test_every_distribution_we_run_on_is_pinned():
    if any(RUNTIME[name].version.split("+")[0] != version for name, version in pins().items() if name in RUNTIME):
        pytest.skip("this environment was not made with constraints.txt")
    pinned = {canonicalize_name(name) for name in pins()}
    assert sorted(set(RUNTIME) - pinned - {"setuptools", "cohortium"}) == []


def test_every_pin_lies_within_the_bounds_of_the_project():
    pinned = {canonicalize_name(name): version for name, version in pins().items()}
    wanted = runtime_requirements() + [Requirement(one) for one in EXTRAS["dev-core"] if "cohortium" not in one]
    outside = [str(one) for one in wanted if not one.specifier.contains(pinned[canonicalize_name(one.name)], True)]
    assert outside == []


def test_the_core_stays_small():
    core = {canonicalize_name(Requirement(one).name) for one in PROJECT["dependencies"]}
    assert not core & {"torch", "pandas", "pyarrow", "scikit-learn", "py-evm", "web3", "grpcio", "matplotlib"}
    assert len(closure([Requirement(one) for one in PROJECT["dependencies"]])) < 30


def test_no_extra_can_bring_torchvision_or_torchaudio():
    assert not any(re.match(r"torch(vision|audio)", one) for extra in EXTRAS.values() for one in extra)
