"""What held-out rows say of models beside the networks."""

import numpy as np
import pytest

from skdidicm.core import SymmetricNoise
from skdidicm.fit.beside import choose_share, out_of_fold, total_nll
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 40)
FIRST, SECOND = RNG.dirichlet([1, 1], size=(2, 40))
HELD = HeldOut(
    np.arange(40), np.arange(40) % 4, FIRST, np.eye(2)[Y], RNG.integers(1, 3, 40).astype(float), 40
)


def test_the_share_is_that_of_the_lowest_nll_with_a_row_for_each_side():
    shares = np.linspace(0, 1, 10_001)[1:-1]
    of_first, of_second = FIRST[np.arange(40), Y], SECOND[np.arange(40), Y]
    p = (1 - shares) * of_first[:, None] + shares * of_second[:, None]
    nll = -HELD.weight @ np.log(p) - np.log(shares) - np.log(1 - shares)
    assert choose_share(FIRST, SECOND, HELD) == pytest.approx(shares[nll.argmin()], abs=1e-3)


def test_label_noise_is_part_of_what_is_scored():
    noise = SymmetricNoise(2, 0.2)
    seen = FIRST @ np.array([[0.8, 0.2], [0.2, 0.8]])
    expected = -HELD.weight @ np.log(seen[np.arange(40), Y])
    assert total_nll(FIRST, HELD, noise) == pytest.approx(expected)


def test_rows_are_answered_by_models_of_the_other_folds():
    rows = Rows(np.arange(40.0)[:, None], np.eye(2)[Y], np.ones(40))

    def learn(seen):
        known = set(seen.x[:, 0])
        return [
            lambda x, own=own: np.array([[value in known, own] for value in x[:, 0]], dtype=float)
            for own in (0, 1)
        ]

    answers = out_of_fold(rows, HELD, learn)
    assert answers.shape == (2, 40, 2)
    assert not answers[:, :, 0].any()
    np.testing.assert_array_equal(answers[:, :, 1], [[0] * 40, [1] * 40])
