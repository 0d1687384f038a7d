"""A score network on torch: the implementation of `skdidicm.backend`."""

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skdidicm.backend import Batch, NetworkConfig, TrunkConfig, WholeAnswer, on_this_machine
from skdidicm.core import check_objective, denoising_loss, log_score
from skdidicm.networks import DropoutMasks, image_size, n_channels, resolve_network
from skdidicm_torch.answers import StackedAnswers, can_answer
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.dense import BackboneNetwork, LinearHead
from skdidicm_torch.device import resolve_device, resolve_precision
from skdidicm_torch.networks import create_network
from skdidicm_torch.onnx import export_answer, export_onnx
from skdidicm_torch.stacked import StackedTraining, can_stack
from skdidicm_torch.trunk import TorchTrunk, create_trunk

_SEEDING = threading.Lock()  # all threads share torch's default generator


class TorchNetwork:
    """A `ScoreNetwork` on torch, with AdamW.

    Parameters
    ----------
    config : NetworkConfig
        What to build. `config.network` is "auto", a name in `skdidicm_torch.NETWORKS`, "timm/NAME",
        or a torch module that maps images to features.
    """

    def __init__(self, config: NetworkConfig) -> None:
        check_objective(config.parameterization, config.objective, config.conditioning)
        self.device = resolve_device(config.device)
        self.precision = resolve_precision(
            config.precision, self.device, table=len(config.input_shape) == 1
        )
        self.dtype = torch.float64 if self.precision == "float64" else torch.float32
        network = resolve_network(config.network, config.input_shape)
        self._masks = DropoutMasks(network, config.conditioning, config.dropout, config.seed)
        module, self.config = _build_module(config, network)
        self.module = module.to(self.device, self.dtype)
        if len(config.input_shape) > 1:
            self.module.to(memory_format=torch.channels_last)
        self.mean = self.start(np.asarray(config.mean))
        self.inverse_scale = 1 / self.start(np.asarray(config.scale))
        self._learning = _learning(self.module)
        self.optimizer = _optimizer(self.module, config, self.device)
        self._loss = torch.compile(self._batch_loss) if config.compile else self._batch_loss
        self._answers: StackedAnswers | None = None  # kept from one prediction to the next

    @staticmethod
    def resolve_device(device: str, /) -> torch.device:
        """Return the device for a name."""
        return resolve_device(device)

    @staticmethod
    def state_shapes(config: NetworkConfig, /) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `state`; torch's meta device holds shapes but no numbers."""
        network = resolve_network(config.network, config.input_shape)
        with torch.device("meta"):
            module, _ = _create(config, network)
        return {name: tuple(value.shape) for name, value in module.state_dict().items()}

    @staticmethod
    def build_trunk(config: TrunkConfig, /) -> TorchTrunk:
        """Return a pretrained network that stays frozen."""
        return TorchTrunk(config)

    @staticmethod
    def trunk_shapes(config: TrunkConfig, /) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the `state` of a pretrained network."""
        with torch.device("meta"):
            module, _ = create_trunk(config)
        return {name: tuple(value.shape) for name, value in module.state_dict().items()}

    def trunk_features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features (n, f) of host rows (n, *input_shape) by the backbone."""
        backbone = self._on_backbone()
        backbone.eval()
        with torch.inference_mode(), self._autocast():
            features: NDArray[np.floating] = backbone.pool(self._prepare(x)).float().cpu().numpy()
        return features

    def hold_trunk(self, features: NDArray[np.floating] | None, /) -> None:
        """Take such features in place of rows in `train_step`; None: take rows again."""
        backbone = self._on_backbone()
        backbone.held = features is not None
        if features is not None and isinstance(backbone.head, LinearHead):
            backbone.head.standardise_by(self.start(features))

    def _on_backbone(self) -> BackboneNetwork:
        if not isinstance(self.module, BackboneNetwork):
            raise ValueError(
                "frozen_epochs needs a network with a head of its own, such as a pretrained one; "
                "set frozen_epochs=0."
            )
        return self.module

    def start(self, values: NDArray[np.floating], /) -> Tensor:
        """Return host values as a tensor with the device and dtype of the network."""
        # A copy, since torch warns about read-only arrays.
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def encode(self, x: NDArray[Any], /) -> tuple[Tensor, ...]:
        """Return the features of host rows (n, *input_shape)."""
        if self.module.training:  # eval() visits all modules, which takes longer than a small one
            self.module.eval()
        with torch.inference_mode(), self._autocast():
            rows = self._prepare(x)
            if not self.config.dropout:
                return self.module.encode(rows)
            passes = [self.module.encode(rows, self._sent(m))[0] for m in self._masks.of_passes()]
        log_p = torch.stack(passes).to(self.dtype).log_softmax(dim=2)
        return (log_p.logsumexp(dim=0) - math.log(len(passes)),)

    def features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features of host rows as one array (n, f), channels before pixels."""
        flat = [v.float().flatten(1).cpu().numpy() for v in self.encode(x)]
        return np.concatenate(flat, axis=1)

    def log_score(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor, /) -> Tensor:
        """Return log scores (n, k) for labels and noise (n,), or (n, m, k) for (n, m)."""
        with torch.inference_mode(), self._autocast():
            output = self.module.decode(features, label, sigma)
        with torch.no_grad():  # the process may cache tensors that training uses later
            scores: Tensor = log_score(
                output.to(self.dtype),
                label,
                sigma,
                process=self.config.process,
                parameterization=self.config.parameterization,
            )
        return scores

    def train_step(self, batch: Batch, learning_rate: float, /) -> Tensor:
        """Update the weights once and return the loss before the update, still on the device."""
        if self._thawed() or not self.module.training:
            self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        label = torch.tensor(batch.label, dtype=torch.int64, device=self.device)
        x = self._prepare(batch.x)
        sigma, weight = self.start(batch.sigma), self.start(batch.weight)
        masks = self._sent(self._masks.of_rows(len(x)))
        loss = self._loss(x, self.start(batch.target), label, sigma, weight, masks)
        loss.backward()
        if self.config.max_grad_norm:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return loss.detach()

    def join(self, others: Sequence[Any], /) -> StackedTraining | None:
        """Return the joint training of small networks of one kind, else None."""
        networks = [self, *others]
        return StackedTraining(networks) if can_stack(networks) else None

    def answer(self, others: Sequence[Any], levels: Sequence[float], /) -> StackedAnswers | None:
        """Return the joint answers of small networks of one kind, else None."""
        networks = [self, *others]
        if not can_answer(networks, len(levels)):
            return None
        kept = self._answers
        if kept is None or not kept.holds_for(networks, levels):
            self._answers = kept = StackedAnswers(networks, levels)
        return kept

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of weights and buffers by name."""
        return {k: v.detach().cpu().numpy().copy() for k, v in self.module.state_dict().items()}

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Set weights and buffers; names and shapes must match."""
        own = self.module.state_dict()
        if {k: v.shape for k, v in own.items()} != {k: np.shape(v) for k, v in state.items()}:
            # This raises an error that names the mismatch.
            self.module.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
        # Averages are loaded after every epoch, and load_state_dict is up to ten times slower.
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(torch.as_tensor(state[name]))

    def export_answer(
        self,
        others: Sequence[Any],
        answer: WholeAnswer,
        input_shape: tuple[int, ...],
        path: Path,
        trunk: Any = None,
        /,
    ) -> None:
        """Write the whole answer as one ONNX graph; see `skdidicm_torch.onnx`."""
        self._refuse_dropout()
        networks = [self, *others]
        for network in networks:
            network.module.eval()
        export_answer(networks, answer, input_shape, path, trunk)

    def _refuse_dropout(self) -> None:
        if self.config.dropout:
            raise ValueError(
                f"the network has dropout={self.config.dropout}, which the export to ONNX does not "
                "support; export a network with dropout=0."
            )

    def export_onnx(self, folder: Path, /) -> None:
        """Write the two halves of the network as ONNX; see `skdidicm_torch.onnx`."""
        self._refuse_dropout()
        module = self.module.eval()
        export_onnx(module, self.standardise, self.config, self.dtype, folder)

    def __getstate__(self) -> dict[str, Any]:
        config, trunk = self.config, self.config.trunk
        if trunk is not None:  # the file of its weights may be gone by then
            config = replace(config, trunk=replace(trunk, weights=False))
        return {"config": config, "state": self.state()}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self.__init__(on_this_machine(pickled["config"], resolve_device))  # type: ignore[misc]
        self.load_state(pickled["state"])

    def _batch_loss(
        self,
        x: Tensor,
        target: Tensor,
        label: Tensor,
        sigma: Tensor,
        weight: Tensor,
        masks: list[Tensor],
    ) -> Tensor:
        with self._autocast():
            output = self.module.decode(self.module.encode(x, masks), label, sigma)
        loss: Tensor = denoising_loss(
            output.to(self.dtype),
            label.expand(weight.shape),
            sigma,
            target[:, None, :].expand(output.shape),
            process=self.config.process,
            parameterization=self.config.parameterization,
            objective=self.config.objective,
            channel=self.config.channel,
        )
        return (weight * loss).sum()

    def _thawed(self) -> bool:
        """Follow weights of a backbone that are no longer frozen, here or in the user's module."""
        backbone = getattr(self.module, "backbone", None)
        if not isinstance(backbone, nn.Module):
            return False
        given = self.config.network
        if isinstance(given, nn.Module) and self.config.trunk is None:
            for own, theirs in zip(backbone.parameters(), given.parameters(), strict=True):
                if theirs.requires_grad:
                    own.requires_grad_(True)
        learning = _learning(self.module)
        changed = learning != self._learning
        if changed:
            earlier = self.optimizer.state
            self.optimizer = _optimizer(self.module, self.config, self.device)
            self.optimizer.state.update(
                {p: earlier[p] for p in self.module.parameters() if p in earlier}
            )
            self._learning = learning
        return changed

    def _sent(self, masks: list[NDArray[np.float32]]) -> list[Tensor]:
        return [self.start(mask) for mask in masks]

    def _prepare(self, x: NDArray[Any]) -> Tensor:
        """Return standardised rows: (n, d), or images (n, c, h, w); features as they are."""
        if isinstance(self.module, BackboneNetwork) and self.module.held:
            return self.start(x)
        return self.standardise(torch.tensor(x, device=self.device))

    def standardise(self, rows: Tensor) -> Tensor:
        """Return standardised rows with channels first, the input of the module."""
        rows = rows.to(self.dtype)
        if rows.ndim == 3:
            rows = rows[..., None]
        rows = (rows - self.mean) * self.inverse_scale
        return rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        )


