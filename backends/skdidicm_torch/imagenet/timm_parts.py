"""Everything from timm: augmentation, mixup, optimiser, schedule, weight average and networks.

No other module imports timm.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.data import Mixup, create_transform, resolve_model_data_config
from timm.data.readers import create_reader
from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from skdidicm.backend import Preparation
from skdidicm.core.arrays import one_hot
from skdidicm.errors import reason
from skdidicm.folders import find_tars
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption

Transform = Callable[[Any], Any]


def automatic_augmentation(config: RunConfig) -> Transform:
    """Return the random transform of a PIL image that `auto_augment` names, such as RandAugment."""
    try:
        parts = create_transform(
            config.resolution,
            is_training=True,
            color_jitter=config.color_jitter,  # of "3a"; other policies leave it out
            auto_augment=config.auto_augment,
            separate=True,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise ValueError(
            f"--auto-augment is {config.auto_augment!r}; expected a policy as timm spells it, such "
            "as rand-m7-mstd0.5-inc1."
        ) from error
    policy: Transform = parts[1]
    return policy


def evaluation_transform(config: RunConfig, corrupt: Corruption | None = None) -> Transform:
    """Return the transform from a PIL image to the pixels of its centre, uint8 (3, h, w)."""
    transform: Transform = create_transform(
        config.resolution,
        is_training=False,
        crop_pct=config.crop,
        interpolation="bicubic",
        normalize=False,
    )
    if corrupt is None:
        return transform

    def corrupted(picture: Any) -> Any:
        pixels = np.moveaxis(np.asarray(transform(picture)), 0, -1)
        return np.ascontiguousarray(np.moveaxis(corrupt(pixels), -1, 0))

    return corrupted


def open_reader(config: RunConfig, split: str) -> Any:
    """Return timm's reader of a source other than a folder of images."""
    if config.reader == "tar":
        return ReaderImageInTar(str(find_tars(Path(config.data), split)), cache_tarinfo=False)
    name = "validation" if split == "val" else split  # as Hugging Face calls it
    try:
        return create_reader(config.reader, root=config.data, split=name)
    except ImportError as error:
        raise ImportError(
            f"--reader {config.reader} needs {error.name}, which is not installed; install it with:"
            f" pip install {error.name}"
        ) from error


def class_numbers(reader: Any) -> dict[str, int]:
    """Return the class numbers of a reader of timm, by class name."""
    for attribute in ("class_to_idx", "class_name_to_idx"):
        found = getattr(reader, attribute, None)
        if found:
            return {str(name): int(number) for name, number in found.items()}
    return {}


def mixer(config: RunConfig, n_classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the function that mixes the images of a batch and makes soft labels.

    It draws from NumPy's global generator, so call it within `seeded`.
    """
    if not (config.mixup or config.cutmix):

        def smooth(x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
            target = one_hot(label, n_classes, torch.float32)
            return x, target * (1 - config.label_smoothing) + config.label_smoothing / n_classes

        return smooth
    mix: Any = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=1.0,
        switch_prob=0.5,
        label_smoothing=config.label_smoothing,
        num_classes=n_classes,
    )
    return mix  # type: ignore[no-any-return]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, and restore its state on exit."""
    state = np.random.get_state()  # noqa: NPY002 - timm's mixup knows no other
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def create_optimizer(config: RunConfig, module: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser, without weight decay on biases and norms; LAMB clips gradients."""
    options: dict[str, Any] = {}
    if clips_itself(config):
        options["max_grad_norm"] = config.max_grad_norm or None
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            module,
            opt=config.optimizer,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            **options,
        )
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"--optimizer is {config.optimizer!r}; expected one of timm, such as lamb, adamw or "
            f"sgd ({error})."
        ) from error
    return optimizer


def clips_itself(config: RunConfig) -> bool:
    """Return whether the optimiser clips gradients by their norm."""
    return config.optimizer.lower() in ("lamb", "lambc")


def create_schedule(
    config: RunConfig, optimizer: torch.optim.Optimizer, per_epoch: int
) -> Callable[[int], None]:
    """Return the function that sets an update's learning rate: warm-up, then a cosine to 0."""
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=config.epochs * per_epoch,
        warmup_t=round(config.warmup_epochs * per_epoch),
        warmup_lr_init=config.warmup_learning_rate,
        t_in_epochs=False,
    )
    set_rate: Callable[[int], None] = schedule.step_update
    return set_rate


def create_average(module: nn.Module, decay: float) -> ModelEmaV3:
    """Return the exponential average of a module's weights, with its `update(module)`."""
    return ModelEmaV3(module, decay=decay)


def create_timm(
    name: str, n_classes: int, in_channels: int, *, pretrained: bool = False
) -> nn.Module:
    """Return a network of timm; with 0 classes it returns pooled features.

    With `pretrained` it has the weights that belong to its name, which timm downloads once.
    """
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "see timm.list_models()"
        raise ValueError(
            f"timm has no network {name!r}; expected one that it has, such as {close}."
        )
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=n_classes, in_chans=in_channels
        )
    except Exception as error:
        if not pretrained:
            raise
        raise OSError(
            f"the weights of timm/{name} cannot be had ({reason(error)}); connect this machine "
            "once so that timm can download them, or set pretrained to the path of a file of "
            "weights (.safetensors or .pth)."
        ) from error
    return network


def preparation_of(network: nn.Module) -> Preparation:
    """Return how a network of timm takes pictures."""
    found = resolve_model_data_config(network)
    known = found["interpolation"] in ("nearest", "bilinear", "bicubic")
    return Preparation(
        size=tuple(found["input_size"][1:]),
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        interpolation=found["interpolation"] if known else "bicubic",
    )
