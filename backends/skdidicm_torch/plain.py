"""The trunk of a network alone, as an ordinary classifier: what studies compare with."""

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
        With `parameterization="posterior"`, `objective="cross_entropy"` and a network of the
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
            logits = trunk_logits(self.module, x)
        loss = functional.cross_entropy(logits.to(self.dtype), target, reduction="none")
        return weight.sum(dim=1) @ loss


def trunk_logits(module: nn.Module, x: Tensor) -> Tensor:
    """Return logits (n, k) of a DiDiRN or perceptron without its condition."""
    network = cast("Any", module)
    x = network.stem(x)
    for block in network.blocks:
        x = block.join(*block.split(x))
    fc = network.head.fc if hasattr(network, "head") else network.fc
    logits: Tensor = fc(x.mean(dim=(2, 3)) if x.ndim == 4 else x)
    return logits


build_network = PlainNetwork