def _build_module(config: NetworkConfig, network: Any) -> tuple[ConditionedNetwork, NetworkConfig]:
    """Return the module with weights drawn from the seed, without touching torch's generator."""
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would reseed GPUs
        return _create(config, network)


def _create(config: NetworkConfig, network: Any) -> tuple[ConditionedNetwork, NetworkConfig]:
    """Return the module, and the configuration with how a pretrained network takes pictures."""
    shape = config.input_shape
    if config.trunk is not None:
        backbone, trunk = create_trunk(config.trunk)
        example = torch.zeros(1, n_channels(shape), *(image_size(shape) or (1, 1)))
        conditional = config.conditioning != "none"
        tuned = BackboneNetwork(
            backbone, config.n_classes, example, linear=True, conditional=conditional
        )
        return tuned, replace(config, trunk=trunk)
    module = create_network(
        network,
        config.n_classes,
        n_channels(shape),
        config.conditioning,
        image_size=image_size(shape),
    )
    return module, config


def _learning(module: nn.Module) -> list[bool]:
    """Return whether each parameter is trained."""
    return [p.requires_grad for p in module.parameters()]


def _optimizer(module: nn.Module, config: NetworkConfig, device: torch.device) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices and filters, but not on biases and norms.

    The learning rate of a group is multiplied by its `factor`, which is that of a backbone or 1.
    """
    factor = config.trunk_learning_rate
    slow: set[nn.Parameter] = set()
    if isinstance(module, BackboneNetwork) and isinstance(module.backbone, nn.Module):
        slow = set(module.backbone.parameters()) if factor != 1 else set()
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in trainable if (p.ndim > 1) == decayed and (p in slow) == is_slow],
            "weight_decay": config.weight_decay if decayed else 0.0,
            "factor": factor if is_slow else 1.0,
        }
        for is_slow in ((False, True) if slow else (False,))
        for decayed in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=1e-3, fused=device.type in {"cuda", "cpu"})
