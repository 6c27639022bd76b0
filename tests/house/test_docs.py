"""The reference names everything a user can type; no page points to a page that is not there."""

import re
from pathlib import Path

import pytest
import typer

from cohortium.cli.app import app
from cohortium.core.study import Study
from cohortium.data import PREPARATIONS
from cohortium.ledger import ENGINES
from cohortium.models import MODELS
from cohortium.strategies import STRATEGIES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md"]


def reference(name):
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("registry", [MODELS, STRATEGIES, PREPARATIONS, ENGINES], ids=lambda r: r.kind)
def test_every_registered_name_is_in_the_reference(registry):
    page = reference("registries.md")
    assert [name for name in registry if f"`{name}`" not in page] == []


def test_every_study_key_is_in_the_reference():
    page = reference("study.md")
    missing = []
    for section, field in Study.model_fields.items():
        assert f"[{section}]" in page
        missing += [f"{section}.{key}" for key in field.annotation.model_fields if f"`{key}`" not in page]
    assert missing == []


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_and_option_is_in_the_reference():
    page = reference("commands.md")
    for path, command in commands(typer.main.get_command(app)):
        assert f"cohortium {' '.join(path)}" in page
        options = [o for p in command.params for o in p.opts if o.startswith("--") and o != "--help"]
        assert [f"{path}: {o}" for o in options if f"`{o}`" not in page] == []


def test_every_exit_code_is_in_the_reference():
    page = reference("commands.md")
    for code in (0, 1, 2, 3, 4, 5, 70, 130):
        assert re.search(rf"^\| {code} \|", page, re.MULTILINE), code


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} -> {target}"
