import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.synth.generators.heads import BARRED, Heads  # noqa: E402

HEADS = Heads((2, 5, 3, 2, 1, 4))
BLOCKS = ((0, 5), (5, 8), (8, 12))


def logits(n=7):
    return torch.tensor(np.random.default_rng(0).normal(0, 40, (n, 12)).astype(np.float32), requires_grad=True)


def test_flags_and_blocks_lie_behind_one_another_without_gaps():
    assert HEADS.flags.tolist() == [0, 3]
    assert HEADS.blocks.tolist() == [1, 2, 5]
    assert (HEADS.n_levels, HEADS.width) == (12, 14)
    assert HEADS.level_at.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 12, 12], [8, 9, 10, 11, 12]]


def test_codes_become_numbers_and_what_nobody_knows_is_nothing():
    found = HEADS.numbers(np.array([[1, 4, 0, 0, 0, 2], [-1, -1, 2, 1, 0, -1]]))
    assert np.flatnonzero(found[0]).tolist() == [0, 2 + 4, 2 + 5, 2 + 10]
    assert np.flatnonzero(found[1]).tolist() == [1, 2 + 7]


def test_softmax_and_its_gradient_are_torchs_block_by_block():
    mine, theirs = logits(), logits()
    weights = torch.tensor(np.random.default_rng(1).normal(size=(7, 12)).astype(np.float32))
    made = HEADS.softmax(mine)
    wanted = torch.cat([torch.softmax(theirs[:, a:b], dim=1) for a, b in BLOCKS], dim=1)
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-6)
    (made * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_log_chances_and_their_gradient_are_torchs_however_far_the_logits():
    mine, theirs = logits(), logits()
    codes = torch.tensor(np.random.default_rng(2).integers(0, 3, (7, 3)))
    made = HEADS.log_chance(mine, codes)
    wanted = torch.cat([torch.log_softmax(theirs[:, a:b], dim=1).gather(1, codes[:, k : k + 1])
                        for k, (a, b) in enumerate(BLOCKS)], dim=1)  # fmt: skip
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-4)
    made.sum().backward()
    wanted.sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_padded_logits_bar_what_is_no_level():
    found = HEADS.padded(np.arange(12.0)[None])
    assert found.shape == (1, 3, 5)
    assert found[0, 1].tolist() == [5, 6, 7, BARRED, BARRED]


def test_without_blocks_there_is_nothing():
    bare = Heads((2, 2))
    assert bare.padded(np.zeros((3, 0))).shape[:2] == (3, 0)
    assert bare.numbers(np.array([[1, 0]])).tolist() == [[1, 0]]
