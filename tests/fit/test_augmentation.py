"""Shifts against padding and cropping by hand."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from skdidicm.fit.augmentation import mix, resolve_augmentation, shift


def shifts_by_hand(image, reach_y, reach_x):
    """Return the image moved by every offset: padded with its own border, then cropped."""
    height, width = image.shape[:2]
    border = [(reach_y, reach_y), (reach_x, reach_x)] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, border, mode="edge")
    return [
        padded[y : y + height, x : x + width]
        for y in range(2 * reach_y + 1)
        for x in range(2 * reach_x + 1)
    ]


@pytest.mark.parametrize(
    ("shape", "reach"),
    [((8, 8), (1, 1)), ((8, 28, 3), (1, 2)), ((28, 28), (2, 2)), ((3, 2, 1), (1, 1))],
)
def test_a_shifted_image_is_one_of_the_images_padded_by_its_border_and_cropped(rng, shape, reach):
    images = rng.integers(0, 256, (300, *shape)).astype(np.uint8)
    before = images.copy()
    moved = shift(images, rng)
    assert moved.dtype == np.uint8
    assert moved.shape == images.shape
    np.testing.assert_array_equal(images, before)
    used = set()
    for image, result in zip(images, moved, strict=True):
        candidates = shifts_by_hand(image, *reach)
        found = [i for i, c in enumerate(candidates) if np.array_equal(c, result)]
        assert found
        used.update(found if len(found) == 1 else [])
    assert len(used) > 0.9 * len(candidates) or min(shape[:2]) < 4


def test_all_offsets_are_equally_likely(rng):
    image = np.arange(64.0).reshape(8, 8)
    moved = shift(np.tile(image, (9000, 1, 1)), rng)
    candidates = np.stack(shifts_by_hand(image, 1, 1))
    which = (moved[:, None] == candidates).all(axis=(2, 3)).argmax(axis=1)
    counts = np.bincount(which, minlength=9)
    np.testing.assert_array_less(np.abs(counts - 1000), 5 * np.sqrt(1000))


def test_shifts_come_from_the_generator_alone():
    images = np.random.default_rng(1).random((5, 8, 8))
    first, second = (shift(images, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, shift(images, np.random.default_rng(4)))


def test_auto_shifts_images_and_leaves_tables_alone():
    assert resolve_augmentation("auto", (8, 8)) is shift
    assert resolve_augmentation("auto", (8, 8, 3)) is shift
    assert resolve_augmentation("shift", (8, 8)) is shift
    assert resolve_augmentation("auto", (8,)) is None
    assert resolve_augmentation(None, (8, 8)) is None


def test_a_callable_is_taken_as_it_is():
    def flip(images, rng):
        return images[:, :, ::-1]

    assert resolve_augmentation(flip, (8, 8)) is flip
    assert resolve_augmentation(flip, (8,)) is flip


@pytest.mark.parametrize(
    ("augment", "shape", "message"),
    [
        ("flip", (8, 8), "augment is 'flip'; expected None, one of"),
        (3, (8, 8), "augment is 3; expected"),
        ("shift", (8,), "X is a table; set augment=None"),
    ],
)
def test_what_cannot_augment_is_refused(augment, shape, message):
    with pytest.raises(ValueError, match=message):
        resolve_augmentation(augment, shape)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_rows_and_labels_are_mixed_in_the_same_shares(rng, dtype):
    target = np.eye(5)[rng.integers(0, 5, 300)]
    pictures = rng.integers(0, 200, (5, 4, 3))
    x = pictures[target.argmax(axis=1)].astype(dtype)  # a linear map of the labels
    before = x.copy()
    mixed, q_0, weight = mix(x, target, np.full(300, 2.0), 1.0, rng)
    np.testing.assert_allclose(mixed, np.tensordot(q_0, pictures, axes=1), atol=1e-4)
    np.testing.assert_allclose(weight, 2.0)
    np.testing.assert_array_equal(x, before)
    assert mixed.dtype == (np.float64 if dtype is np.float64 else np.float32)


def test_mixing_keeps_the_weight_of_every_class_on_average(rng):
    target, weight = np.eye(3)[rng.integers(0, 3, 4000)], rng.uniform(0.1, 3, 4000)
    _, q_0, total = mix(np.zeros((4000, 1)), target, weight, 0.5, rng)
    np.testing.assert_allclose(q_0.sum(axis=1), 1)
    np.testing.assert_allclose(total @ q_0, weight @ target, rtol=0.1)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_share_of_the_row_itself_is_the_greater_one_of_a_beta_variable(rng, alpha):
    target = np.eye(3000)  # every row has a class of its own
    _, q_0, _ = mix(np.zeros((3000, 1)), target, np.ones(3000), alpha, rng)
    own = q_0[np.arange(3000), np.arange(3000)]
    assert own.min() >= 0.5
    law = scipy.stats.beta(alpha, alpha)
    expected = 2 * scipy.integrate.quad(lambda s: s * law.pdf(s), 0.5, 1)[0]
    assert abs(own.mean() - expected) < 0.02


def test_a_single_row_stays_as_it_is(rng):
    x, q_0, weight = mix(np.full((1, 2), 3.0), np.array([[0.2, 0.8]]), np.ones(1), 1.0, rng)
    np.testing.assert_allclose(x, 3.0)
    np.testing.assert_allclose(q_0, [[0.2, 0.8]])
    np.testing.assert_allclose(weight, 1.0)
