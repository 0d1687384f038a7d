"""Build networks by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from skdidicm.networks import (
    CONDITIONINGS,
    LINEAR,
    MLP,
    NETWORKS,
    RESNETS,
    TIMM,
    PerceptronSize,
    resnet_size,
)
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.dense import BackboneNetwork, LinearNetwork, Perceptron, TimmClassifier
from skdidicm_torch.didirn import DiDiRN


def create_network(
    name: str | Callable[[Tensor], Tensor],
    n_classes: int,
    in_channels: int = 3,
    conditioning: str = "blocks",
    *,
    image_size: tuple[int, int] | None = None,
) -> ConditionedNetwork:
    """Return a randomly initialised network of (input, noisy label, total noise).

    Its `forward(x, label, sigma)` takes x (n, c, h, w), or (n, d) for "mlp", and returns raw
    outputs (n, k); `encode` and `decode` are its two halves.

    Parameters
    ----------
    name : str, or nn.Module or callable
        One of `NETWORKS`, "timm/NAME" for a network of timm, or a backbone that maps images to
        feature vectors (n, d) or maps (n, d, h, w), which gets a conditional head.
    n_classes : int
        Number of classes K.
    in_channels : int, default=3
        Image channels; the number of columns for "mlp".
    conditioning : {"blocks", "last", "head", "none"}
        Where label and noise enter: in every block (the paper), after the convolutions of the last
        block, or in a small head on the pooled features, the only choice for a backbone. "none" is
        an ordinary classifier, which takes neither.
    image_size : (height, width), optional
        Size of the images. Under 16 px "didirn-tiny" has no pool in its stem. A backbone is probed
        with an image of this size, by default 224 x 224.

    Raises
    ------
    ValueError
        If a name is unknown, or the conditioning does not fit the backbone.

    Examples
    --------
    >>> import torch
    >>> network = create_network("didirn-tiny", n_classes=10, in_channels=1, conditioning="last")
    >>> network(torch.zeros(2, 1, 28, 28), torch.tensor([3, 7]), torch.ones(2)).shape
    torch.Size([2, 10])
    """
    if conditioning not in CONDITIONINGS:
        raise ValueError(f"conditioning is {conditioning!r}; expected one of {CONDITIONINGS}.")
    if not isinstance(name, str):
        return _on_backbone(name, n_classes, in_channels, conditioning, image_size)
    if name.startswith(TIMM):
        return _from_timm(name.removeprefix(TIMM), n_classes, in_channels, conditioning, image_size)
    if name == MLP:
        return Perceptron(n_classes, in_channels, PerceptronSize(), conditioning=conditioning)
    if name == LINEAR:
        return LinearNetwork(n_classes, in_channels, conditional=conditioning != "none")
    if name not in RESNETS:
        raise ValueError(
            f"network is {name!r}; expected one of {NETWORKS}, timm/NAME, or a torch module that "
            "maps images to features."
        )
    size = resnet_size(name, image_size)
    return DiDiRN(n_classes, in_channels, size, conditioning=conditioning)


def _from_timm(
    name: str,
    n_classes: int,
    in_channels: int,
    conditioning: str,
    image_size: tuple[int, int] | None,
) -> ConditionedNetwork:
    """Return the classifier of timm for "none", else a conditional head on its features."""
    try:
        from skdidicm_torch.imagenet.timm_parts import create_timm
    except ImportError as error:
        raise ImportError(
            f"network {TIMM + name!r} needs timm, which is not installed; install it with: "
            'pip install "skdidicm[imagenet]"'
        ) from error
    if conditioning == "none":
        return TimmClassifier(create_timm(name, n_classes, in_channels), n_classes)
    backbone = create_timm(name, 0, in_channels)
    return _on_backbone(backbone, n_classes, in_channels, conditioning, image_size)


def _on_backbone(
    backbone: object,
    n_classes: int,
    in_channels: int,
    conditioning: str,
    image_size: tuple[int, int] | None,
) -> BackboneNetwork:
    refuse_keras(backbone)
    if not callable(backbone):
        raise ValueError(
            f"network is a {type(backbone).__name__}; expected one of {NETWORKS}, or a torch "
            "module that maps images to features."
        )
    if conditioning != "head":
        raise ValueError(
            f"conditioning is {conditioning!r}, but a custom backbone can only be conditioned in "
            "its head; set conditioning='head'."
        )
    example = torch.zeros(1, in_channels, *(image_size or (224, 224)))
    return BackboneNetwork(backbone, n_classes, example)


def refuse_keras(network: object) -> None:
    """Raise ValueError for a Keras model, which on some engines looks like a module of torch."""
    if any(kind.__module__.startswith("keras.") for kind in type(network).__mro__):
        raise ValueError(
            f"network is a Keras model ({type(network).__name__}), but the backend is torch; set "
            "backend='keras'."
        )
