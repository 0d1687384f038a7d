"""The last layers of stacked networks for every draw, with a gradient that allocates nothing large.

Between the block that is cut in two and the logits lie arrays (n, m, width) for n rows and m
draws, by far the largest of a training. On a CPU most of their time goes into memory. Here all
passes over them write to buffers that one update leaves to the next, one network after another,
so that what a pass needs is still in the cache.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

EPSILON = 1e-5  # of torch's LayerNorm


class Buffers:
    """Arrays that are kept from one update to the next."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an array of that shape, with anything in it."""
        found = self._kept.get(name)
        if found is None or found.shape != shape:
            found = self._kept[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return found


def plain_output(
    h: Tensor, shift: Tensor, place: Tensor | None, gain: Tensor, bias: Tensor, weight: Tensor
) -> Tensor:
    """Return W silu(gain * norm(h + shift) + bias), (b, n, m, k), by autograd's own operations.

    Parameters
    ----------
    h : Tensor (b, n, width)
        Rows.
    shift : Tensor (b, c, width)
        Conditions, each once.
    place : int Tensor (b, n, m) or None
        Which condition a draw has; None if all rows have all of them, in order.
    gain, bias : Tensor (b, width)
        Of the layer norm.
    weight : Tensor (b, k, width)
        Of the linear layer, without its bias.
    """
    of_draws = shift[:, None] if place is None else gathered(shift, place)
    x = functional.layer_norm(h[:, :, None] + of_draws, h.shape[-1:])
    z = functional.silu(torch.addcmul(bias[:, None, None], x, gain[:, None, None]))
    output: Tensor = (z.flatten(1, 2) @ weight.mT).unflatten(1, z.shape[1:3])
    return output


def gathered(shift: Tensor, place: Tensor) -> Tensor:
    """Return the entries of (b, c, width) at places (b, ...)."""
    n_distinct = shift.shape[1]
    member = torch.arange(len(shift), device=shift.device)
    member = member.view(-1, *[1] * (place.ndim - 1))
    return functional.embedding(place + n_distinct * member, shift.flatten(0, 1))


class FusedOutput(torch.autograd.Function):
    """`plain_output` for a CPU; its last argument are the buffers."""

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        shift: Tensor,
        place: Tensor | None,
        gain: Tensor,
        bias: Tensor,
        weight: Tensor,
        buffers: Buffers,
    ) -> Tensor:
        """Return outputs (b, n, m, k)."""
        b, n, width = h.shape
        m = shift.shape[1] if place is None else place.shape[2]
        # The mean of a sum is the sum of the means.
        h = h - h.mean(dim=-1, keepdim=True)
        shift = shift - shift.mean(dim=-1, keepdim=True)
        x = buffers.get("x", (b, n, m, width), h)
        z = buffers.get("z", (b, n, m, width), h)
        inverse = torch.empty((b, n, m, 1), dtype=h.dtype)
        output = torch.empty((b, n, m, weight.shape[1]), dtype=h.dtype)
        for i in range(b):
            own = x[i]
            if place is None:
                torch.add(h[i, :, None], shift[i], out=own)
            else:
                torch.index_select(shift[i], 0, place[i].flatten(), out=own.view(-1, width))
                own += h[i, :, None]
            norm = torch.linalg.vector_norm(own, dim=-1, keepdim=True)
            torch.rsqrt(norm.square_().div_(width).add_(EPSILON), out=inverse[i])
            own *= inverse[i]
            torch.addcmul(bias[i], own, gain[i], out=z[i])
            functional.silu(z[i], inplace=True)
            torch.mm(z[i].view(-1, width), weight[i].T, out=output[i].view(n * m, -1))
        ctx.save_for_backward(h, shift, place, gain, bias, weight, inverse)
        ctx.buffers = buffers
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Return the gradients of the loss, given that of the outputs."""
        h, shift, place, gain, bias, weight, inverse = ctx.saved_tensors
        b, n, m, k = gradient.shape
        width, buffers = h.shape[-1], ctx.buffers
        x, z = (buffers.get(name, (b, n, m, width), h) for name in ("x", "z"))
        p, g = (buffers.get(name, (n, m, width), h) for name in ("p", "g"))
        found = [torch.empty_like(value) for value in (h, shift, gain, bias, weight)]
        for i in range(b):
            d_h, d_shift, d_gain, d_bias, d_weight = (part[i] for part in found)
            outer = gradient[i].reshape(n * m, k)
            torch.mm(outer.T, z[i].view(-1, width), out=d_weight)
            torch.mm(outer, weight[i], out=g.view(-1, width))
            torch.addcmul(bias[i], x[i], gain[i], out=p)
            torch.ops.aten.silu_backward.grad_input(g, p, grad_input=g)
            torch.sum(g, dim=(0, 1), out=d_bias)
            torch.mul(g, x[i], out=p)
            torch.sum(p, dim=(0, 1), out=d_gain)
            along = (p.view(-1, width) @ (gain[i] / -width)).view(n, m, 1)
            g *= gain[i]
            g.addcmul_(x[i], along)
            g *= inverse[i]
            torch.sum(g, dim=1, out=d_h)
            if place is None:
                torch.sum(g, dim=0, out=d_shift)
            else:
                d_shift.copy_(
                    torch.ops.aten.embedding_dense_backward(g, place[i], len(shift[i]), -1, False)
                )
        for centred in found[:2]:
            centred -= centred.mean(dim=-1, keepdim=True)
        d_h, d_shift, d_gain, d_bias, d_weight = found
        return d_h, d_shift, None, d_gain, d_bias, d_weight, None
