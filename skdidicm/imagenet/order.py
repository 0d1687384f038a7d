"""The order of pictures: a function of seed, epoch and place, so that any part can be run again."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

Key = tuple[int, int, int]
"""Epoch, place in the epoch, and row of the data."""


class Share(Protocol):
    """Which process this is, of how many that share the work."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def world(self) -> int:
        """How many there are."""
        ...


class TrainOrder:
    """Batches of one process in one epoch, from any batch on.

    Rows are permuted; each is repeated `repeats` times, one after another, and as many views are
    used as there are rows: with repeats, an epoch sees a share 1 / repeats of the rows. Processes
    take views in turn. An incomplete last batch is left out.
    """

    def __init__(self, n: int, batch_size: int, place: Share, *, seed: int, repeats: int) -> None:
        self.n, self.batch_size, self.place = n, batch_size, place
        self.seed, self.repeats = seed, repeats
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return self.n // (self.batch_size * self.place.world) - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        views = np.repeat(order[: -(-self.n // self.repeats)], self.repeats)[: self.n]
        size, world = self.batch_size, self.place.world
        for batch in range(self.start, self.n // (size * world)):
            places = (np.arange(size) + batch * size) * world + self.place.rank
            yield [(self.epoch, int(place), int(views[place])) for place in places]


class TestOrder:
    """Every row exactly once over all processes."""

    __test__ = False  # pytest takes the name for a test

    def __init__(self, n: int, batch_size: int, place: Share) -> None:
        self.batches = [
            [(0, row, row) for row in range(first, min(first + batch_size * place.world, n))][
                place.rank :: place.world
            ]
            for first in range(0, n, batch_size * place.world)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return (batch for batch in self.batches if batch)
