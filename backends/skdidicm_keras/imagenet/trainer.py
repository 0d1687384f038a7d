"""A run on Keras: its parts put together."""

from pathlib import Path
from typing import Any

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import accumulation, updates_per_epoch
from skdidicm.imagenet.run import Run
from skdidicm.imagenet.stopping import StopRequest
from skdidicm.imagenet.telling import Teller
from skdidicm_keras.imagenet.engine import Engine
from skdidicm_keras.imagenet.feed import Feed
from skdidicm_keras.imagenet.processes import joined
from skdidicm_keras.imagenet.settings import check


def train(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train, or go on from the newest checkpoint in `folder`.

    Returns
    -------
    dict
        `first`, which is true: there is one process; the `checkpoint` to export, which is the last,
        its `metrics`, and `classes`.
    """
    check(config)
    with joined(config.device) as place, StopRequest() as stop:
        feed = Feed(config, place)
        per_epoch = updates_per_epoch(config, feed, accumulation(config, place.devices))
        engine = Engine(config, len(feed.classes), place, per_epoch)
        n_updates = config.epochs * per_epoch
        teller = Teller(config, folder, n_updates, first=True, open_events=_open_events)
        with teller:
            run = Run(config, folder, place, stop, feed, engine, teller)
            run.go()
        return run.result()


def _open_events(folder: str) -> Any:
    from tensorboard.summary import Writer

    return Writer(folder)
