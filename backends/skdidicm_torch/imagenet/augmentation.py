"""Random crops, flips and colours of training images.

Random numbers come from the global generators of torch and, for automatic augmentation, of Python
and NumPy; the data set seeds them for every image.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from skdidicm.imagenet.config import RunConfig
from skdidicm_torch.imagenet import timm_parts


def train_transform(config: RunConfig) -> timm_parts.Transform:
    """Return the random transform from a PIL image to pixels, uint8 (3, h, w).

    Tensors are cropped and resized several times faster than PIL images. Automatic augmentation
    replaces the colour jitter, as in timm.
    """
    area = (config.min_crop, 1.0)
    crops = [
        v2.RandomResizedCrop(config.resolution, area, interpolation=mode)
        for mode in (v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC)
    ]
    steps = [pixels_of, v2.RandomChoice(crops), v2.RandomHorizontalFlip()]
    if config.auto_augment:
        steps += [v2.ToPILImage(), timm_parts.automatic_augmentation(config), pixels_of]
    elif config.color_jitter:
        steps.append(v2.ColorJitter(*[config.color_jitter] * 3))
    transform: timm_parts.Transform = v2.Compose(steps)
    return transform


def pixels_of(picture: Any) -> Tensor:
    """Return the pixels of an RGB image of PIL, uint8 (3, h, w), channels last in memory."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
