import numpy as np
import pytest
import scipy.special

from skdidicm.core import arrays


def test_the_namespace_is_that_of_the_arguments(xp, array):
    assert arrays.namespace(array([1.0]), 2.0).asarray(3.0).__class__ is xp.asarray(3.0).__class__


def test_python_numbers_count_as_numpy():
    assert isinstance(arrays.namespace(1, 0.5).asarray(2.0), np.ndarray)


def test_like_takes_over_library_and_dtype_and_copies(xp, array, recwarn):
    values = np.array([1.0, 2.0])
    values.flags.writeable = False
    other = array([0.0], np.float32)
    for value in (values, 3, 3.0, array([1.0, 2.0])):
        result = arrays.like(value, other)
        assert result.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(result), np.asarray(value))
    assert not recwarn


def test_like_shares_no_memory_with_a_foreign_array():
    torch = pytest.importorskip("torch")
    values = np.array([1.0, 2.0])
    result = arrays.like(values, torch.zeros(1, dtype=torch.float64))
    values[0] = 5.0
    assert float(result[0]) == 1.0


@pytest.mark.parametrize("shape", [(), (3,), (3, 2)])
def test_column_pairs_every_number_with_its_row(array, shape, rng):
    value, rows = rng.random(shape), rng.random((*shape, 4))
    result = np.asarray(arrays.column(array(value), array(rows)) * array(rows))
    for index in np.ndindex(*shape):
        np.testing.assert_allclose(result[index], value[index] * rows[index], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_one_hot_and_take_label_are_inverse(xp, array, shape, dtype, rng):
    label = rng.integers(0, 4, shape).astype(dtype)
    own = arrays.one_hot(array(label), 4, xp.float32)
    np.testing.assert_array_equal(np.asarray(own), np.eye(4)[label])
    taken = arrays.take_label(own, array(label))
    np.testing.assert_array_equal(np.asarray(taken), np.ones((*shape, 1)))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax_and_its_logarithm_agree_with_scipy(array, agree, scale, rng):
    x = (scale * rng.standard_normal((6, 5))).astype(np.float32).astype(np.float64)
    agree(arrays.softmax(array(x)), scipy.special.softmax(x, axis=-1))
    agree(arrays.log_softmax(array(x)), scipy.special.log_softmax(x, axis=-1))


def test_normalize_clips_and_keeps_proportions(array, agree):
    weights = array([[2.0, -1.0, 6.0], [1e30, 1e30, 0.0]])
    agree(arrays.normalize(weights), [[0.25, 0.0, 0.75], [0.5, 0.5, 0.0]])


def test_normalize_makes_a_row_without_weight_uniform(array, agree):
    agree(arrays.normalize(array([[0.0, -2.0, 0.0, -1.0], [0.0, 1.0, 0.0, 0.0]])),
          [[0.25] * 4, [0.0, 1.0, 0.0, 0.0]])  # fmt: skip


def test_draw_gives_every_label_its_share(array):
    weights = np.array([[1.0, 2.0, 0.0, 5.0], [3.0, -9.0, 1.0, 0.0]])
    uniform = (np.arange(800) + 0.5) / 800
    label = arrays.draw(array(weights[:, None, :].repeat(800, axis=1)), array(uniform)[None, :])
    for row, expected in zip(
        np.asarray(label), [[100, 200, 0, 500], [600, 0, 200, 0]], strict=True
    ):
        assert np.abs(np.bincount(row, minlength=4) - expected).max() <= 1


def test_draw_gives_every_row_the_same_noise_if_uniform_is_a_number(array):
    weights = array(np.tile([0.2, 0.3, 0.5], (4, 1)))
    np.testing.assert_array_equal(np.asarray(arrays.draw(weights, 0.4)), [1, 1, 1, 1])


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draw_never_picks_a_label_without_weight(array, uniform, dtype, rng):
    weights = rng.uniform(0.5, 1.0, (200, 6)) * (rng.random((200, 6)) < 0.4)
    weights[:, 3] += 0.1
    label = np.asarray(arrays.draw(array(weights, dtype), uniform))
    assert (weights[np.arange(200), label] > 0).all()
