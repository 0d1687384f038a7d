"""The engine: network, optimiser and weight average, and one update of them."""

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from skdidicm.core import SCHEDULES, UniformProcess
from skdidicm.imagenet.checkpoint import CheckpointError, Tensors, weights
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import accumulation
from skdidicm_torch.imagenet import optimizer_state, timm_parts
from skdidicm_torch.imagenet.augmentation import jitter_colors
from skdidicm_torch.imagenet.data import Images
from skdidicm_torch.imagenet.evaluation import evaluate
from skdidicm_torch.imagenet.model import create_model
from skdidicm_torch.imagenet.preparation import Preparation
from skdidicm_torch.imagenet.processes import TorchCommunicator
from skdidicm_torch.imagenet.step import cross_entropy_loss, draw_noise, generator, noisy_loss


class Engine:
    """All trained state.

    Attributes
    ----------
    module : ConditionedNetwork
        The network; `average`, if there is one, holds the averaged weights.
    update : int
        Updates done.
    """

    def __init__(
        self, config: RunConfig, n_classes: int, comm: TorchCommunicator, per_epoch: int
    ) -> None:
        self.config, self.comm, self.per_epoch = config, comm, per_epoch
        self.process = UniformProcess(n_classes)
        self.schedule = SCHEDULES[config.schedule]()
        self.prepare = Preparation(config, comm.device)
        module = create_model(config, n_classes)
        if config.gradient_checkpointing:
            _checkpoint_blocks(module, config)
        if config.sync_batchnorm and comm.world > 1:
            if comm.device.type == "cpu":
                raise ValueError("--sync-batchnorm needs GPUs; leave it out on a CPU.")
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        self.module = module.to(comm.device).to(memory_format=self.prepare.layout)
        self.optimizer = timm_parts.create_optimizer(config, self.module)
        self._set_rate = timm_parts.create_schedule(config, self.optimizer, per_epoch)
        self._average = timm_parts.create_average(self.module, config.ema) if config.ema else None
        self._mix = timm_parts.mixer(config, n_classes)
        self.scaler = torch.amp.GradScaler(
            comm.device.type, enabled=self.prepare.precision == "float16"
        )
        self._wrapped = self._wrap()
        self.accumulate = accumulation(config, comm.world)
        self.update = 0

    @property
    def evaluated(self) -> Any:
        """The network to evaluate and export: the averaged one if there is one."""
        return self.module if self._average is None else self._average.module

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def memory(self) -> float:
        """The peak GPU memory so far, in GiB; 0 on a CPU."""
        if self.comm.device.type != "cuda":
            return 0.0
        return torch.cuda.max_memory_allocated(self.comm.device) / 2**30

    def weight_sum(self) -> float:
        """Return the sum of all trained weights: finite only if every weight is."""
        sums = [weight.detach().sum() for weight in self.module.parameters()]
        return float(torch.stack(sums).sum())

    def evaluate(self, batches: Iterable[Images]) -> tuple[dict[str, Any], list[str]]:
        """Return the figures over all processes, and this process's unreadable images.

        Every process has its own BatchNorm statistics; a checkpoint holds those of the first.
        """
        self.comm.share_first(self.evaluated.buffers())
        return evaluate(
            self.evaluated,
            batches,
            self.config,
            self.process,
            self.schedule,
            self.prepare,
            self.comm,
        )

    def train_update(self, batches: list[Images]) -> Tensor:
        """Make one update from some batches; return their mean loss, on the device."""
        self.module.train()
        self._set_rate(self.update)
        losses = []
        for i, images in enumerate(batches):
            last = i == len(batches) - 1
            wait = nullcontext() if last or self.comm.world == 1 else self._wrapped.no_sync()
            with wait:
                loss = self._loss(images, i)
                self.scaler.scale(loss / len(batches)).backward()
            losses.append(loss.detach())
        self._apply_gradients()
        self.update += 1
        if self._average is not None:
            self._average.update(self.module)
        return torch.stack(losses).mean()

    def _loss(self, images: Images, part: int) -> Tensor:
        config, position = self.config, (self.update, part, self.comm.rank)
        rng = generator(self.prepare.device, config.seed, *position)
        jitter = None
        if config.color_jitter and not config.auto_augment:  # which replaces it, as in timm
            jitter = partial(jitter_colors, strength=config.color_jitter, rng=rng)
        x = self.prepare(images.pixels, jitter)
        label = images.labels.to(x.device, non_blocking=True)
        torch.manual_seed(rng.initial_seed())  # for dropout in networks of timm
        with timm_parts.seeded(rng.initial_seed()):
            x, q_0 = self._mix(x, label)
        if config.objective == "cross_entropy":
            with self.prepare.autocast():
                output = self._wrapped(x, label, label.to(x.dtype))
            return cross_entropy_loss(output, q_0)
        noise = draw_noise(q_0, self.process, self.schedule, config, rng)
        with self.prepare.autocast():
            output = self._wrapped(x, noise.label, noise.sigma)
        return noisy_loss(output, noise, q_0, self.process, config)

    def _apply_gradients(self) -> None:
        if self.config.max_grad_norm and not timm_parts.clips_itself(self.config):
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _wrap(self) -> Any:
        """Return the network for training: compiled and distributed if asked for."""
        called: Any = torch.compile(self.module) if self.config.compile else self.module
        if self.comm.world == 1:
            return called
        on_gpu = self.comm.device.type == "cuda"
        return DistributedDataParallel(
            called, device_ids=[self.comm.device] if on_gpu else None, gradient_as_bucket_view=True
        )

    def pack(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the whole state as arrays by name and plain values."""
        tensors, optimizer = optimizer_state.pack(self.optimizer)
        parts = {"model": self.module} | ({"average": self.evaluated} if self._average else {})
        for part, module in parts.items():
            found = optimizer_state.arrays(module.state_dict())
            tensors |= {f"{part}.{name}": value for name, value in found.items()}
        return tensors, {
            "update": self.update,
            "optimizer": optimizer,
            "scaler": self.scaler.state_dict(),
        }

    def unpack(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Restore a state that `pack` returned."""
        load_weights(self.module, weights(tensors, "model."))
        if self._average is not None:
            load_weights(self._average.module, weights(tensors, "average."))
        optimizer_state.unpack(self.optimizer, tensors, values["optimizer"])
        try:
            self.scaler.load_state_dict(values["scaler"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint's state of the loss scaler is incomplete ({error}); choose "
                "another checkpoint."
            ) from error
        self.update = int(values["update"])


def check_weights(config: RunConfig, n_classes: int, state: Tensors) -> None:
    """Check names and shapes of weights before a network is built that may be much larger.

    Raises
    ------
    CheckpointError
        If they are not those of the network of a configuration.
    """
    with torch.device("meta"):
        expected = create_model(config, n_classes).state_dict()
    for name in sorted({*expected, *state}):
        shapes = [
            tuple(found[name].shape) if name in found else None for found in (expected, state)
        ]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"the checkpoint's weights do not fit the network ({name} has shape {shapes[1]}, "
                f"expected {shapes[0]}); it is damaged, or of another network."
            )


def load_weights(module: nn.Module, state: Tensors) -> None:
    """Load weights by name from host arrays.

    Raises
    ------
    CheckpointError
        If they are not those of the module.
    """
    try:
        module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the checkpoint's weights do not fit the network ({reason}); it is damaged, or of "
            "another network."
        ) from error


def _checkpoint_blocks(module: nn.Module, config: RunConfig) -> None:
    if not hasattr(module, "checkpointing"):
        raise ValueError(
            f"--gradient-checkpointing is for DiDiRN; --model {config.model} does not support it."
        )
    module.checkpointing = True  # type: ignore[assignment]
