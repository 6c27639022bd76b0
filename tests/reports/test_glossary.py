import numpy as np

from cohortium.reports.glossary import GLOSSARY, in_order, label, words_for
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_values


def test_every_measure_of_the_run_record_has_its_word():
    y = np.tile([0.0, 1.0], 10)
    columns = {"site": np.full(20, "a"), "patient": np.arange(20)}
    names = {
        *measure_values(y, Observed(outcome="binary", y=y, **columns)),
        *measure_values(y, Observed(outcome="number", y=y, **columns)),
        *measure_values(y, Observed(outcome="survival", time=y + 1, event=y > 0, **columns)),
    }
    assert names <= {word.key for word in GLOSSARY}


def test_words_are_unique_and_end_in_a_full_stop():
    assert len({word.key for word in GLOSSARY}) == len(GLOSSARY)
    assert all(word.text.endswith(".") for word in GLOSSARY)


def test_labels_fall_back_to_the_name():
    assert label("auroc_within") == "AUROC within sites"
    assert label("auroc_1y") == "AUROC at 1y"
    assert label("train_loss") == "train loss"


def test_only_used_words_are_explained_in_the_glossarys_order():
    assert [word.key for word in words_for({"brier", "auroc", "nothing"})] == ["auroc", "brier"]


def test_measures_have_one_order_whatever_order_they_came_in():
    assert in_order(["zeta", "brier", "auroc", "alpha", "brier"]) == ["auroc", "brier", "alpha", "zeta"]
