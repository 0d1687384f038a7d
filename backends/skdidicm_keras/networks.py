"""Build networks by name."""

from collections.abc import Callable
from typing import Any

from keras import ops

from skdidicm.networks import (
    CONDITIONINGS,
    KERAS,
    LINEAR,
    MLP,
    NETWORKS,
    RESNETS,
    TIMM,
    PerceptronSize,
    resnet_size,
)
from skdidicm_keras.conditioning import ConditionedNetwork
from skdidicm_keras.dense import BackboneNetwork, LinearNetwork, Perceptron
from skdidicm_keras.didirn import DiDiRN


def create_network(
    name: str | Callable[[Any], Any],
    n_classes: int,
    in_channels: int = 3,
    conditioning: str = "blocks",
    *,
    image_size: tuple[int, int] | None = None,
    dtype: Any = "float32",
) -> ConditionedNetwork:
    """Return a network of (input, noisy label, total noise), a Keras layer full of zeros.

    Called as `network(x, label, sigma)` it takes x (n, h, w, c), or (n, d) for "mlp", and returns
    raw outputs (n, k); `encode` and `decode` are its two halves. `weights.initial_state` draws
    weights for it.

    Parameters
    ----------
    name : str, or keras.Layer or callable
        One of `NETWORKS`, or a backbone that maps images to feature vectors (n, d) or maps
        (n, h, w, d), which gets a conditional head.
    n_classes : int
        Number of classes K.
    in_channels : int, default=3
        Image channels; the number of columns for "mlp".
    conditioning : {"blocks", "last", "head", "none"}
        Where label and noise enter: every block (the paper), after the convolutions of the last
        block, or a small head on the pooled features. A backbone can have "head" only. A DiDiRN
        or perceptron with "none" is an ordinary classifier that sees neither: the baseline.
    image_size : (height, width), optional
        Size of the images. Under 16 px "didirn-tiny" has no pool in its stem. A backbone is probed
        with an image of this size, by default 224 x 224.
    dtype : str, default="float32"
        Number format, or a Keras dtype policy such as "mixed_bfloat16".

    Raises
    ------
    ValueError
        If a name is unknown, or the conditioning does not fit the backbone.

    Examples
    --------
    >>> from keras import ops
    >>> network = create_network("didirn-tiny", n_classes=10, in_channels=1, conditioning="last")
    >>> output = network(ops.zeros((2, 28, 28, 1)), ops.array([3, 7]), ops.ones(2))
    >>> tuple(output.shape)
    (2, 10)
    """
    if conditioning not in CONDITIONINGS:
        raise ValueError(f"conditioning is {conditioning!r}; expected one of {CONDITIONINGS}.")
    if not isinstance(name, str):
        return _on_backbone(name, n_classes, in_channels, conditioning, image_size, dtype)
    if name.startswith(TIMM):
        raise ValueError(
            f"network is {name!r}, but the networks of timm are torch modules; set "
            "backend='torch', or give a Keras model, such as one of keras.applications with "
            "include_top=False."
        )
    if name.startswith(KERAS):
        raise ValueError(
            f"network is {name!r} without its weights; set pretrained=True, or the path of a file "
            "of weights, or give a Keras model of your own."
        )
    if name == LINEAR:
        return LinearNetwork(
            n_classes, in_channels, conditional=conditioning != "none", dtype=dtype
        )
    settings = {"conditioning": conditioning, "dtype": dtype}
    if name == MLP:
        return Perceptron(n_classes, in_channels, PerceptronSize(), **settings)
    if name not in RESNETS:
        raise ValueError(
            f"network is {name!r}; expected one of {NETWORKS}, or a Keras model that maps images "
            "to features."
        )
    return DiDiRN(n_classes, in_channels, resnet_size(name, image_size), **settings)


def _on_backbone(
    backbone: object,
    n_classes: int,
    in_channels: int,
    conditioning: str,
    image_size: tuple[int, int] | None,
    dtype: Any,
) -> BackboneNetwork:
    if not callable(backbone):
        raise ValueError(
            f"network is a {type(backbone).__name__}; expected one of {NETWORKS}, or a Keras "
            "model that maps images to features."
        )
    if conditioning != "head":
        raise ValueError(
            f"conditioning is {conditioning!r}, but a custom backbone can only be conditioned in "
            "its head; set conditioning='head'."
        )
    example = ops.zeros((1, *(image_size or (224, 224)), in_channels))
    return BackboneNetwork(backbone, n_classes, example, dtype)
