"""Export to ONNX in two halves, so that a runtime can sample without torch."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skdidicm.backend import NetworkConfig
from skdidicm_torch.conditioning import ConditionedNetwork

ENCODE, DECODE = "encode.onnx", "decode.onnx"


Standardise = Callable[[Tensor], Tensor]
"""Maps rows as users have them to the input of a module."""


class _Encode(nn.Module):
    def __init__(self, module: ConditionedNetwork, standardise: Standardise) -> None:
        super().__init__()
        self.module, self._standardise = module, standardise

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.module.encode(self._standardise(x))


class _Decode(nn.Module):
    def __init__(self, module: ConditionedNetwork) -> None:
        super().__init__()
        self.module = module

    def forward(self, label: Tensor, sigma: Tensor, *features: Tensor) -> Tensor:
        return self.module.decode(features, label, sigma)


def export_onnx(
    module: ConditionedNetwork,
    standardise: Standardise,
    config: NetworkConfig,
    dtype: torch.dtype,
    folder: Path,
) -> None:
    """Write encode.onnx and decode.onnx, and check them with onnxruntime.

    "encode" maps rows x (n, *input_shape), as users have them, to features. "decode" maps labels
    int64 (n,), total noise (n,) and the features to raw outputs (n, k), which
    `skdidicm.core.log_score` turns into log scores on arrays of any library.

    Parameters
    ----------
    module : ConditionedNetwork
        The network, in evaluation mode.
    standardise : callable
        Maps rows (n, *input_shape) to the input of the module.
    config : NetworkConfig
        Input shape, number of classes and moments, for example inputs.
    dtype : torch.dtype
        Number format of rows and noise.
    folder : Path
        Where to write; it is created if necessary.

    Raises
    ------
    ImportError
        If onnx, onnxscript or onnxruntime is not installed.
    RuntimeError
        If the results of onnxruntime and torch differ.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"exporting to ONNX needs {error.name}, which is not installed; install it with: pip "
            "install onnx onnxscript onnxruntime"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    encode, decode = _Encode(module, standardise).eval(), _Decode(module).eval()
    x, label, sigma = _example(config, dtype, 3)
    with torch.no_grad():
        features = encode(x)
    names = [f"feature_{i}" for i in range(len(features))]
    _export(encode, (x,), ["x"], names, folder / ENCODE)
    _export(
        decode,
        (label, sigma, *features),
        ["label", "sigma", *names],
        ["output"],
        folder / DECODE,
    )
    x, label, sigma = _example(config, dtype, 5)
    halves = [onnxruntime.InferenceSession(folder / name) for name in (ENCODE, DECODE)]
    found = halves[0].run(None, {"x": x.numpy()})
    inputs = {
        "label": label.numpy(),
        "sigma": sigma.numpy(),
        **dict(zip(names, found, strict=True)),
    }
    outputs = halves[1].run(None, inputs)[0]
    with torch.no_grad():
        expected = decode(label, sigma, *encode(x)).numpy()
    if not np.allclose(outputs, expected, rtol=1e-3, atol=1e-3):
        raise RuntimeError(
            f"the ONNX model is off by up to {np.abs(outputs - expected).max():.2g}; report it "
            "with the versions of torch, onnxscript and onnxruntime."
        )


def _example(config: NetworkConfig, dtype: torch.dtype, n: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(0)
    spread = np.asarray(config.scale) * rng.standard_normal((n, *config.input_shape))
    x = np.asarray(config.mean) + spread
    label = torch.from_numpy(rng.integers(0, config.n_classes, n))
    sigma = torch.from_numpy(rng.uniform(0.1, 5, n)).to(dtype)
    return torch.from_numpy(x).to(dtype), label, sigma


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    rows = torch.export.Dim("n", min=1)
    shapes: Any = tuple({0: rows} for _ in example)
    if isinstance(module, _Decode):  # torch treats *features as one argument
        shapes = (*shapes[:2], shapes[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
        torch.onnx.export(
            module,
            example,
            path,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
