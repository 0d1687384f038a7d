"""The log of a run: a progress bar or plain lines on stderr, JSON lines, and TensorBoard."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.output import EVENTS, LOG, naming, replacing


class EventWriter(Protocol):
    """A writer of TensorBoard events."""

    def add_scalar(self, name: str, value: float, update: int) -> object:
        """Write one scalar."""
        ...

    def close(self) -> object:
        """Write what is buffered."""
        ...


class RunLog:
    """Reports the progress of a run; only the first process writes.

    `import_events` imports a writer of TensorBoard events and returns a function from a folder to
    the writer.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        n_updates: int,
        *,
        first: bool,
        import_events: Callable[[], Callable[[str], EventWriter]],
    ) -> None:
        self._folder, self._first, self._n_updates = folder, first, n_updates
        self._bar: Any = None
        self._open_events: Callable[[str], EventWriter] | None = None
        self._events: EventWriter | None = None
        if first and sys.stderr.isatty():
            self._bar = _progress()
            self._task = self._bar.add_task("", total=n_updates)
        if first and config.tensorboard:
            self._open_events = _imported(import_events)

    def __enter__(self) -> "RunLog":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._events is not None:
            self._events.close()

    def open(self) -> None:
        """Open the files of the log; until then nothing is written."""
        if self._open_events is not None:
            self._events = self._open_events(str(self._folder / EVENTS))

    def message(self, text: str) -> None:
        """Write a line to stderr."""
        if self._first and self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self._first:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def updates(self, row: dict[str, Any]) -> None:
        """Report an interval of updates: epoch, update, loss, learning rate, speed."""
        if not self._first:
            return
        path = self._folder / LOG
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._scalars("train", row)
        text = (
            f"epoch {row['epoch']}  loss {row['loss']:.4g}  {row['images_per_second']:.0f} images/s"
            f"  waiting for data {row['data_wait']:.0%}"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=row["update"], description=text)
        else:
            self.message(f"update {row['update']}/{self._n_updates}  {text}")

    def epoch(self, row: dict[str, Any]) -> None:
        """Report a finished epoch."""
        self._scalars("epoch", row)
        shown = f"epoch {row['epoch']}: loss {row['loss']:.4g}"
        if "val_accuracy" in row:
            shown += f", accuracy {row['val_accuracy']:.2%}, NLL {row['val_nll']:.3f}"
        self.message(f"{shown}, {row['seconds']:.0f} s")

    def _scalars(self, group: str, row: dict[str, Any]) -> None:
        if self._events is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name not in ("update", "epoch"):
                    self._events.add_scalar(f"{group}/{name}", value, row["update"])


def truncate_log(folder: Path, update: int) -> None:
    """Remove the lines after an update, which a resumed run writes again, and damaged ones."""
    path = folder / LOG
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and _update(line) <= update]
        if kept != lines:
            with replacing(path) as partial:
                partial.write_bytes(b"".join(kept))


def _update(line: bytes) -> float:
    try:
        return float(json.loads(line)["update"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")  # an incomplete line of a killed run, or a damaged one


def carry_log(earlier: Path, folder: Path) -> None:
    """Copy the log of a run that was moved aside, for a run that continues it."""
    if (earlier / LOG).is_file():
        with replacing(folder / LOG) as partial:
            partial.write_bytes((earlier / LOG).read_bytes())


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
    )


def _imported(
    import_events: Callable[[], Callable[[str], EventWriter]],
) -> Callable[[str], EventWriter]:
    try:
        return import_events()
    except ImportError as error:
        raise ImportError(
            "--tensorboard needs the package tensorboard; install it with: pip install tensorboard"
        ) from error
