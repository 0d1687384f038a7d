"""Crops of images to a fixed size, on the host.

Images differ in size, which a traced step cannot handle; Pillow crops and resizes in one call.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm.pictures import centre

View = Callable[[Any, np.random.Generator], NDArray[np.uint8]]
"""A function from a PIL image and a generator to pixels (h, w, 3)."""

Box = tuple[int, int, int, int]

_ASPECTS = (3 / 4, 4 / 3)
_TRIES = 10


def training_view(config: RunConfig) -> View:
    """Return the view in training: a random crop, resized with a random filter."""

    def view(picture: Any, rng: np.random.Generator) -> NDArray[np.uint8]:
        from PIL import Image

        width, height = picture.size
        box = random_box(width, height, config.min_crop, rng)
        filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
        size = (config.resolution, config.resolution)
        return np.asarray(picture.resize(size, filters[rng.integers(2)], box=box))

    return view


def evaluation_view(config: RunConfig, corrupt: Corruption | None = None) -> View:
    """Return the view in evaluation: the centre crop, corrupted if asked for."""

    def view(picture: Any, rng: np.random.Generator) -> NDArray[np.uint8]:  # noqa: ARG001
        pixels = np.asarray(centre(picture, config.resolution, config.crop))
        return pixels if corrupt is None else corrupt(pixels)

    return view


def random_box(width: int, height: int, smallest: float, rng: np.random.Generator) -> Box:
    """Return left, upper, right and lower of a random crop.

    Its fraction of the area is uniform in [smallest, 1], and the logarithm of its aspect ratio is
    uniform between those of 3/4 and 4/3. If ten attempts do not fit, it is a large centre crop.
    """
    for _ in range(_TRIES):
        area = width * height * rng.uniform(smallest, 1)
        aspect = math.exp(rng.uniform(math.log(_ASPECTS[0]), math.log(_ASPECTS[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return _placed(
                w, h, int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            )
    aspect = min(max(width / height, _ASPECTS[0]), _ASPECTS[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return _placed(w, h, (width - w) // 2, (height - h) // 2)


def _placed(w: int, h: int, left: int, upper: int) -> Box:
    return left, upper, left + w, upper + h
