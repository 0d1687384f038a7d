"""The Keras trainer: assembles the parts of a run."""

from collections.abc import Callable
from typing import Any

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import accumulation, updates_per_epoch
from skdidicm.imagenet.log import RunLog
from skdidicm.imagenet.output import Output, in_first_process
from skdidicm.imagenet.run import Run
from skdidicm.imagenet.stopping import StopRequest
from skdidicm.imagenet.trainer import TrainingResult
from skdidicm.pictures import without_warnings
from skdidicm_keras.imagenet.engine import Engine
from skdidicm_keras.imagenet.feed import Feed
from skdidicm_keras.imagenet.processes import joined
from skdidicm_keras.imagenet.settings import check


def train(config: RunConfig, output: Output) -> TrainingResult | None:
    """Train, or resume from the newest checkpoint in the run folder."""
    check(config)
    with without_warnings(), joined(config.device) as comm, StopRequest() as stop:
        in_first_process(comm, output.claim)
        feed = Feed(config, comm)
        per_epoch = updates_per_epoch(config, feed, accumulation(config, comm.devices))
        engine = Engine(config, len(feed.classes), comm, per_epoch)
        n_updates = config.epochs * per_epoch
        log = RunLog(config, output.folder, n_updates, first=True, import_events=_import_events)
        with log:
            run = Run(config, output, comm, stop, feed, engine, log)
            run.go()
        return run.result()


def _import_events() -> Callable[[str], Any]:
    from tensorboard.summary import Writer

    writer: Callable[[str], Any] = Writer
    return writer
