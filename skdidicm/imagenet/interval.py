"""Time between two reports of a run, and the part of it spent waiting for data."""

import itertools
import time
from collections.abc import Iterator
from typing import TypeVar

Batch = TypeVar("Batch")


class Interval:
    """Time since an update, and the part of it spent waiting for data."""

    def __init__(self, update: int) -> None:
        self.update, self._start, self.waited = update, time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def wait(self, batches: Iterator[Batch], n: int) -> list[Batch]:
        """Return the next n batches."""
        start = time.perf_counter()
        group = list(itertools.islice(batches, n))
        self.waited += time.perf_counter() - start
        return group
