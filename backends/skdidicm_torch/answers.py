"""The answers of several perceptrons at fixed noise levels, in one pass.

A sampler asks for the scores of a label at one of few noise levels. What the networks make of these
conditions is computed once, and a step looks it up. `b` below is the axis of the networks, n that
of the rows, m that of their labels, and l that of the levels.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from skdidicm.core import log_score
from skdidicm_torch.dense import Perceptron
from skdidicm_torch.fused import EPSILON
from skdidicm_torch.stacked import StackedPerceptron, can_stack, standardisation, trained_weights

if TYPE_CHECKING:
    from skdidicm_torch.backend import TorchNetwork

_MOST_CONDITIONS = 1024  # more of them take longer than the few that some rows need


class StackedAnswers:
    """`JointAnswers` of networks for tables, with their current weights.

    Parameters
    ----------
    networks : sequence of TorchNetwork
        Networks for which `can_answer` is true.
    levels : sequence of float
        The noise levels.
    """

    def __init__(self, networks: Sequence["TorchNetwork"], levels: Sequence[float]) -> None:
        self._first, self._n_networks = networks[0], len(networks)
        self._seen, self._given_levels = [p.clone() for p in _constants(networks)], list(levels)
        self._levels = torch.tensor(levels, dtype=self._first.dtype, device=self._first.device)
        module = cast("Perceptron", self._first.module)
        names = {id(value): name for name, value in module.named_parameters()}
        # Asking every module for its parameters by name would take longer than a prediction.
        each = zip(*(chain(*trained_weights(network)) for network in networks), strict=True)
        with torch.no_grad():  # weights of inference mode could not be exported
            weights = {names[id(same[0])]: torch.stack(same) for same in each}
            self._mean, self._inverse_scale = standardisation(networks)
            self._module = FixedLevels(module, weights, self._levels)

    def holds_for(self, networks: Sequence["TorchNetwork"], levels: Sequence[float]) -> bool:
        """Return whether networks like these, with their present weights, answer the same.

        The values are compared, since torch does not count all changes of a tensor.
        """
        now = _constants(networks)
        return (
            list(levels) == self._given_levels
            and len(now) == len(self._seen)
            and all(map(torch.equal, now, self._seen))
        )

    def start(self, values: NDArray[np.floating], /) -> Tensor:
        """Return host values as a tensor with the device and dtype of the networks.

        The columns of a matrix, the classes, lie one after another: sums over few are faster so.
        """
        return self._first.start(np.ascontiguousarray(values.T)).T

    def encode(self, x: NDArray[np.floating], /) -> tuple[Tensor, ...]:
        """Return the features of host rows (n, d) for all networks."""
        with torch.inference_mode():
            return self.encode_tensor(torch.tensor(x, device=self._first.device))

    def encode_tensor(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the features of rows (n, d) that are a tensor."""
        rows = rows.to(self._first.dtype)
        return self._module.encode((rows - self._mean) * self._inverse_scale)

    def log_score(self, features: tuple[Tensor, ...], label: Tensor, level: int, /) -> Tensor:
        """Return log scores (b n, k) for labels (b n,), or (b n, m, k) for (b n, m)."""
        with torch.inference_mode():
            output = self.outputs(features, label, level)
        return self._scores(output, label, self._levels[level].expand(label.shape))

    def outputs(self, features: tuple[Tensor, ...], label: Tensor, level: int) -> Tensor:
        """Return what `log_score` makes log scores of."""
        m = label.shape[1] if label.ndim > 1 else 1
        own = label.view(self._n_networks, -1, m)
        return self._module.of_labels(features, own, level).view(*label.shape, -1)

    def log_scores(self, features: tuple[Tensor, ...], /) -> Tensor:
        """Return the log scores (b n, l, k, k) for all labels at all levels."""
        k = self._first.config.n_classes
        with torch.inference_mode():
            output = self._module.of_all(features).unflatten(1, (-1, k))
        label = torch.arange(k, device=output.device).expand(output.shape[:-1])
        return self._scores(output, label, self._levels[:, None].expand(label.shape))

    def _scores(self, output: Tensor, label: Tensor, sigma: Tensor) -> Tensor:
        config = self._first.config
        with torch.no_grad():  # the process may cache tensors that training uses later
            scores: Tensor = log_score(
                output,
                label,
                sigma,
                process=config.process,
                parameterization=config.parameterization,
            )
        return scores


class FixedLevels(StackedPerceptron):
    """Stacked networks with every condition at some levels, in the last block or the head.

    Parameters
    ----------
    module, weights
        As for `StackedPerceptron`.
    levels : Tensor (l,)
        The noise levels.
    """

    def __init__(self, module: Perceptron, weights: dict[str, Tensor], levels: Tensor) -> None:
        super().__init__(module, weights)
        embedding, norm, self._fc = self._last
        self._gain, self._bias = (weights[f"{norm}.{kind}"][:, None] for kind in ("weight", "bias"))
        table = self._table(levels.expand(len(self._gain), -1))
        self._shift = _centred(self._linear(embedding, table))  # (b, l k, width)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return what a condition is added to, (b, n, width), and the skip's outputs (b, k, n)."""
        h, skip = super().encode(x)
        return _centred(h), self._linear(self._fc, skip).mT.contiguous()

    def of_labels(self, features: tuple[Tensor, ...], label: Tensor, level: int) -> Tensor:
        """Return outputs (b n, m, k) for labels (b, n, m) at one of the levels."""
        b, n_conditions, width = self._shift.shape
        first = n_conditions * torch.arange(b, device=label.device) + self._n_classes * level
        place = label + first[:, None, None]
        shift = self._shift.view(-1, width).index_select(0, place.view(-1))
        return self._outputs(features, shift.view(*place.shape, width))

    def of_all(self, features: tuple[Tensor, ...]) -> Tensor:
        """Return outputs (b n, l k, k) for all labels at all levels."""
        shift = self._shift[:, None].expand(-1, features[0].shape[1], -1, -1)
        return self._outputs(features, shift.clone())

    def _outputs(self, features: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return outputs (b n, m, k) for centred conditions (b, n, m, width), which are changed.

        Their classes lie one after another; see `StackedAnswers.start`.
        """
        (h, skip), (b, n, m, width) = features, x.shape
        x += h[:, :, None]
        x = x.flatten(1, 2)
        variance = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(width)
        x *= variance.add_(EPSILON).rsqrt_()
        torch.addcmul(self._bias, x, self._gain, out=x)
        functional.silu(x, inplace=True)
        output = self._weights[f"{self._fc}.weight"] @ x.mT  # (b, k, n m)
        output.view(b, -1, n, m).add_(skip[..., None])
        return output.transpose(0, 1).reshape(-1, b * n, m).movedim(0, -1)


def can_answer(networks: Sequence["TorchNetwork"], n_levels: int) -> bool:
    """Return whether it pays to have networks answer together."""
    first = networks[0]
    return (
        can_stack(networks)
        and cast("Perceptron", first.module).conditioning in ("last", "head")
        and n_levels * first.config.n_classes <= _MOST_CONDITIONS
    )


def _constants(networks: Sequence["TorchNetwork"]) -> list[Tensor]:
    """Return the weights and moments of all networks."""
    found = [p.detach() for n in networks for group in trained_weights(n) for p in group]
    return found + [part for n in networks for part in (n.mean, n.inverse_scale)]


def _centred(x: Tensor) -> Tensor:
    """Return vectors (..., width) less their means: the mean of a sum is the sum of the means."""
    return x - x.mean(dim=-1, keepdim=True)
