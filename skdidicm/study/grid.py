"""What a study consists of: cells of data, seed, method and budget."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from skdidicm.study.methods import AUTO, STEPPED


@dataclass(frozen=True)
class Cell:
    """One fit and its test.

    `budget` multiplies the number of epochs that the defaults take at most; "best" and
    "best-accuracy" choose it on held-out training rows, and "auto" leaves it to the classifier.
    `steps` are those of the prediction; None takes the default.
    """

    data: str
    n: int | None
    noise: float
    resolution: int | None
    seed: int
    method: str
    budget: float | str = AUTO
    corruption: str | None = None
    ratio: float = 1.0
    steps: int | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this cell from all others."""
        return tuple(asdict(self).values())


@dataclass(frozen=True)
class Grid:
    """The values that the cells of a study take; methods without a sampler ignore the steps."""

    data: tuple[str, ...] = ("digits",)
    n: tuple[int | None, ...] = (None,)
    noise: tuple[float, ...] = (0.0,)
    resolution: tuple[int | None, ...] = (None,)
    corruption: tuple[str | None, ...] = (None,)
    ratio: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    methods: tuple[str, ...] = ("didicm", "cross-entropy")
    budgets: tuple[float | str, ...] = (AUTO,)
    steps: tuple[int | None, ...] = (None,)


def cells(grid: Grid) -> Iterator[Cell]:
    """Yield all cells of a grid, seeds outermost: a study that is cut short has whole seeds.

    Examples
    --------
    >>> grid = Grid(seeds=(0, 1), methods=("didicm",))
    >>> [(cell.seed, cell.method) for cell in cells(grid)]
    [(0, 'didicm'), (1, 'didicm')]
    """
    rows = itertools.product(
        grid.data, grid.n, grid.noise, grid.resolution, grid.corruption, grid.ratio
    )
    inner = itertools.product(list(rows), grid.methods, grid.budgets)
    for seed, (
        (data, n, noise, resolution, corruption, ratio),
        method,
        budget,
    ) in itertools.product(grid.seeds, inner):
        for steps in grid.steps if method in STEPPED else (None,):
            yield Cell(data, n, noise, resolution, seed, method, budget, corruption, ratio, steps)
