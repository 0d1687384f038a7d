"""Several perceptrons trained as one: stacked weights, batched products, one optimiser step.

A small network spends most of its time on the calls of small operations. Stacked, B networks need
no more calls than one. `b` below is the axis of the networks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.adamw import adamw

from skdidicm.backend import Batch, stack_batches
from skdidicm.core import denoising_loss_and_gradient
from skdidicm_torch.conditioning import sinusoids
from skdidicm_torch.dense import Perceptron
from skdidicm_torch.fused import Buffers, FusedOutput, gathered, plain_output

if TYPE_CHECKING:
    from skdidicm_torch.backend import TorchNetwork


class StackedTraining:
    """A `JointTraining` of networks for tables, with AdamW.

    It trains copies of the weights; a network has them once they are handed over.

    Parameters
    ----------
    networks : sequence of TorchNetwork
        Perceptrons of one architecture, precision and device, which differ in weights and moments.
    """

    def __init__(self, networks: Sequence["TorchNetwork"]) -> None:
        self.networks = list(networks)
        first = self.networks[0]
        self.config, self.device, self.dtype = first.config, first.device, first.dtype
        decaying, vectors = zip(*(trained_weights(n) for n in self.networks), strict=True)
        # What AdamW does to all weights of a network takes one call where they lie in one vector.
        self._flat = [torch.stack([_joined(p) for p in g]).detach() for g in (decaying, vectors)]
        self._moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in self._flat]
        # Where AdamW is fused, it counts its steps on the device.
        self._steps = [
            [torch.zeros((), device=self.device) for _ in self.networks] for _ in self._flat
        ]
        self._average = [weights.clone() for weights in self._flat]
        names = {id(p): name for name, p in first.module.named_parameters()}
        self._leaves: list[dict[str, Tensor]] = [
            {names[id(p)]: leaf for p, leaf in zip(group, _views(flat, group), strict=True)}
            for flat, group in zip(self._flat, (decaying[0], vectors[0]), strict=True)
        ]
        self._mean, self._inverse_scale = standardisation(self.networks)
        self._module = StackedPerceptron(
            cast("Perceptron", first.module), self._leaves[0] | self._leaves[1]
        )

    def train_step(
        self, batches: Sequence[Batch | None], learning_rates: Sequence[float], /
    ) -> Tensor:
        """Update the networks once, except those without a batch; return all losses (b,)."""
        losses, output, slope = self._forward(stack_batches(batches))
        leaves = [leaf for group in self._leaves for leaf in group.values()]
        found = list(torch.autograd.grad(output, leaves, slope))
        n_decaying = len(self._leaves[0])
        gradients = [
            torch.cat([g.flatten(1) for g in part], dim=1)
            for part in (found[:n_decaying], found[n_decaying:])
        ]
        if self.config.max_grad_norm:
            norms = torch.linalg.vector_norm(
                torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients]), dim=0
            )
            scale = (self.config.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)[:, None]
            for gradient in gradients:
                gradient *= scale
        self._update(gradients, batches, learning_rates)
        return losses

    def average(self, share: float, /) -> None:
        """Move the average of the weights by a share towards the weights."""
        for mean, weights in zip(self._average, self._flat, strict=True):
            mean.add_(weights - mean, alpha=share)

    def hand_over(self, member: int, /) -> None:
        """Give a network the averages of its weights, and what its optimiser has gathered."""
        network = self.networks[member]
        kinds = zip(
            trained_weights(network), self._average, self._moments, self._steps, strict=True
        )
        with torch.no_grad():
            for group, mean, moments, steps in kinds:
                parts = [_split(m[member], group) for m in (mean, *moments)]
                for p, weight, first, second in zip(group, *parts, strict=True):
                    p.copy_(weight)
                    network.optimizer.state[p] = {
                        "step": steps[member].clone(),
                        "exp_avg": first.clone(),
                        "exp_avg_sq": second.clone(),
                    }

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses (b,), the outputs (b, n, m, k), and the gradient at the outputs."""
        config = self.config
        rows = torch.tensor(batch.x, device=self.device).to(self.dtype)
        label = torch.tensor(batch.label, dtype=torch.int64, device=self.device)
        target, sigma, weight = map(self._tensor, (batch.target, batch.sigma, batch.weight))
        features = self._module.encode((rows - self._mean) * self._inverse_scale)
        output = self._module.decode(features, label, sigma)
        with torch.no_grad():
            loss, gradient = denoising_loss_and_gradient(
                output,
                label.expand(weight.shape),
                sigma,
                target[:, :, None, :].expand(output.shape),
                process=config.process,
                parameterization=config.parameterization,
                objective=config.objective,
                channel=config.channel,
            )
            gradient *= weight[..., None]
        return (weight * loss).sum(dim=(1, 2)), output, gradient

    def _tensor(self, values: NDArray[np.floating]) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def _update(
        self,
        gradients: list[Tensor],
        batches: Sequence[Batch | None],
        learning_rates: Sequence[float],
    ) -> None:
        """Take a step of AdamW; networks of one learning rate take it together."""
        busy = [i for i, batch in enumerate(batches) if batch is not None]
        for rate in {learning_rates[i] for i in busy}:
            members = [i for i in busy if learning_rates[i] == rate]
            for weights, gradient, moments, steps, decay in zip(
                self._flat,
                gradients,
                self._moments,
                self._steps,
                (self.config.weight_decay, 0.0),
                strict=True,
            ):
                adamw(
                    [weights[i] for i in members],
                    [gradient[i] for i in members],
                    [moments[0][i] for i in members],
                    [moments[1][i] for i in members],
                    max_exp_avg_sqs=[],
                    state_steps=[steps[i] for i in members],
                    fused=self.device.type in {"cuda", "cpu"},
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=rate,
                    weight_decay=decay,
                    eps=1e-8,
                    maximize=False,
                )


