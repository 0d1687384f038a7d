"""The torch trainer: assembles the parts of a run."""

from collections.abc import Callable
from typing import Any

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import accumulation, updates_per_epoch
from skdidicm.imagenet.log import RunLog
from skdidicm.imagenet.output import Output, in_first_process
from skdidicm.imagenet.run import Run
from skdidicm.imagenet.stopping import StopRequest
from skdidicm.imagenet.trainer import TrainingResult
from skdidicm_torch.device import resolve_device
from skdidicm_torch.imagenet.data import naming_killed_workers
from skdidicm_torch.imagenet.engine import Engine
from skdidicm_torch.imagenet.feed import Feed
from skdidicm_torch.imagenet.preparation import resolve_precision
from skdidicm_torch.imagenet.processes import joined


def check(config: RunConfig) -> None:
    """Check that the device exists and supports the requested precision.

    Raises
    ------
    ValueError
        If not.
    """
    resolve_precision(config, resolve_device(config.device))


def train(config: RunConfig, output: Output) -> TrainingResult | None:
    """Train, or resume from the newest checkpoint in the run folder."""
    with naming_killed_workers(), joined(config.device) as comm, StopRequest() as stop:
        in_first_process(comm, output.claim)
        feed = Feed(config, comm)
        per_epoch = updates_per_epoch(config, feed, accumulation(config, comm.world))
        engine = Engine(config, len(feed.classes), comm, per_epoch)
        n_updates = config.epochs * per_epoch
        log = RunLog(
            config, output.folder, n_updates, first=comm.first, import_events=_import_events
        )
        with log:
            run = Run(config, output, comm, stop, feed, engine, log)
            run.go()
        return run.result()


def _import_events() -> Callable[[str], Any]:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter
