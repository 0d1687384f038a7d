"""The order of training and validation images, a pure function of seed, epoch and rank."""

from collections.abc import Iterator

import numpy as np

from skdidicm.imagenet.communicator import Communicator

Key = tuple[int, int, int]
"""Epoch, position in the epoch, and row of the data."""


class TrainOrder:
    """Batches of one process in one epoch, starting at any batch.

    The rows are permuted and each is repeated `repeats` times in a row. An epoch has as many views
    as there are rows, so with repeats it covers a fraction 1 / repeats of the rows. Processes take
    views in turn. An incomplete last batch is dropped.
    """

    def __init__(
        self, n: int, batch_size: int, comm: Communicator, *, seed: int, repeats: int
    ) -> None:
        self.n, self.batch_size, self.comm = n, batch_size, comm
        self.seed, self.repeats = seed, repeats
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return self.n // (self.batch_size * self.comm.world) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        views = np.repeat(order[: -(-self.n // self.repeats)], self.repeats)[: self.n]
        size, world = self.batch_size, self.comm.world
        for batch in range(self.start, self.n // (size * world)):
            positions = (np.arange(size) + batch * size) * world + self.comm.rank
            yield [(self.epoch, int(i), int(views[i])) for i in positions]


class TestOrder:
    """Every row exactly once over all processes."""

    __test__ = False  # pytest takes the name for a test

    def __init__(self, n: int, batch_size: int, comm: Communicator) -> None:
        self.batches = [
            [(0, row, row) for row in range(first, min(first + batch_size * comm.world, n))][
                comm.rank :: comm.world
            ]
            for first in range(0, n, batch_size * comm.world)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return (batch for batch in self.batches if batch)
