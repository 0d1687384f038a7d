"""What a study consists of: cells of data, seed, method and budget."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.datasets import Split, load_digits_split, load_fashion_mnist

DATA = ("digits", "fashion-mnist", "breast-cancer", "wine")


@dataclass(frozen=True)
class Cell:
    """One fit and its test.

    `budget` multiplies the number of epochs that the defaults take; "best" and "best-accuracy"
    choose it on held-out training rows.
    """

    data: str
    n: int | None
    noise: float
    resolution: int | None
    seed: int
    method: str
    budget: float | str = 1.0

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this cell from all others."""
        return tuple(asdict(self).values())


@dataclass(frozen=True)
class Grid:
    """The values that the cells of a study take."""

    data: tuple[str, ...] = ("digits",)
    n: tuple[int | None, ...] = (None,)
    noise: tuple[float, ...] = (0.0,)
    resolution: tuple[int | None, ...] = (None,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    methods: tuple[str, ...] = ("didicm", "cross-entropy")
    budgets: tuple[float | str, ...] = (1.0,)


def cells(grid: Grid) -> Iterator[Cell]:
    """Yield all cells of a grid, seeds outermost: a study that is cut short has whole seeds.

    Examples
    --------
    >>> grid = Grid(seeds=(0, 1), methods=("didicm",))
    >>> [(cell.seed, cell.method) for cell in cells(grid)]
    [(0, 'didicm'), (1, 'didicm')]
    """
    axes = (grid.data, grid.n, grid.noise, grid.resolution, grid.methods, grid.budgets)
    for seed, (data, n, noise, resolution, method, budget) in itertools.product(
        grid.seeds, itertools.product(*axes)
    ):
        yield Cell(data, n, noise, resolution, seed, method, budget)


def load(cell: Cell, folder: str | None = None) -> Split:
    """Return training and test rows of a cell.

    Pictures are first brought to the resolution, by averaging blocks of pixels. Then noise is
    added: `noise` is in standard deviations of all training values at full resolution. The test
    rows and their noise are the same for every `n` and method.
    """
    if cell.data not in DATA:
        raise ValueError(f"data is {cell.data!r}; expected one of {DATA}.")
    split = _whole(cell, folder)
    X_train, X_test = (_floats(x) for x in (split.X_train, split.X_test))
    scale = X_train.std()
    X_train, X_test = (_shrunk(x, cell.resolution) for x in (X_train, X_test))
    subset, train_noise, test_noise = np.random.default_rng(cell.seed).spawn(3)
    rows = subset.permutation(len(X_train))[: cell.n]
    if cell.n is not None and not 1 <= cell.n <= len(X_train):
        raise ValueError(f"n is {cell.n}; expected from 1 to {len(X_train)}, the rows there are.")
    X_train = _noisy(X_train[rows], cell.noise * scale, train_noise)
    X_test = _noisy(X_test, cell.noise * scale, test_noise)
    return split._replace(X_train=X_train, y_train=split.y_train[rows], X_test=X_test)


def _whole(cell: Cell, folder: str | None) -> Split:
    if cell.data == "digits":
        return load_digits_split(cell.seed)
    if cell.data == "fashion-mnist":
        if folder is None:
            raise ValueError("data 'fashion-mnist' needs the folder with its four idx files.")
        return load_fashion_mnist(folder)
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    loader = {"breast-cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}[cell.data]
    table = loader()
    X = (table.data - table.data.mean(axis=0)) / table.data.std(axis=0)
    X_train, X_test, y_train, y_test = train_test_split(
        X, table.target, test_size=0.3, stratify=table.target, random_state=cell.seed
    )
    return Split(X_train, y_train, X_test, y_test, tuple(map(str, table.target_names)))


def _floats(x: NDArray[Any]) -> NDArray[np.floating]:
    return x / np.float32(255) if x.dtype == np.uint8 else x


def _shrunk(x: NDArray[Any], size: int | None) -> NDArray[Any]:
    if size is None or (x.ndim > 2 and x.shape[1] == size):
        return x
    if x.ndim != 3 or x.shape[1] != x.shape[2] or size < 1 or x.shape[1] % size:
        raise ValueError(
            f"resolution is {size}, but the rows have shape {x.shape[1:]}; expected square "
            "pictures and a divisor of their height."
        )
    block = x.shape[1] // size
    small: NDArray[Any] = x.reshape(len(x), size, block, size, block).mean(axis=(2, 4))
    return small


def _noisy(x: NDArray[Any], amplitude: float, rng: np.random.Generator) -> NDArray[Any]:
    if amplitude == 0:
        return x
    noise = rng.standard_normal(x.shape, np.float32)
    noisy: NDArray[Any] = x + x.dtype.type(amplitude) * noise
    return noisy
