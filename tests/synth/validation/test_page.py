import re
from dataclasses import replace

import numpy as np
import pytest

from cohortium.synth.validation.by_site import judge_by_site
from cohortium.synth.validation.canary import judge_canaries, plant
from cohortium.synth.validation.judge import judge
from cohortium.synth.validation.page import ValidationPage


def page_of(world, judged, **more):
    return ValidationPage(
        judgement=judged,
        training=world.training,
        reserve=world.reserve,
        synthetic=world.synthetic,
        name="<mds>",
        **more,
    ).html()


@pytest.fixture(scope="module")
def page(world, judged, bench):
    return page_of(world, judged, bench=bench)


def test_the_page_refers_to_nothing_outside_itself(page):
    assert not re.search(r"https?:|src=\"(?!data)|//[a-z]|url\(", page.replace("http-equiv", ""))
    assert "<script" not in page
    assert "default-src 'none'" in page


def slots(page):
    found = re.split(r'<div class="slot(?: whole)?" id="figure-(\d+)">', page)
    return {int(number): text for number, text in zip(found[1::2], found[2::2], strict=True)}


def test_thirteen_figures_in_order_each_drawn(page):
    found = slots(page)
    assert list(found) == list(range(1, 14))
    assert all("<svg" in text for text in found.values())
    assert "Not drawn" not in page


def test_what_is_not_given_is_said_in_the_figures_place(world, judged):
    found = slots(page_of(world, judged))
    assert list(found) == list(range(1, 14))
    for number in (1, 2, 12, 13):
        assert "Not drawn: no benchmark" in found[number]
        assert "<svg" not in found[number]
    assert all("<svg" in found[number] for number in range(3, 12))


def test_names_are_text(page):
    assert "&lt;mds&gt;" in page
    assert "<mds>" not in page


def test_small_counts_are_hidden(page):
    at_risk = re.search(r"At risk(.*?)</svg>", page, re.DOTALL)
    assert at_risk
    assert not re.search(r">[1-9]<", at_risk[1])


def test_attacks_that_prove_nothing_are_named_as_such(world, judged):
    risk = replace(judged.privacy.linkability, rate=0.0, guess=0.1)
    blind = replace(judged, privacy=replace(judged.privacy, linkability=risk),
                    power={**judged.power, "linkability": replace(risk, low=-0.1)})  # fmt: skip
    found = page_of(world, blind)
    failed = re.search(r"Attack failed \(did no better than guessing[^:]*: ([^.]*)\.", found)
    assert "linkability" in failed[1]
    assert "linkability" in re.search(r"Attack without power \([^)]*\): ([^.]*)\.", found)[1]
    assert not re.search(r"\bis safe\b|\bare safe\b", found)


def test_canaries_and_hospitals_have_their_sections(world, judged):
    sites = [plant(world.training, np.random.default_rng(0))]
    found = replace(
        judged,
        canaries=judge_canaries(sites, world.synthetic, world.synthetic, epsilon=2.0),
        by_site=judge_by_site({"lund": world.training}, {"lund": world.reserve}, world.synthetic, seed=0),
    )
    text = page_of(world, found)
    assert "accounted: 2.00" in text
    assert "Hospital by hospital" in text
    assert ">lund<" in text


def test_no_patients_number_stands_in_the_page_and_the_same_judgement_gives_the_same_bytes(world):
    ferritin = world.training["ferritin"].copy()
    ferritin[3] = 7777.123
    marked = world.training.with_columns({"ferritin": ferritin})
    found = judge(marked, world.reserve, world.synthetic, seed=0, draws=2)
    pages = [
        ValidationPage(judgement=found, training=marked, reserve=world.reserve, synthetic=world.synthetic).html()
        for _ in range(2)
    ]
    assert "7777" not in pages[0].replace(",", "")
    assert pages[0] == pages[1]
