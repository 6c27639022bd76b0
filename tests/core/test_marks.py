"""Where a program's state speaks to its node: the lot, and answers that are shown."""

import numpy as np
import pytest

from cohortium.core.marks import LOT, SHOWN, blank_lot, lot_of, salted, showing, showing_once, shows, with_lot
from cohortium.core.parameters import Parameters

LOT_BYTES = bytes(range(32))


def test_a_lot_goes_where_a_learner_has_left_a_place_for_it_and_nowhere_else():
    state = blank_lot().prefixed("audit/model") | Parameters({"model/lot": np.zeros(2), "x/ledger/lot": np.zeros(2)})
    drawn = with_lot(state, LOT_BYTES)
    assert lot_of(drawn.under("audit/model")) == LOT_BYTES
    assert not drawn["model/lot"].any()
    assert not drawn["x/ledger/lot"].any()
    plain = Parameters({"model/weight": np.ones(3)})
    assert with_lot(plain, LOT_BYTES) == plain
    assert lot_of(blank_lot()) == bytes(32)


def test_a_lot_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes, got 31"):
        with_lot(blank_lot(), LOT_BYTES[:31])


def test_answers_are_shown_where_the_mark_stands():
    mark = Parameters({SHOWN: np.ones(1)})
    assert shows(mark)
    assert shows(mark.prefixed("audit/model"))
    assert not shows(blank_lot())
    assert not shows(mark.prefixed("layer"))
    assert LOT != SHOWN


def test_answers_that_prove_nothing_later_are_shown_without_keeping_their_salts():
    plain = Parameters({"step": np.zeros(1)})
    for place in (lambda state: state, lambda state: state.prefixed("copies/model")):
        assert shows(place(showing(plain)))
        assert salted(place(showing(plain)))
        assert shows(place(showing_once(plain)))
        assert not salted(place(showing_once(plain)))
    assert not salted(plain)
