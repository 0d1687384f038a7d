"""How far a fit is: a bar on stderr, and a warning if it takes more than a few minutes on a CPU."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skdidicm.backend import OnDevice, ScoreNetwork
from skdidicm.fit.training import HistoryRow

_LONG = 300.0  # seconds of a fit on a CPU beyond which it is warned of
_SLOW = 60.0  # seconds of a first epoch that tell enough; a shorter one may be mostly compilation


class Progress:
    """Counts the epochs of a whole fit, those of a trial included.

    Parameters
    ----------
    total : float
        Epochs that the networks of the fit take at most, all added up.
    bar : rich.progress.Progress, optional
        Shows them.
    on_cpu : bool
        Whether a long fit is warned of.
    """

    def __init__(self, total: float, *, bar: Any = None, on_cpu: bool = False) -> None:
        self._bar, self._on_cpu, self._total = bar, on_cpu, total
        self._task = bar.add_task("", total=total) if bar else None
        self._start = time.perf_counter()
        self.done = 0.0
        self._first: tuple[float, float] | None = None  # epochs and seconds of the first call

    def expect(self, total: float) -> None:
        """Take note of how many epochs the fit takes at most from what is known now."""
        self._total = total
        if self._bar:
            self._bar.update(self._task, total=total)

    def advance(self, done: float, row: HistoryRow) -> None:
        """Take note of the epochs done so far, and of the newest row of a history."""
        self.done = done
        if self._bar:
            self._bar.update(self._task, completed=done, description=_caption(row))
        if not self._on_cpu:
            return
        seconds = time.perf_counter() - self._start
        if self._first is None:
            self._first = done, seconds
            if seconds < _SLOW:
                return
            each = seconds / done
        else:
            each = (seconds - self._first[1]) / (done - self._first[0])
        self._on_cpu = False  # one estimate is enough
        if each * self._total > _LONG:
            warnings.warn(
                f"this fit will take up to {each * self._total / 60:.0f} minutes on the CPU. "
                "effort='fast', a smaller max_epochs, smaller images, network='didirn-tiny' or a "
                "pretrained network make it shorter, and a GPU makes it faster.",
                UserWarning,
                stacklevel=2,
            )


@contextmanager
def progress(total: float, network: ScoreNetwork, *, shown: bool) -> Iterator[Progress]:
    """Return the progress of a fit of so many epochs at most, with a bar on stderr if `shown`."""
    on_cpu = isinstance(network, OnDevice) and str(network.device).startswith("cpu")
    if not shown:
        yield Progress(total, on_cpu=on_cpu)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("fit"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("at most"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        counted = Progress(total, bar=bar, on_cpu=on_cpu)
        yield counted
        counted.expect(counted.done)  # a trial may need less than the most


def _caption(row: HistoryRow) -> str:
    shown = ("loss", "val_accuracy", "val_nll")
    return "  ".join(f"{name} {row[name]:.3f}" for name in shown if name in row)
