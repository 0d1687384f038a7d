"""Export to ONNX: the whole answer as one graph, or a network in two halves to sample with."""

import warnings
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from skdidicm.backend import NetworkConfig, WholeAnswer
from skdidicm.core import log_score
from skdidicm_torch.answers import StackedAnswers, can_answer
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.trunk import TorchTrunk

if TYPE_CHECKING:
    from skdidicm_torch.backend import TorchNetwork

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
    check_packages()
    import onnxruntime

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


def check_packages() -> None:
    """Raise ImportError if a package is missing that the export needs."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"exporting to ONNX needs {error.name}, which is not installed; install it with: pip "
            'install "skdidicm[onnx]"'
        ) from error


def export_answer(
    networks: Sequence["TorchNetwork"],
    answer: WholeAnswer,
    input_shape: tuple[int, ...],
    path: Path,
    trunk: TorchTrunk | None = None,
) -> None:
    """Write one graph from rows "x" (n, *input_shape) to "probabilities" (n, k).

    Parameters
    ----------
    networks : sequence of TorchNetwork
        The networks that answer together.
    answer : WholeAnswer
        How their log scores become probabilities.
    input_shape : tuple of int
        Shape of a row.
    path : Path
        The file to write.
    trunk : TorchTrunk, optional
        Turns pictures into the rows of the networks.

    Raises
    ------
    ImportError
        If onnx, onnxscript or onnxruntime is not installed.
    ValueError
        If torch cannot export an operation of the networks.
    """
    check_packages()
    module = _Whole(networks, answer, trunk).eval().requires_grad_(False)
    x = torch.zeros(3, *input_shape, dtype=networks[0].dtype, device=networks[0].device)
    try:
        _export(module, (x,), ["x"], ["probabilities"], path)
    except Exception as error:  # of many kinds: the exporter passes on what it meets
        raise ValueError(
            f"torch cannot export this classifier to ONNX ({type(error).__name__}); save it with "
            "save instead, or choose another network."
        ) from error


class _Whole(nn.Module):
    """From rows to probabilities: the trunk, all networks, and what makes an answer of them."""

    def __init__(
        self, networks: Sequence["TorchNetwork"], answer: WholeAnswer, trunk: TorchTrunk | None
    ) -> None:
        super().__init__()
        self._networks, self._answer, self._trunk = networks, answer, trunk
        self._modules_of_networks = nn.ModuleList(network.module for network in networks)
        self._module_of_trunk = None if trunk is None else trunk.module
        self._joint = None
        if can_answer(networks, len(answer.levels)):
            self._joint = StackedAnswers(networks, answer.levels)

    def forward(self, x: Tensor) -> Tensor:
        rows = x if self._trunk is None else self._trunk.features_of(x).to(x.dtype)
        p: Tensor = self._answer(self._scores, len(self._networks), rows)
        return p.to(x.dtype)

    def _scores(self, rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the log scores (b n, k) of n rows by b networks, for labels and noise (b n,)."""
        config, outputs = self._networks[0].config, self._outputs(rows)

        def scores(label: Tensor, sigma: Tensor) -> Tensor:
            output = outputs(label, sigma)
            if config.parameterization == "posterior":
                # Samplers take log scores up to a constant of the row. `core.log_score` subtracts
                # the entry at the label, and to pick it would make n a constant of the graph.
                q_t: Tensor = config.process.diffuse(output.softmax(dim=-1), sigma)
                return q_t.clamp(min=torch.finfo(q_t.dtype).smallest_normal).log()
            found: Tensor = log_score(
                output, label, sigma, process=config.process, parameterization="score"
            )
            return found

        return scores

    def _outputs(self, rows: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the raw outputs (b n, k), for labels and noise as in `_scores`."""
        b = len(self._networks)
        if self._joint is not None:
            joint, level = self._joint, count()
            together = joint.encode_tensor(rows)
            return lambda label, _: joint.outputs(together, label, next(level))
        each = [net.module.encode(net.standardise(rows)) for net in self._networks]

        def outputs(label: Tensor, sigma: Tensor) -> Tensor:
            labels, noise = label.view(b, -1).unbind(), sigma[: rows.shape[0]]
            own = zip(self._networks, each, labels, strict=True)
            return torch.cat([net.module.decode(f, y, noise).to(net.dtype) for net, f, y in own])

        return outputs


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
