"""A run on torch: its parts put together."""

from pathlib import Path
from typing import Any

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import accumulation, updates_per_epoch
from skdidicm.imagenet.run import Run
from skdidicm.imagenet.stopping import StopRequest
from skdidicm.imagenet.telling import Teller
from skdidicm_torch.device import resolve_device
from skdidicm_torch.imagenet.engine import Engine
from skdidicm_torch.imagenet.feed import Feed
from skdidicm_torch.imagenet.preparation import resolve_precision
from skdidicm_torch.imagenet.processes import joined


def check(config: RunConfig) -> None:
    """Check that the device is there and computes in the format that a configuration asks for.

    Raises
    ------
    ValueError
        If not.
    """
    resolve_precision(config, resolve_device(config.device))


def train(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train, or go on from the newest checkpoint in `folder`.

    Returns
    -------
    dict
        `first`: whether this process is the one that writes; and there the `checkpoint` to
        export, which is the last, its `metrics`, and `classes`.
    """
    with joined(config.device) as place, StopRequest() as stop:
        feed = Feed(config, place)
        per_epoch = updates_per_epoch(config, feed, accumulation(config, place.world))
        engine = Engine(config, len(feed.classes), place, per_epoch)
        n_updates = config.epochs * per_epoch
        teller = Teller(config, folder, n_updates, first=place.first, open_events=_open_events)
        with teller:
            run = Run(config, folder, place, stop, feed, engine, teller)
            run.go()
        return run.result()


def _open_events(folder: str) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder)
