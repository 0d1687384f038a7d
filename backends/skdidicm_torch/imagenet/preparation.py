"""From pixels to the network's input: device, standardisation, memory layout and precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from skdidicm.imagenet.config import MEAN, PRECISIONS, STD, RunConfig


def resolve_precision(config: RunConfig, device: torch.device) -> str:
    """Return the precision to compute in: by default bfloat16 on GPUs that support it.

    Raises
    ------
    ValueError
        If the device does not support it.
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = config.precision or ("bfloat16" if fast else "float32")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision is {precision!r}; expected {', '.join(PRECISIONS)}.")
    if precision == "float16" and device.type == "cpu":
        raise ValueError("--precision float16 needs a GPU; on a CPU use float32 or bfloat16.")
    return precision


class Preparation:
    """Standardises uint8 pixels (n, 3, h, w) on a device, and holds the precision."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.precision = resolve_precision(config, device)
        self.device = device
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self._mean = torch.tensor(MEAN, device=device)[:, None, None] * 255
        self._scale = 1 / (torch.tensor(STD, device=device)[:, None, None] * 255)

    def __call__(self, pixels: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return standardised images in float32; `change` maps pixels from 0 to 255 before."""
        x = pixels.to(self.device, non_blocking=True, memory_format=self.layout).float()
        if change is not None:
            x = change(x)
        return (x - self._mean) * self._scale

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast context of the precision."""
        dtype = torch.float16 if self.precision == "float16" else torch.bfloat16
        return torch.autocast(
            self.device.type, dtype=dtype, enabled=self.precision in ("bfloat16", "float16")
        )
