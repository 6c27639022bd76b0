import re

import pytest

from cohortium.synth.validation.judge import judge
from cohortium.synth.validation.page import ValidationPage


@pytest.fixture(scope="module")
def page(world):
    found = judge(world.training, world.reserve, world.synthetic, seed=0, draws=2)
    return ValidationPage(
        judgement=found, training=world.training, reserve=world.reserve, synthetic=world.synthetic, name="<mds>"
    ).html()


def test_the_page_refers_to_nothing_outside_itself(page):
    assert not re.search(r"https?:|src=\"(?!data)|//[a-z]", page.replace("http-equiv", ""))
    assert "<script" not in page


def test_every_section_and_its_figures_are_there(page):
    titles = ("How like the real patients?", "Column by column", "Survival", "Genes", "Is it useful?", "Is it safe?",
              "Controls", "Effects on survival", "Where the rows lie", "Pairs of genes")  # fmt: skip
    assert [title for title in titles if title not in page] == []
    assert page.count("<svg") >= 10


def test_names_are_text(page):
    assert "&lt;mds&gt;" in page
    assert "<mds>" not in page


def test_small_counts_are_hidden(page):
    at_risk = re.search(r"Survival.*?At risk(.*?)</svg>", page, re.DOTALL)
    assert at_risk
    assert not re.search(r">[1-9]<", at_risk[1])


def test_no_patients_number_stands_in_the_page_and_the_same_judgement_gives_the_same_bytes(world):
    ferritin = world.training["ferritin"].copy()
    ferritin[3] = 7777.123
    marked = world.training.with_columns({"ferritin": ferritin})
    found = judge(marked, world.reserve, world.synthetic, seed=0, draws=2)
    pages = [
        ValidationPage(judgement=found, training=marked, reserve=world.reserve, synthetic=world.synthetic).html()
        for _ in range(2)
    ]
    assert "7777" not in pages[0]
    assert pages[0] == pages[1]
