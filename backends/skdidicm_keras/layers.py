"""Layers like those of torch, with the same names, layouts, arithmetic and number formats.

The layers of Keras differ in names and details (variances, epsilons), and lose float64 on torch
and JAX. Only the filters of convolutions have the layout of Keras, (h, w, in, out).
"""

import math
from typing import Any

import keras
from keras import ops

EPSILON = 1e-5
MOMENTUM = 0.1


class Leaf(keras.layers.Layer):  # type: ignore[misc]
    """A layer with weights; `name` is the name of the torch module, such as "layer1.0.conv1"."""

    def __init__(self, name: str, dtype: Any) -> None:
        # On the torch engine this becomes the name of a parameter, which must not have dots.
        super().__init__(name=name.replace(".", "-"), dtype=dtype)
        self.built = True  # all weights are created in __init__

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        """Return `call` directly: the overhead in Keras exceeds the cost of a small layer."""
        return self.call(*inputs, **settings)

    def narrow(self, *tensors: Any) -> tuple[Any, ...]:
        """Return tensors in the number format of matrix products."""
        if self.compute_dtype == self.variable_dtype:
            return tensors
        return tuple(ops.cast(tensor, self.compute_dtype) for tensor in tensors)

    def wide(self, x: Any) -> Any:
        """Return a tensor in the number format of weights and norms."""
        return x if self.compute_dtype == self.variable_dtype else ops.cast(x, self.variable_dtype)

    def parameter(self, name: str, shape: tuple[int, ...], **settings: Any) -> Any:
        """Return a new variable of zeros, for `weights.initial_state` to fill.

        Keras does not cast it; `narrow` does, for matrix products.
        """
        settings |= {"initializer": "zeros", "autocast": False}
        return self.add_weight(name=name, shape=shape, **settings)


class Linear(Leaf):
    """A linear map with a bias."""

    def __init__(self, name: str, n_in: int, n_out: int, dtype: Any) -> None:
        super().__init__(name, dtype)
        self.weight = self.parameter("weight", (n_out, n_in))
        self.bias = self.parameter("bias", (n_out,))

    def call(self, x: Any) -> Any:
        """Return (..., n_out) for (..., n_in), in the format of the weights."""
        x, weight, bias = self.narrow(x, self.weight.value, self.bias.value)
        # Not ops.matmul, which casts float64 to float32 on torch.
        return self.wide(x @ ops.transpose(weight) + bias)


class Embedding(Leaf):
    """A vector for every label."""

    def __init__(self, name: str, n_in: int, n_out: int, dtype: Any) -> None:
        super().__init__(name, dtype)
        self.weight = self.parameter("weight", (n_in, n_out))

    def call(self, label: Any) -> Any:
        """Return (..., n_out) for integers (...)."""
        return ops.take(self.weight.value, label, axis=0)


class Convolution(Leaf):
    """A convolution without bias, padded equally on all sides as in torch."""

    def __init__(
        self, name: str, c_in: int, c_out: int, size: int, stride: int = 1, *, dtype: Any
    ) -> None:
        super().__init__(name, dtype)
        self.size, self.stride = size, stride
        self.weight = self.parameter("weight", (size, size, c_in, c_out))

    def call(self, x: Any) -> Any:
        """Return (n, h', w', c_out) for (n, h, w, c_in)."""
        x, weight = self.narrow(x, self.weight.value)
        # With strides, "same" pads one side only.
        padding = "same" if self.stride == 1 else "valid"
        if self.stride > 1 and self.size > 1:
            x = pad(x, self.size // 2)
        return ops.conv(x, weight, self.stride, padding=padding, data_format="channels_last")


class LayerNorm(Leaf):
    """Normalisation over the last axis."""

    def __init__(self, name: str, width: int, dtype: Any) -> None:
        super().__init__(name, dtype)
        self.weight = self.parameter("weight", (width,))
        self.bias = self.parameter("bias", (width,))

    def call(self, x: Any) -> Any:
        """Return an array of the shape of x."""
        x = self.wide(x)
        mean, variance = moments(x, -1)
        y = (x - mean) * ops.rsqrt(variance + EPSILON)
        return y * self.weight.value + self.bias.value


class GroupNorm(LayerNorm):
    """Normalisation of (n, h, w, c) over the pixels and channels of each group."""

    def __init__(self, name: str, groups: int, width: int, dtype: Any) -> None:
        super().__init__(name, width, dtype)
        self.groups = groups

    def call(self, x: Any) -> Any:
        """Return an array of the shape of x."""
        n, h, w, c = x.shape
        x = ops.reshape(self.wide(x), (n, h * w, self.groups, c // self.groups))
        mean, variance = moments(x, (1, 3))
        y = ops.reshape((x - mean) * ops.rsqrt(variance + EPSILON), (n, h, w, c))
        return y * self.weight.value + self.bias.value


class BatchNorm(LayerNorm):
    """Normalisation of every channel over rows and pixels, with running averages at prediction.

    A single value per channel has no variance; the running averages are used then, too.
    """

    def __init__(self, name: str, width: int, dtype: Any) -> None:
        super().__init__(name, width, dtype)
        fixed = {"trainable": False}
        self.running_mean = self.parameter("running_mean", (width,), **fixed)
        self.running_var = self.parameter("running_var", (width,), **fixed)
        self.num_batches_tracked = self.parameter("num_batches_tracked", (), dtype="int32", **fixed)

    def call(self, x: Any, training: bool = False) -> Any:
        """Return an array of the shape of x, (n, h, w, c)."""
        x = self.wide(x)
        mean, variance = self.running_mean.value, self.running_var.value
        count = math.prod(x.shape[:3])
        if training and count > 1:
            mean, variance = moments(x, (0, 1, 2), keepdims=False)
            self._track(mean, variance * (count / (count - 1)))
        gain = self.weight.value * ops.rsqrt(variance + EPSILON)
        return x * gain + (self.bias.value - mean * gain)

    def _track(self, mean: Any, unbiased: Any) -> None:
        for average, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            average.assign((1 - MOMENTUM) * average.value + MOMENTUM * ops.stop_gradient(value))
        self.num_batches_tracked.assign(self.num_batches_tracked.value + 1)


def moments(x: Any, axis: Any, *, keepdims: bool = True) -> tuple[Any, Any]:
    """Return the mean and the biased variance over some axes."""
    centre = mean(x, axis, keepdims=True)
    variance = mean(ops.square(x - centre), axis, keepdims=keepdims)
    return (centre if keepdims else ops.squeeze(centre, axis)), variance


def mean(x: Any, axis: int | tuple[int, ...], *, keepdims: bool = False) -> Any:
    """Return the mean over some axes; ops.mean computes float64 in float32 on torch and JAX."""
    axes = (axis,) if isinstance(axis, int) else axis
    count = math.prod(x.shape[i] for i in axes)
    return ops.sum(x, axis=axes, keepdims=keepdims) / count


def pad(x: Any, width: int) -> Any:
    """Return images (n, h, w, c) with zeros around them."""
    return ops.pad(x, ((0, 0), (width, width), (width, width), (0, 0)))
