"""Random crops, flips and colours: against Pillow, and on pictures that show what was drawn."""

import random

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from skdidicm_torch.imagenet.augmentation import jitter_colors, train_transform
from torchvision.transforms.v2 import functional

from skdidicm.imagenet.recipes import resolve

pytestmark = pytest.mark.imagenet


def transform(resolution=32, **flags):
    given = {"data": "x", "resolution": resolution, "min_crop": 1.0, **flags}
    return train_transform(resolve(given).config)


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
    rng = np.random.default_rng(0)
    area, ratio = rng.uniform(0.3, 1, 10_000), np.exp(rng.uniform(*np.log([3 / 4, 4 / 3]), 10_000))
    w, h = np.sqrt(area * height * width * np.stack([ratio, 1 / ratio]))
    fit = (w <= width) & (h <= height)  # others are drawn again
    assert np.mean(areas) == pytest.approx(area[fit].mean(), abs=0.03)


def pictures(n=4):
    """Photographs whose contrast leaves room: no change of colours clips them."""
    small = np.moveaxis(np.asarray(photograph(16)), -1, 0).copy()
    return (60 + 0.3 * torch.from_numpy(small).double()).expand(n, -1, -1, -1)


def test_colour_jitter_is_that_of_torchvision_with_the_same_factors(monkeypatch):
    factors = torch.tensor([[0.7, 1.1, 1.3, 1.0], [1.4, 0.6, 1.0, 0.9], [0.6, 1.4, 1.2, 0.0]])
    strength = 2.0  # factors from 0 to 3
    uniform = (factors / 3).double()[:, :, None, None, None]
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: uniform)
    found = jitter_colors(pictures(), strength, torch.Generator())
    for x, expected, (brightness, contrast, saturation) in zip(
        found, pictures() / 255, factors.T.tolist(), strict=True
    ):
        for change, factor in (
            (functional.adjust_saturation, saturation),
            (functional.adjust_brightness, brightness),
            (functional.adjust_contrast, contrast),
        ):
            expected = change(expected, factor)
        torch.testing.assert_close(x / 255, expected, atol=5e-4, rtol=0)


def test_factors_of_colour_jitter_are_uniform_about_one_and_never_negative():
    grey = torch.full((2000, 3, 2, 2), 60.0)  # only brightness changes a grey picture
    for strength, low in ((0.4, 0.6), (1.5, 0.0)):
        found = jitter_colors(grey, strength, torch.Generator().manual_seed(0))[:, 0, 0, 0] / 60
        assert scipy.stats.kstest(found.numpy(), "uniform", (low, 1 + strength - low)).pvalue > 0.01


def test_colour_jitter_stays_within_the_range_of_pixels():
    x = 255.0 * torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = jitter_colors(x, 0.9, torch.Generator().manual_seed(1))
    assert (found.min(), found.max()) == (0, 255)


def test_automatic_augmentation_draws_from_the_seeded_generators():
    picture = photograph(32)

    def found(seed, **flags):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return transform(**flags)(picture)

    policy = {"auto_augment": "rand-m7-mstd0.5-inc1"}
    for seed in range(5):
        assert torch.equal(found(seed, **policy), found(seed, **policy))
    several = [found(seed, **policy) for seed in range(20)]
    resized = [found(seed) for seed in range(20)]
    changed = [not torch.equal(a, b) for a, b in zip(several, resized, strict=True)]
    assert sum(changed) >= 10  # every operation is left out half of the time


def test_the_policy_that_jitters_colours_has_the_jitter_asked_for():
    """Of its operations, only solarising changes a grey picture, and always alike."""
    grey = Image.new("RGB", (32, 32), (90, 90, 90))
    seen = {}
    for strength in (0.0, 0.4):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        change = transform(auto_augment="3a", color_jitter=strength)
        seen[strength] = {int(change(grey)[0, 0, 0]) for _ in range(20)}
    assert len(seen[0.0]) <= 2
    assert len(seen[0.4]) > 10
