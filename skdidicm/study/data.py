"""The rows of a cell: load or generate them, take a part, and make them harder."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.datasets import Split, load_digits_split, load_fashion_mnist, load_folder_split
from skdidicm.study.changes import corrupted, floats, noisy, shrunk
from skdidicm.study.embeddings import load_embeddings
from skdidicm.study.fonts import kanji, load_fonts
from skdidicm.study.grid import Cell
from skdidicm.study.photos import load_photos
from skdidicm.tables import read_table

_TEST = 0.3  # share of the rows of a data set without a split of its own
_FOLDER = "folder:"
_CSV = "table:"
_FONTS = ("fonts", "typefaces")  # split by drawing or by typeface; ":K" is the number of classes

Table = tuple[NDArray[Any], NDArray[Any], tuple[str, ...]]  # rows, labels 0, 1, ..., class names


def load(cell: Cell, folder: str | None = None) -> Split:
    """Return the training and test rows of a cell.

    A part of the training rows is taken. Then training and test rows are corrupted, brought to the
    resolution by averaging blocks of pixels, and noise is added; the unit of `noise` is the
    standard deviation of all training values at full resolution. The test rows and their changes
    are the same for every `n`, `ratio` and method.

    Parameters
    ----------
    cell : Cell
        The cell.
    folder : str, optional
        Folder with the files of Fashion-MNIST.
    """
    return _load(replace(cell, method="", budget=1.0, steps=None), folder)


@functools.lru_cache(maxsize=1)  # consecutive cells differ only in their method
def _load(cell: Cell, folder: str | None) -> Split:
    split = _source(cell, folder)
    streams = np.random.default_rng(cell.seed).spawn(5)
    rows = _rows(cell, split.y_train, streams[0])
    scale = floats(split.X_train).std()
    parts = []
    for X, kept, noise, pixels in (
        (split.X_train, rows, streams[1], streams[3]),
        (split.X_test, slice(None), streams[2], streams[4]),
    ):
        x = X[kept]
        if cell.corruption is not None:
            x = corrupted(x, cell.corruption, pixels.integers(2**32, size=len(X))[kept])
        parts.append(noisy(shrunk(floats(x), cell.resolution), cell.noise * scale, noise))
    return split._replace(X_train=parts[0], y_train=split.y_train[rows], X_test=parts[1])


def _rows(cell: Cell, y: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return indices of `n` random rows, reduced to the first share `ratio` of every class."""
    if cell.n is not None and not 1 <= cell.n <= len(y):
        raise ValueError(
            f"n is {cell.n}; expected from 1 to {len(y)}, the number of training rows."
        )
    if not 0 < cell.ratio <= 1:
        raise ValueError(f"ratio is {cell.ratio}; expected a share above 0 and up to 1.")
    rows = rng.permutation(len(y))[: cell.n]
    if cell.ratio < 1:
        by_class = [np.flatnonzero(y[rows] == label) for label in np.unique(y[rows])]
        kept = [own[: max(1, int(cell.ratio * len(own)))] for own in by_class]
        rows = rows[np.sort(np.concatenate(kept))]
    lacking = np.setdiff1d(y, y[rows])
    if len(lacking):
        raise ValueError(
            f"n is {cell.n}, but the rows drawn with seed {cell.seed} have none of {len(lacking)} "
            "of the classes; use more rows."
        )
    return rows


def _source(cell: Cell, folder: str | None) -> Split:
    if cell.data.startswith(_FOLDER):
        return _folder(cell)
    if cell.data in _TABLES:
        return _table(_TABLES[cell.data](), cell.seed)
    if cell.data.startswith(_CSV):
        return _table(_read_table(Path(cell.data.removeprefix(_CSV))), cell.seed)
    kind, _, n_classes = cell.data.partition(":")
    if kind in _FONTS and (n_classes or "100").isdecimal():
        characters = kanji(int(n_classes or 100))
        return load_fonts(cell.seed, characters, by_typeface=kind == "typefaces")
    if cell.data not in DATA:
        raise ValueError(
            f"data is {cell.data!r}; expected one of {DATA}, fonts:K, typefaces:K, "
            f"{_FOLDER}PATH or {_CSV}FILE."
        )
    if cell.data == "digits":
        return load_digits_split(cell.seed)
    if cell.data == "photos":
        return load_photos(cell.seed)
    if cell.data == "embeddings":
        return load_embeddings(cell.seed)
    if folder is None:
        raise ValueError(
            "data 'fashion-mnist' has no folder; expected one with its four idx files: --folder."
        )
    return load_fashion_mnist(folder)


def _table(table: Table, seed: int) -> Split:
    """Return a split of a table, standardised by mean and deviation of the training rows."""
    from sklearn.model_selection import train_test_split

    X, y, names = table
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=_TEST, stratify=y, random_state=seed
    )
    mean, std = X_train.mean(axis=0), X_train.std(axis=0)
    std[std == 0] = 1
    return Split((X_train - mean) / std, y_train, (X_test - mean) / std, y_test, names)


def _bundled(name: str) -> Table:
    from sklearn import datasets

    table = getattr(datasets, f"load_{name}")()
    return table.data, table.target, tuple(map(str, table.target_names))


def _covtype_like() -> Table:
    """Return a synthetic table like that of forest cover types: 54 columns, unbalanced classes."""
    from sklearn.datasets import make_classification

    X, y = make_classification(
        12_000, 54, n_informative=12, n_redundant=10, n_classes=7, n_clusters_per_class=3,
        weights=[0.365, 0.487, 0.062, 0.011, 0.02, 0.03, 0.025], flip_y=0.05, random_state=0,
    )  # fmt: skip
    return X, y, tuple(f"type {i}" for i in range(7))


def _read_table(path: Path) -> Table:
    """Return the table of a CSV file whose last column is the class."""
    if not path.is_file():
        raise ValueError(
            f"{path} is not a file; expected a table with the class in its last column."
        )
    table = read_table(path.read_bytes(), str(path), labelled=True)
    names, y = np.unique(table.labels, return_inverse=True)
    rare = [str(name) for name in names[np.bincount(y) < 2]]
    if rare or len(names) < 2:
        raise ValueError(
            f"{path} has {len(names)} classes, {rare or 'none'} with a single row; expected at "
            "least two classes of two rows or more: one to train on and one to test on."
        )
    return table.numbers, y, tuple(map(str, names))


def _folder(cell: Cell) -> Split:
    """Return pictures (n, size, size, 3) from train/ and val/ of a folder, or a random split."""
    root = Path(cell.data.removeprefix(_FOLDER))
    if cell.resolution is None:
        raise ValueError(
            f"data {cell.data!r} has no resolution; expected a height for its pictures, such as "
            "--resolution 32."
        )
    if not root.is_dir():
        raise ValueError(
            f"{root} is no folder; expected a folder with a subfolder for every class."
        )
    split = load_folder_split(root, cell.resolution, _TEST, cell.seed)
    return split._replace(X_train=split.X_train[:], X_test=split.X_test[:])


_TABLES: dict[str, Callable[[], Table]] = {
    "breast-cancer": functools.partial(_bundled, "breast_cancer"),
    "wine": functools.partial(_bundled, "wine"),
    "iris": functools.partial(_bundled, "iris"),
    "digits-table": functools.partial(_bundled, "digits"),
    "covtype-like": _covtype_like,
}
DATA = ("digits", "fashion-mnist", "photos", "embeddings", *_TABLES)
"""Names of data sets; "covtype-like" is synthetic, the others are real."""
