"""Random crops, flips and colours: against Pillow, and on pictures that show what was drawn."""

import numpy as np
import pytest
import torch
from PIL import Image
from skdidicm_torch.imagenet.augmentation import train_transform

from skdidicm.imagenet.recipes import resolve

pytestmark = pytest.mark.imagenet


def transform(resolution=32, **flags):
    plain = {"color_jitter": 0.0, "min_crop": 1.0}
    return train_transform(
        resolve({"data": "x", "resolution": resolution, **plain, **flags}).config
    )


def photograph(side):
    """A smooth picture with some noise; the border and the centre differ."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 1, side)
    waves = np.stack([at[:, None] + 0 * at, 0 * at[:, None] + at, np.outer(at, at)], axis=2)
    return Image.fromarray((200 * waves + 40 * rng.random((side, side, 3))).astype(np.uint8))


def close(found, picture, most):
    expected = np.moveaxis(np.asarray(picture, int), -1, 0)
    return np.abs(found.numpy().astype(int) - expected).max() <= most


def test_the_whole_of_a_square_is_resized_as_pillow_does_it_or_mirrored():
    picture, seen = photograph(90), set()
    modes = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    for seed in range(40):
        torch.manual_seed(seed)
        found = transform()(picture)
        assert (found.shape, found.dtype) == ((3, 32, 32), torch.uint8)
        matches = [
            (mode.name, mirrored)
            for mode in modes
            for mirrored in (False, True)
            if close(found.flip(2) if mirrored else found, picture.resize((32, 32), mode), 1)
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 4  # both filters, each with and without a flip


def test_crops_have_the_areas_and_aspect_ratios_asked_for():
    """The picture's colours are the coordinates, so that a crop shows where it was taken."""
    height, width = 200, 240
    rows, columns = np.mgrid[:height, :width]
    picture = Image.fromarray(np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8))
    areas, ratios = [], []
    for seed in range(300):
        torch.manual_seed(seed)
        found = transform(64, min_crop=0.3)(picture).double()
        # 64 samples of a ramp span 63 / 64 of its length.
        h = (found[0, -1] - found[0, 0]).mean() * 64 / 63
        w = (found[1, :, -1] - found[1, :, 0]).abs().mean() * 64 / 63
        areas.append(float(h * w) / (height * width))
        ratios.append(float(w / h))
    np.testing.assert_allclose([min(areas), max(areas)], [0.3, 1.0], atol=0.06)
    np.testing.assert_allclose([min(ratios), max(ratios)], [3 / 4, 4 / 3], atol=0.06)
    assert abs(np.mean(areas) - 0.62) < 0.05  # uniform, less those that do not fit into the picture


def test_colour_jitter_changes_brightness_contrast_and_saturation():
    """Two greys show brightness and contrast, and reddish pixels between them the saturation."""
    tones = np.full((30, 30, 3), 80.0)
    tones[:10] = 110
    tones[10:20] = [110, 80, 80]
    picture = Image.fromarray(tones.astype(np.uint8))
    plainly = transform(30)(picture).double()
    drawn = []
    for seed in range(300):
        torch.manual_seed(seed)
        x = transform(30, color_jitter=0.4)(picture).double()
        contrast = x[:, 2].mean() - x[:, -3].mean()
        chroma = (x[0] - x[2])[12:18].mean() / contrast
        drawn.append([x.mean() / plainly.mean(), contrast / x.mean(), chroma])
    contrast = (plainly[:, 2].mean() - plainly[:, -3].mean()) / plainly.mean()
    factors = np.array(drawn) / [1, contrast, 1]
    np.testing.assert_allclose(factors.min(axis=0), 0.6, atol=0.08)
    np.testing.assert_allclose(factors.max(axis=0), 1.4, atol=0.08)
    np.testing.assert_allclose(factors.mean(axis=0), 1.0, atol=0.08)


def test_automatic_augmentation_replaces_the_jitter_and_draws_from_the_seeded_generators():
    import random

    picture = photograph(32)

    def found(seed, **flags):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return transform(**flags)(picture)

    policy = {"auto_augment": "rand-m7-mstd0.5-inc1"}
    for seed in range(5):
        assert torch.equal(found(seed, **policy), found(seed, color_jitter=0.4, **policy))
    several = [found(seed, **policy) for seed in range(20)]
    resized = [found(seed) for seed in range(20)]
    changed = [not torch.equal(a, b) for a, b in zip(several, resized, strict=True)]
    assert sum(changed) >= 10  # every operation is left out half of the time