class StackedPerceptron:
    """The two halves of `skdidicm_torch.dense.Perceptron` for stacked weights (b, ...).

    Parameters
    ----------
    module : Perceptron
        The architecture.
    weights : mapping
        Stacked weights by the names of the module's.
    """

    def __init__(self, module: Perceptron, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._conditioning, self._first = module.conditioning, module.first
        block = f"layers.{self._first}"
        # The layers behind a condition that enters in the last block or the head.
        self._last = (
            ("head.emb_layers.1", "head.norm", "head.fc")
            if self._conditioning == "head"
            else (f"{block}.emb_layers.1", f"{block}.out_layers.0", "fc")
        )
        self._buffers = Buffers()
        self._depth, self._n_classes = len(module.layers), module.n_classes

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all that depends on neither label nor noise, for rows (b, n, d)."""
        x = self._linear("stem", x)
        for i in range(self._first):
            x = self._layers(i, x) + x
        h, skip = self._layers(self._first, x), x
        if self._conditioning == "none":
            return (self._linear("fc", h + skip),)
        if self._conditioning == "head":
            pooled = h + skip
            return self._linear("head.project", pooled), pooled
        return h, skip

    def decode(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (b, n, m, k) for labels and noise (b, n, m) or (b, 1, m)."""
        if self._conditioning == "none":
            return features[0][:, :, None, :].expand(-1, -1, label.shape[2], -1)
        h, skip = features
        e, place = self._conditions(label, sigma)
        if self._conditioning in ("last", "head"):
            embedding, norm, linear = self._last
            return self._output(h, skip, self._linear(embedding, e), place, norm, linear)
        h, x = h[:, :, None], skip[:, :, None]
        for i in range(self._depth):
            if i:
                h = self._layers(i, x)
            shift = self._linear(f"layers.{i}.emb_layers.1", e)
            h = h + (shift if place is None else gathered(shift, place))
            x = functional.silu(self._norm(f"layers.{i}.out_layers.0", h)) + x
        return self._linear("fc", x)

    def _output(
        self, h: Tensor, skip: Tensor, shift: Tensor, place: Tensor | None, norm: str, linear: str
    ) -> Tensor:
        """Return outputs (b, n, m, k); the skip takes no more than one product for each row."""
        names = f"{norm}.weight", f"{norm}.bias", f"{linear}.weight"
        layers = [self._weights[name] for name in names]
        if h.device.type == "cpu":
            output: Tensor = FusedOutput.apply(h, shift, place, *layers, self._buffers)
        else:
            output = plain_output(h, shift, place, *layers)
        return output + self._linear(linear, skip)[:, :, None]

    def _conditions(self, label: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return conditions (b, c, 128), and which a draw has, (b, n, m); see `plain_output`.

        Where rows share their noise, each distinct condition is computed once.
        """
        b, n, m = label.shape
        k, draws = self._n_classes, torch.arange(m, device=label.device)
        if sigma.shape[1] == 1 and n > 1:
            return self._table(sigma[:, 0]), label + k * draws
        embedded = self._weights["label_embedder.weight"]  # (b, k, 128)
        e = functional.silu(self._noise(sigma) + gathered(embedded, label)).flatten(1, 2)
        if n == 1:
            return e, None
        place = draws + m * torch.arange(n, device=label.device)[:, None]
        return e, place.expand(b, n, m)

    def _table(self, sigma: Tensor) -> Tensor:
        """Return the conditions (b, l k, 128) of all labels at levels (b, l)."""
        embedded = self._weights["label_embedder.weight"]  # (b, k, 128)
        return functional.silu(self._noise(sigma)[:, :, None] + embedded[:, None]).flatten(1, 2)

    def _noise(self, sigma: Tensor) -> Tensor:
        """Return the embedding (b, ..., 128) of noise (b, ...)."""
        hidden = self._linear("ff_emb.mlp.0", sinusoids(sigma))
        return self._linear("ff_emb.mlp.2", functional.silu(hidden))

    def _layers(self, block: int, x: Tensor) -> Tensor:
        name = f"layers.{block}.layers"
        hidden = self._linear(f"{name}.1", self._norm(f"{name}.0", x))
        return self._linear(f"{name}.3", functional.silu(hidden))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        """Return (b, ..., n_out) for (b, ..., n_in)."""
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        y = torch.baddbmm(bias[:, None], x.flatten(1, -2), weight.mT)
        return y.view(*x.shape[:-1], weight.shape[1])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """Return the layer norm of (b, ..., width)."""
        weight, bias = (
            self._weights[f"{name}.{kind}"].unflatten(0, (-1, *[1] * (x.ndim - 2)))
            for kind in ("weight", "bias")
        )
        return torch.addcmul(bias, functional.layer_norm(x, x.shape[-1:]), weight)


def can_stack(networks: Sequence["TorchNetwork"]) -> bool:
    """Return whether networks are perceptrons of one kind, without dropout and compilation."""
    first = networks[0]
    return all(
        isinstance(network.module, Perceptron)
        and not (network.config.dropout or network.config.compile)
        and network.precision != "bfloat16"
        and (network.device, network.dtype) == (first.device, first.dtype)
        for network in networks
    )


def standardisation(networks: Sequence["TorchNetwork"]) -> tuple[Tensor, Tensor]:
    """Return the means and inverse scales (b, 1, d) of several networks."""
    mean, inverse_scale = (
        torch.stack([part.expand(networks[0].config.input_shape) for part in parts])[:, None]
        for parts in zip(*((n.mean, n.inverse_scale) for n in networks), strict=True)
    )
    return mean, inverse_scale


def trained_weights(network: "TorchNetwork") -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights that decay and those that do not, as the optimiser has them."""
    decaying, vectors = network.optimizer.param_groups
    return decaying["params"], vectors["params"]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    sizes = [part.numel() for part in like]
    return [p.view(t.shape) for p, t in zip(flat.split(sizes), like, strict=True)]


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return leaves (b, ...) that share the memory of flat weights (b, p)."""
    parts = flat.split([math.prod(part.shape) for part in like], dim=1)
    return [
        part.unflatten(1, t.shape).detach().requires_grad_()
        for part, t in zip(parts, like, strict=True)
    ]
