import numpy as np
import pytest

from cohortium.data.encoding import encode, names_digest
from cohortium.data.mapping import SiteColumn, SiteMapping
from cohortium.data.schema import Column
from cohortium.data.table import Table
from cohortium.errors import DataError

PLAIN = SiteMapping()
NAN = np.nan


def table(**columns):
    return Table.from_columns(columns)


def mapped(**columns):
    return SiteMapping(columns=columns)


def told(encoded):
    return [(f.rule, f.rows, f.action) for f in encoded.findings]


def test_numbers_outside_their_inclusive_range_are_blanked():
    column = Column(name="chol", kind="number", unit="mg/dL", range=(50, 700))
    found = encode(table(chol=[49.9, 50, 700, 700.1, NAN, np.inf]), column, PLAIN)
    assert found.missing.tolist() == [True, False, False, True, True, True]
    assert found.values["chol"].tolist() == [0, 50, 700, 0, 0, 0]
    assert told(found) == [("non_finite", (6,), "blank"), ("out_of_range", (1, 4), "blank")]
    assert found.findings[1].expected == "expected 50 to 700 mg/dL"


def test_the_sites_unit_is_converted_before_the_range_is_checked():
    column = Column(name="chol", kind="number", unit="mg/dL", range=(50, 700))
    mapping = mapped(chol=SiteColumn(column="CHOL_MMOL", unit="mmol/L"))
    found = encode(table(CHOL_MMOL=[5.172, 0.5]), column, mapping)
    assert found.values["chol"][0] == pytest.approx(200)
    assert told(found) == [("out_of_range", (2,), "blank")]


def test_a_unit_nobody_agreed_on_is_refused():
    column = Column(name="x", kind="number")
    with pytest.raises(DataError, match="column 'x': the site says 'kg', the study agreed on no unit"):
        encode(table(x=[1.0]), column, mapped(x=SiteColumn(column="x", unit="kg")))


def test_texts_where_numbers_are_due_are_blanked_and_the_rest_is_read():
    found = encode(table(age=["61", "old", "", "44.5"]), Column(name="age", kind="number"), PLAIN)
    assert found.values["age"].tolist() == [61, 0, 0, 44.5]
    assert told(found) == [("text_for_number", (2,), "blank")]


def test_counts_are_whole_and_not_negative():
    found = encode(table(n=[0, 3, 2.5, -1, NAN]), Column(name="n", kind="count"), PLAIN)
    assert found.values["n"].dtype == np.int64
    assert found.missing.tolist() == [False, False, True, True, True]
    assert told(found) == [("not_a_count", (3, 4), "blank")]


def test_codes_follow_the_agreed_order_and_the_sites_own_words():
    column = Column(name="cp", kind="category", values=("typical", "atypical", "none"))
    mapping = mapped(cp=SiteColumn(column="pain", values={"1": "typical", "2": "atypical"}))
    found = encode(table(pain=[2, 1, 7, NAN]), column, mapping)
    assert found.values["cp"].tolist() == [1, 0, 0, 0]
    assert found.missing.tolist() == [False, False, True, True]
    assert told(found) == [("unknown_value", (3,), "blank")]
    assert found.findings[0].expected == "expected typical, atypical, none"


def test_an_absent_column_is_missing_in_every_row_and_named():
    for kind, more in (("number", {}), ("flag", {"values": ("0", "1")}), ("fingerprint", {"n": 8})):
        found = encode(table(other=[1, 2]), Column(name="x", kind=kind, **more), PLAIN)
        assert found.missing.tolist() == [True, True]
        assert found.absent == ("x",)


OS = Column(name="os", kind="survival", role="outcome", time="t", event="e", unit="months")


def test_survival_times_become_days_and_impossible_rows_are_told():
    found = encode(table(t=[1, 0, -2, 1801, NAN, 3, 4], e=[1, 0, 1, 1, 1, 1.5, 2]), OS, PLAIN)
    assert found.values["os/time"][[0, 1, 6]].tolist() == [30.4375, 15.21875, 4 * 30.4375]
    assert found.values["os/event"].tolist() == [1, 0, 0, 0, 0, 0, 2]
    assert found.missing.tolist() == [False, False, True, True, True, True, False]
    assert told(found) == [
        ("negative_time", (3,), "skip"),
        ("long_time", (4,), "skip"),
        ("bad_event", (6,), "skip"),
        ("zero_time", (2,), "note"),
    ]


