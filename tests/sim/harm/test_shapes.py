"""Shapes: the published 83 centres with their known answers, and files of the user's own."""

import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.sim.harm.shapes import LARGE, PD83, SMALL, parse_shape, read_shape


def test_the_published_shape_has_its_known_answers():
    sizes, held = np.array(PD83.training), np.array(PD83.held_out)
    cases = np.array([one.cases for one in PD83.sites])
    assert (len(sizes), sizes.sum(), cases.sum()) == (83, 1410, 680)
    assert (held.sum(), sum(one.held_out_cases for one in PD83.sites)) == (407, 187)
    assert (np.median(sizes), np.median(held)) == (7, 2)
    assert ((sizes == 1).sum(), (sizes < SMALL).sum(), (sizes >= LARGE).sum()) == (12, 30, 24)
    assert sizes[:10].sum() / sizes.sum() == pytest.approx(0.531, abs=5e-4)
    assert PD83.gini == pytest.approx(0.631, abs=5e-4)
    assert ((cases == 0).sum(), (cases == sizes).sum()) == (44, 10)
    two = np.array([one.two_class for one in PD83.sites])
    assert two.sum() == 27
    assert sizes[two].sum() / sizes.sum() == pytest.approx(0.75, abs=5e-3)
    assert PD83.batches(5) == 284


def test_names_sort_in_the_order_of_the_sites():
    assert PD83.names[0] == "site-01"
    assert list(PD83.names) == sorted(PD83.names)


def test_a_file_gives_the_same_shape_as_its_text(tmp_path):
    path = tmp_path / "ours.csv"
    path.write_text("24:15/6:3, 8:0/4:0\n1:1/1:1\n", encoding="utf-8")
    found = read_shape(path)
    assert [one.word for one in found.sites] == ["24:15/6:3", "8:0/4:0", "1:1/1:1"]
    assert found.name == "ours"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("5:2/1:1 5-2/1:1", "site 2 is written '5-2/1:1'; expected training:cases/held-out:cases, as 24:15/6:3"),
        ("5:6/1:1 5:2/1:1", "site 1: a site has more cases than records: '5:6/1:1'"),
        ("5:2/1:1 0:0/1:1", "site 2: a site needs at least 1 training record, got 0"),
        ("5:2/1:1", "a consortium needs 2 to 10000 sites, found 1"),
    ],
)
def test_a_wrong_word_is_named(text, sentence):
    with pytest.raises(DataError, match=r"^shape 'x': .*") as caught:
        parse_shape(text, name="x")
    assert sentence in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is no text"):
        read_shape(tmp_path / "b")
    with pytest.raises(DataError, match=r"cannot read shape file .*: No such file"):
        read_shape(tmp_path / "c")


def test_equal_sites_have_no_inequality():
    assert parse_shape("4:2/1:1 4:2/1:1 4:2/1:1", name="x").gini == 0
