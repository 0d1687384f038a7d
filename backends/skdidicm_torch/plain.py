"""The trunk of a network alone, as an ordinary classifier: what studies compare with."""

import functools
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from skdidicm.core import log_score
from skdidicm_torch.backend import TorchNetwork


class PlainNetwork(TorchNetwork):
    """The trunk that `TorchNetwork` would condition, trained by cross-entropy.

    It sees neither the noisy label nor the noise, so that every sampler returns its softmax. All
    else (initialisation, optimiser, standardised rows) is that of `TorchNetwork`.

    Parameters
    ----------
    config : NetworkConfig
        With `parameterization="posterior"`, `objective="bayes_cross_entropy"` and a network of the
        table `skdidicm_torch.NETWORKS` that is conditioned in its last block.
    """

    def encode(self, x: NDArray[Any], /) -> tuple[Tensor, ...]:
        """Return the logits (n, k) of host rows."""
        self.module.eval()
        with torch.inference_mode(), self._autocast():
            return (trunk_logits(self.module, self._prepare(x)),)

    def log_score(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor, /) -> Tensor:
        """Return the log scores that follow from the softmax of the logits."""
        (logits,) = features
        if label.ndim > 1:
            logits = logits[:, None].expand(len(logits), label.shape[1], -1)
        scores: Tensor = log_score(
            logits.to(self.dtype),
            label.expand(logits.shape[:-1]),
            sigma,
            process=self.config.process,
            parameterization="posterior",
        )
        return scores

    def _batch_loss(self, x: Tensor, target: Tensor, *noise: Tensor) -> Tensor:
        weight = noise[-1]
        with self._autocast():
            logits = self._logits(x)
        loss = functional.cross_entropy(logits.to(self.dtype), target, reduction="none")
        return weight.sum(dim=1) @ loss

    def _logits(self, x: Tensor) -> Tensor:
        return trunk_logits(self.module, x)


class DropoutNetwork(PlainNetwork):
    """The trunk alone with dropout of channels after every block, at prediction too (MC dropout).

    The softmax of `PASSES` passes is averaged; each pass has the same mask for all rows, so that
    an answer does not depend on the other rows.
    """

    PASSES = 16
    SHARE = 0.1

    def encode(self, x: NDArray[Any], /) -> tuple[Tensor, ...]:
        """Return the logarithm (n, k) of the mean softmax over passes."""
        self.module.eval()
        generator = torch.Generator(self.device).manual_seed(self.config.seed)
        with torch.inference_mode(), self._autocast():
            rows = self._prepare(x)
            drop = functools.partial(self._drop, generator=generator, shared=True)
            passes = [trunk_logits(self.module, rows, drop) for _ in range(self.PASSES)]
        log_p = torch.stack(passes).to(self.dtype).log_softmax(dim=2)
        return (log_p.logsumexp(dim=0) - math.log(self.PASSES),)

    def _logits(self, x: Tensor) -> Tensor:
        if not hasattr(self, "_masks"):
            self._masks = torch.Generator(self.device).manual_seed(self.config.seed)
        return trunk_logits(self.module, x, functools.partial(self._drop, generator=self._masks))

    def _drop(self, x: Tensor, *, generator: torch.Generator, shared: bool = False) -> Tensor:
        shape = (1 if shared else len(x), x.shape[1], *[1] * (x.ndim - 2))
        kept = torch.rand(shape, generator=generator, device=x.device) >= self.SHARE
        return x * kept / (1 - self.SHARE)


def trunk_logits(
    module: nn.Module, x: Tensor, after_block: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return logits (n, k) of a DiDiRN or perceptron without its condition."""
    network = cast("Any", module)
    x = network.stem(x)
    for block in network.blocks:
        x = block.join(*block.split(x))
        if after_block is not None:
            x = after_block(x)
    fc = network.head.fc if hasattr(network, "head") else network.fc
    logits: Tensor = fc(x.mean(dim=(2, 3)) if x.ndim == 4 else x)
    return logits


build_network = PlainNetwork