def test_the_sites_own_time_unit_and_event_words_are_used():
    mapping = mapped(
        t=SiteColumn(column="jahre", unit="years"), e=SiteColumn(column="status", values={"alive": "0", "dead": "1"})
    )
    found = encode(table(jahre=[2.0, 1.0], status=["dead", "alive"]), OS, mapping)
    assert found.values["os/time"].tolist() == [730.5, 365.25]
    assert found.values["os/event"].tolist() == [1, 0]


def test_entry_must_lie_before_the_end():
    column = Column(name="os", kind="survival", role="outcome", time="t", event="e", entry="s", unit="d")
    found = encode(table(t=[10, 10, 10], e=[1, 1, 0], s=[3, 10, NAN]), column, PLAIN)
    assert found.values["os/entry"].tolist() == [3, 0, 0]
    assert told(found) == [("entry_after_time", (2,), "skip")]


def test_blocks_are_put_into_the_agreed_order():
    column = Column(name="genes", kind="block", names=("B", "A"), n=2)
    found = encode(table(A=[1.0, NAN], B=[2.0, NAN], C=[9.0, 9.0]), column, PLAIN)
    np.testing.assert_array_equal(found.values["genes"], np.array([[2, 1], [NAN, NAN]], np.float32))
    assert found.values["genes"].dtype == np.float32
    assert found.missing.tolist() == [False, True]


def test_blocks_by_prefix_are_compared_by_the_digest_of_their_names():
    digest = names_digest(("G1", "G2"))
    column = Column(name="genes", kind="block", prefix="G", n=2, names_digest=digest, transform="log2")
    found = encode(table(G2=[8.0, 0.0], G1=[2.0, 4.0], age=[1, 2]), column, PLAIN)
    np.testing.assert_array_equal(found.values["genes"], np.array([[1, 3], [2, NAN]], np.float32))
    with pytest.raises(DataError, match="block 'genes': 2 columns whose names are not the agreed ones"):
        encode(table(G2=[8.0], G3=[2.0]), column, PLAIN)


def test_a_block_may_lack_one_column_in_twenty():
    names = tuple(f"G{i:02d}" for i in range(20))
    column = Column(name="genes", kind="block", names=names, n=20)
    held = {name: [1.0] for name in names}
    found = encode(table(**{n: v for n, v in held.items() if n != "G07"}), column, PLAIN)
    assert found.absent == ("G07",)
    assert np.isnan(found.values["genes"][0, 7])
    with pytest.raises(DataError, match="block 'genes': 2 of 20 columns absent; at most 5 % may be"):
        encode(table(**{n: v for n, v in held.items() if n not in ("G07", "G08")}), column, PLAIN)
    with pytest.raises(DataError, match="1 columns hold text"):
        encode(table(**{**held, "G03": ["x"]}), column, PLAIN)


def test_a_block_may_come_as_one_matrix():
    column = Column(name="genes", kind="block", n=2)
    found = encode(table(genes=np.array([[1, np.inf], [3, 4]], np.float32)), column, PLAIN)
    assert told(found) == [("non_finite", (1,), "blank")]
    with pytest.raises(DataError, match=r"rows of shape \(3,\); expected \(2,\)"):
        encode(table(genes=np.zeros((1, 3), np.float32)), column, PLAIN)


def test_fingerprints_and_images_must_have_the_agreed_shape():
    bits, image = Column(name="f", kind="fingerprint", n=12), Column(name="i", kind="image", shape=(1, 2, 3))
    assert encode(table(f=np.zeros((4, 2), np.uint8)), bits, PLAIN).values["f"].shape == (4, 2)
    with pytest.raises(DataError, match="fingerprint 'f': rows of uint8"):
        encode(table(f=np.zeros((4, 3), np.uint8)), bits, PLAIN)
    assert encode(table(i=np.zeros((4, 2, 3), np.uint16)), image, PLAIN).values["i"].shape == (4, 1, 2, 3)
    with pytest.raises(DataError, match=r"image 'i': shape \(3, 2\); expected \(1, 2, 3\)"):
        encode(table(i=np.zeros((4, 3, 2), np.uint8)), image, PLAIN)
    with pytest.raises(DataError, match="image 'i': no column 'i'; found: x"):
        encode(table(x=[1]), image, PLAIN)


def test_an_image_with_pixels_that_are_no_numbers_loses_its_row():
    pixels = np.zeros((2, 2, 3), np.float32)
    pixels[1, 0, 0] = NAN
    found = encode(table(i=pixels), Column(name="i", kind="image", shape=(1, 2, 3)), PLAIN)
    assert told(found) == [("bad_image", (2,), "skip")]


def test_arrays_are_no_numbers():
    with pytest.raises(DataError, match="column 'x': holds an array per row; expected numbers"):
        encode(table(x=np.zeros((2, 2))), Column(name="x", kind="number"), PLAIN)
