"""Random crops and flips of training images in the reading processes, and colours on the device.

In the reading processes, random numbers come from the global generators of torch and, for
automatic augmentation, of Python and NumPy; the data set seeds them for every image.
"""

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop, v2
from torchvision.transforms.v2 import InterpolationMode, functional

from skdidicm.imagenet.config import RunConfig
from skdidicm_torch.imagenet import timm_parts

_FILTERS = (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
_ASPECT = (3 / 4, 4 / 3)
_GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue, ITU-R BT.601


def train_transform(config: RunConfig) -> timm_parts.Transform:
    """Return the random transform from a PIL image to pixels, uint8 (3, h, w)."""
    steps = [RandomCrop(config.resolution, config.min_crop), v2.RandomHorizontalFlip()]
    if config.auto_augment:
        steps += [v2.ToPILImage(), timm_parts.automatic_augmentation(config), pixels_of]
    transform: timm_parts.Transform = v2.Compose(steps)
    return transform


class RandomCrop:
    """A crop of random area and aspect ratio from a PIL image, resized with a random filter.

    Tensors are resized several times faster than PIL images.
    """

    def __init__(self, side: int, min_area: float) -> None:
        self.side, self.area = side, [min_area, 1.0]

    def __call__(self, picture: Image) -> Tensor:
        """Return pixels, uint8 (3, side, side)."""
        top, left, h, w = RandomResizedCrop.get_params(picture, self.area, list(_ASPECT))
        method = _FILTERS[int(torch.randint(len(_FILTERS), ()))]
        crop = pixels_of(picture.crop((left, top, left + w, top + h)))
        resized: Tensor = functional.resize(crop, [self.side, self.side], method, antialias=True)
        return resized


def pixels_of(picture: Image) -> Tensor:
    """Return the pixels of an RGB image of PIL, uint8 (3, h, w), channels last in memory."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def jitter_colors(pixels: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Return images with random brightness, contrast and saturation.

    Each of the three has a factor that is uniform in [1 - strength, 1 + strength], at least 0.
    Contrast mixes an image with its mean grey, saturation with the grey of every pixel. The order
    of the three does not matter, since values are only clipped at the end.

    Parameters
    ----------
    pixels : Tensor
        Pixels (n, 3, h, w) of a floating type, from 0 to 255.
    strength : float
        Largest change of a factor, at least 0.
    rng : torch.Generator
        Generator on the device of the pixels.

    Returns
    -------
    Tensor
        Pixels (n, 3, h, w), from 0 to 255.
    """
    shape = (3, len(pixels), 1, 1, 1)
    uniform = torch.rand(shape, generator=rng, device=pixels.device, dtype=pixels.dtype)
    low = max(0.0, 1 - strength)
    brightness, contrast, saturation = low + (1 + strength - low) * uniform
    red, green, blue = (w * c for w, c in zip(_GREY, pixels.split(1, dim=1), strict=True))
    grey = red + green + blue
    mean = grey.mean(dim=(2, 3), keepdim=True)
    colors = saturation * pixels + (1 - saturation) * grey
    changed: Tensor = brightness * (contrast * colors + (1 - contrast) * mean)
    return changed.clamp(0, 255)
