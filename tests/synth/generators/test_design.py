import numpy as np

from cohortium.synth.generators.design import SCORE_BITS, Design

DESIGN = Design(sizes=(2, 3), reference=(0, 1), n_scores=1)


def test_the_constant_all_levels_but_the_reference_and_the_scores():
    rows = DESIGN.rows(np.array([[1, 0], [0, 1]]), np.array([[0.5], [np.nan]]))
    assert rows.tolist() == [[1, 1, 1, 0, 1 << (SCORE_BITS - 1)], [1, 0, 0, 0, 0]]
    assert DESIGN.width == rows.shape[1]


def test_scale_turns_whole_numbers_into_values():
    assert DESIGN.scale.tolist() == [1, 1, 1, 1, 2.0**-SCORE_BITS]


def test_columns_have_names():
    names = DESIGN.names([("TP53", "0", "1"), ("stage", "I", "II", "III")], ["hb"])
    assert names == ("1", "TP53=1", "stage=I", "stage=III", "hb")
