"""Pretrained networks: pictures to features, with the network's own size and standardisation."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from skdidicm.backend import Preparation, TrunkConfig, on_this_machine
from skdidicm.errors import reason
from skdidicm.networks import TIMM, image_size, n_channels
from skdidicm_torch.dense import pooled
from skdidicm_torch.device import resolve_device, resolve_precision
from skdidicm_torch.networks import refuse_keras

_STAGES = 3  # of a network of timm, whose means are features beside the last ones
_CHANNELS = 3  # that pretrained networks take; grey pictures are repeated
_WRAPPERS = ("state_dict", "model", "state_dict_ema")  # keys under which files keep weights
_PREFIX = "module."  # of names that DistributedDataParallel wrote


class TrunkModule(nn.Module):
    """A network with its preparation: maps values from 0 to 1, (n, c, h, w), to features (n, f).

    It is always in evaluation mode: statistics of few pictures would be worse than those that it
    was trained with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.network = network
        self.size, self.interpolation = preparation.size, preparation.interpolation
        self.eval()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preparation, name)).reshape(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Keep the evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (n, f) of pictures, and means of the last stages where there are any.

        Each of these vectors has length one. Pictures unlike those that the network was trained
        on differ more in earlier stages, which cost nothing more.
        """
        x = self.prepared(x)
        found: Any = self.network
        stages = getattr(found, "feature_info", None)
        if not (
            stages and hasattr(found, "forward_intermediates") and hasattr(found, "forward_head")
        ):
            return functional.normalize(pooled(found(x)), dim=1)
        last, maps = found.forward_intermediates(x, indices=min(_STAGES, len(stages)))
        parts = [pooled(found.forward_head(last)), *map(pooled, maps)]
        return torch.cat([functional.normalize(part, dim=1) for part in parts], dim=1)

    def prepared(self, x: Tensor) -> Tensor:
        """Return pictures in the size and standardisation of the network."""
        if x.shape[-2:] != self.size:
            smooth = self.interpolation != "nearest"
            x = functional.interpolate(x, size=self.size, mode=self.interpolation, antialias=smooth)
        return (x.expand(-1, _CHANNELS, -1, -1) - self.mean) / self.std


class TorchTrunk:
    """A `Trunk` on torch.

    Parameters
    ----------
    config : TrunkConfig
        What to build. `config.network` is "timm/NAME", or a torch module that maps pictures
        (n, 3, h, w) to features (n, d) or (n, d, h', w').
    """

    def __init__(self, config: TrunkConfig) -> None:
        self.device = resolve_device(config.device)
        self.precision = resolve_precision(config.precision, self.device, table=False)
        module, self.config = create_trunk(config)
        self.module = module.to(self.device).to(memory_format=torch.channels_last)
        self.module.requires_grad_(False).eval()

    def features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features (n, f) of pictures (n, *input_shape)."""
        bfloat16 = self.precision == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16),
        ):
            found = self.features_of(torch.tensor(x, device=self.device)).float()
        features: NDArray[np.floating] = found.cpu().numpy()
        return features

    def features_of(self, x: Tensor) -> Tensor:
        """Return the features (n, f) of pictures that are a tensor (n, *input_shape)."""
        rows = x.float() / self.config.white
        rows = rows[..., None] if rows.ndim == 3 else rows
        features: Tensor = self.module(rows.permute(0, 3, 1, 2))
        return features

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of weights and buffers by name."""
        return {k: v.cpu().numpy().copy() for k, v in self.module.state_dict().items()}

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Set weights and buffers; names and shapes must match."""
        self.module.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})

    def __getstate__(self) -> dict[str, Any]:
        return {"config": replace(self.config, weights=False), "state": self.state()}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self.__init__(on_this_machine(pickled["config"], resolve_device))  # type: ignore[misc]
        self.load_state(pickled["state"])


def create_trunk(config: TrunkConfig) -> tuple[TrunkModule, TrunkConfig]:
    """Return the module with its weights, and the configuration with its preparation.

    Raises
    ------
    ValueError
        If the network is unknown, the pictures do not suit it, or the weights do not fit it.
    OSError
        If its weights cannot be had.
    """
    channels = n_channels(config.input_shape)
    if channels not in (1, _CHANNELS):
        raise ValueError(
            f"X has pictures of {channels} channels, but a pretrained network takes grey or RGB; "
            "leave the others out, for instance X[..., :3] of RGBA."
        )
    network, preparation = _network(config)
    if isinstance(config.weights, str):
        load_weights(network, config.weights)
    return TrunkModule(network, preparation), replace(config, preparation=preparation)


def _network(config: TrunkConfig) -> tuple[nn.Module, Preparation]:
    """Return the bare network, and how it takes pictures."""
    refuse_keras(config.network)
    if isinstance(config.network, nn.Module):
        network = copy.deepcopy(config.network)
        return network, config.preparation or _preparation_of_module(network, config)
    name = config.network
    if not (isinstance(name, str) and name.startswith(TIMM)):
        raise ValueError(
            f"pretrained is {config.weights!r}, but there are no weights for network={name!r}; "
            "expected 'timm/NAME', a torch module that has its weights, or backend='keras' with "
            "'keras/NAME'."
        )
    try:
        from skdidicm_torch.imagenet.timm_parts import create_timm, preparation_of
    except ImportError as error:
        raise ImportError(
            f"network {name!r} needs timm, which is not installed; install it with: "
            'pip install "skdidicm[imagenet]"'
        ) from error
    network = create_timm(name.removeprefix(TIMM), 0, _CHANNELS, pretrained=config.weights is True)
    return network, config.preparation or preparation_of(network)


def _preparation_of_module(network: nn.Module, config: TrunkConfig) -> Preparation:
    """Return how a module takes pictures: as timm says if it is from there, else as they are."""
    if hasattr(network, "pretrained_cfg"):
        from skdidicm_torch.imagenet.timm_parts import preparation_of

        return preparation_of(network)
    size = image_size(config.input_shape) or (1, 1)
    return Preparation(size, mean=(0.0,) * _CHANNELS, std=(1.0,) * _CHANNELS)


def load_weights(network: nn.Module, path: str) -> None:
    """Set the weights of a network to those of a file; what only a classifier has is left out.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file; if it holds no weights, or those of another network.
    """
    found = read_weights(Path(path))
    own = network.state_dict()
    missing = [name for name in own if name not in found]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(own)} weights of the network, such as "
            f"{missing[0]!r}, and has names such as {next(iter(found), None)!r}; expected the "
            "state_dict of the same network."
        )
    other = [name for name, value in own.items() if value.shape != found[name].shape]
    if other:
        raise ValueError(
            f"{path} has {other[0]!r} of shape {tuple(found[other[0]].shape)}, but the network "
            f"takes {tuple(own[other[0]].shape)}; expected the state_dict of the same network."
        )
    network.load_state_dict({name: found[name] for name in own})


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; no code in it is run."""
    if not path.is_file():
        raise FileNotFoundError(
            f"pretrained is {str(path)!r}, which is not a file; expected True, False, or the path "
            "of weights (.safetensors or .pth)."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of damaged files raise whatever they meet
        raise ValueError(
            f"{path} cannot be read as weights ({reason(error)}); expected a safetensors file, or "
            "a state_dict that torch.save wrote."
        ) from error
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError(f"{path} holds no state_dict; expected tensors by their names.")
    return {str(name).removeprefix(_PREFIX): value for name, value in content.items()}
