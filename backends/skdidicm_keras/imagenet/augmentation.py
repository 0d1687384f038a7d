"""Random augmentation of a batch by Keras's layers, on the device and within the traced step.

Every layer has a seed variable. All of them are set for every batch, so the augmentation is a
function of the seeds that are passed.
"""

import re
import warnings
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from skdidicm.imagenet.config import RunConfig

_PIXELS = (0, 255)
_POLICY = re.compile(r"rand(-n(?P<n>\d+)|-m(?P<m>\d+(\.\d+)?)|-mstd\d+(\.\d+)?|-inc[01])*")
_ROTATION, _SHEAR, _TRANSLATION = 30 / 360, 0.3, 0.45  # at the full magnitude, of timm
_FLOAT = {"dtype": "float32", "data_format": "channels_last"}


class RandAugment(layers.RandAugment):  # type: ignore[misc]
    """Keras's RandAugment with separate operations for every image.

    Rotations, shears and translations have the magnitudes of the recipe, since Keras's would rotate
    by up to `factor` x 360 degrees. Equalisation is left out: Keras computes it image by image,
    which takes minutes to trace.
    """

    _AUGMENT_LAYERS = tuple(
        name for name in layers.RandAugment._AUGMENT_LAYERS if name != "equalization"
    )

    def __init__(self, num_ops: int, factor: float) -> None:
        super().__init__(value_range=_PIXELS, num_ops=num_ops, factor=factor, **_FLOAT)
        shift, shear = _TRANSLATION * factor, _SHEAR * factor
        self.random_rotation = layers.RandomRotation(_ROTATION * factor, **_FLOAT)
        self.random_shear = layers.RandomShear(shear, shear, **_FLOAT)
        self.random_translation = layers.RandomTranslation(shift, shift, **_FLOAT)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Return the random parameters for a batch (n, h, w, c)."""
        found = super().get_random_transformation(data, training=training, seed=seed)
        shape = (self.num_ops, data.shape[0], 1, 1, 1)
        found["layer_idxes"] = keras.random.randint(
            shape, 0, len(self._AUGMENT_LAYERS), seed=self.generator
        )
        return found


class Augmentation:
    """Maps pixels and labels to augmented images and soft labels.

    Attributes
    ----------
    variables : list
        The seed variables of all layers.
    """

    def __init__(self, config: RunConfig, n_classes: int) -> None:
        self.n_classes, self.smoothing = n_classes, config.label_smoothing
        self.views = _views(config)
        mixes = []
        if config.mixup:
            mixes.append(layers.MixUp(config.mixup, **_FLOAT))
        if config.cutmix:
            mixes.append(layers.CutMix((config.cutmix, config.cutmix), **_FLOAT))
        self.mixes = mixes
        self.variables = [v for layer in (*self.views, *mixes) for v in layer.variables]

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Draw the random numbers of a batch: seeds (layers, 2), and whether to use CutMix."""
        seeds = rng.integers(0, 2**31, (len(self.variables), 2), dtype=np.int32)
        return seeds, np.array(rng.random() < 0.5)

    def __call__(self, pixels: Any, label: Any, seeds: Any, cut: Any) -> tuple[Any, Any]:
        """Return images of pixels (n, h, w, 3), from 0 to 255, and class probabilities (n, k)."""
        q_0 = ops.one_hot(label, self.n_classes, dtype="float32")
        q_0 = q_0 * (1 - self.smoothing) + self.smoothing / self.n_classes
        x = ops.cast(pixels, "float32")
        state = [(v, ops.cast(seeds[i], v.dtype)) for i, v in enumerate(self.variables)]
        with keras.StatelessScope(state):
            for layer in self.views:
                x = ops.clip(layer(x, training=True), *_PIXELS)  # not all of them do
            found = [_mixed(mix, x, q_0) for mix in self.mixes]
        if not found:
            return x, q_0
        first, last = found[0], found[-1]
        images, labels = (ops.where(cut, last[k], first[k]) for k in ("images", "labels"))
        return images, labels


def _mixed(mix: Any, x: Any, q_0: Any) -> dict[str, Any]:
    with warnings.catch_warnings():  # Keras counts images with 64 bits, which JAX has not
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64")
        found: dict[str, Any] = mix({"images": x, "labels": q_0}, training=True)
    return found


def _views(config: RunConfig) -> list[Any]:
    """Return the layers that transform single images."""
    found = [layers.RandomFlip("horizontal", **_FLOAT)]
    jitter = config.color_jitter
    if config.auto_augment:
        found.append(RandAugment(*policy(config.auto_augment)))
    elif jitter:
        saturation = (_share(1 - jitter), _share(1 + jitter))
        jitters = {"brightness_factor": jitter, "contrast_factor": jitter}
        found.append(
            layers.RandomColorJitter(
                value_range=_PIXELS, saturation_factor=saturation, **jitters, **_FLOAT
            )
        )
    return found


def policy(text: str) -> tuple[int, float]:
    """Return number and magnitude of the operations of a policy in timm's notation.

    Raises
    ------
    ValueError
        If it is not a RandAugment policy with a magnitude from 0 to 10.

    Examples
    --------
    >>> policy("rand-m7-mstd0.5-inc1")
    (2, 0.7)
    """
    match = _POLICY.fullmatch(text)
    magnitude = float((match and match["m"]) or 10)
    if match is None or not 0 < magnitude <= 10:
        raise ValueError(
            f"--auto-augment is {text!r}; with --backend keras, expected RandAugment in "
            "timm's notation, such as rand-m7-n2, with a magnitude of at most 10."
        )
    return int(match["n"] or 2), magnitude / 10


def _share(gain: float) -> float:
    """Return Keras's saturation factor of a gain: 0.5 for no change, 1 for an infinite one."""
    return gain / (1 + gain)
