"""A study is a grid of cells: data, seed, method and budget."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from skdidicm.study.methods import AUTO, STEPPED


@dataclass(frozen=True)
class Cell:
    """One fit and its evaluation.

    `budget` multiplies the largest number of epochs that the defaults allow; "best" and
    "best-accuracy" choose it on held-out training rows, and "auto" leaves the epochs to the
    classifier. `steps` are those of the prediction; None means the default.
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


@dataclass(frozen=True)
class Grid:
    """The values that the cells of a study combine; methods without a sampler ignore `steps`."""

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
    """Yield all cells of a grid, seed by seed: a study that was stopped has complete seeds.

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
