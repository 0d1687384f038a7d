"""Shifts against padding and cropping by hand."""

import numpy as np
import pytest

from skdidicm.augmentation import resolve_augmentation, shift


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
