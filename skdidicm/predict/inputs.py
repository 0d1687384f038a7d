"""Rows to predict, from .npy arrays, .csv tables and pictures, in the shape that a model takes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.csv_lines import is_number, read_lines


def read_rows(
    path: Path,
    shape: tuple[int, ...],
    pixel_max: float = 255,
    crop: float | None = None,
    columns: Sequence[str] = (),
) -> NDArray[Any]:
    """Return the rows of a file as an array (n, *shape).

    Parameters
    ----------
    path : Path
        A .npy array, a .csv table of numbers with or without a header, or a picture.
    shape : tuple of int
        Shape of one row, as in the model's `input_shape_`.
    pixel_max : float, default=255
        What white is in the model's training images; only pictures are scaled to it.
    crop : float, optional
        Share of a picture's shorter side that the model saw of its centre; by default pictures
        are squeezed into the model's shape as a whole.
    columns : sequence of str, optional
        Names of the model's columns; a .csv table with other names, or another order, is refused.

    Raises
    ------
    ValueError or OSError
        If the file cannot be read or its rows do not fit the model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected .npy, .csv or a picture.")
    if path.suffix.lower() == ".npy":
        return _fit_shape(_read_npy(path), shape, path)
    if path.suffix.lower() == ".csv":
        return _fit_shape(_read_csv(path, columns), shape, path)
    if crop is not None:
        return _read_centre(path, shape, crop)
    return _read_picture(path, shape, pixel_max)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not an array of numbers in NumPy's format ({error}); write it with "
            "numpy.save."
        ) from error
    return np.asarray(rows)


def _read_csv(path: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    try:
        lines = read_lines(path)
        names = lines.pop(0) if lines and not all(map(is_number, lines[0])) else []
        table = np.array([[float(cell) for cell in line] for line in lines])
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is not a table of numbers ({error}); expected commas between numbers, the "
            "same count in every row, and at most one line of column names."
        ) from error
    if names and columns and names != list(columns):
        raise ValueError(
            f"{path} has the columns {', '.join(names)}; expected those of the training, in their "
            f"order: {', '.join(columns)}."
        )
    return table


def _fit_shape(rows: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    """Return rows (n, *shape) from (n, *shape), from one row, or from flattened rows."""
    if rows.shape == shape:
        return rows[None]
    if rows.shape[1:] == shape:
        return rows
    size = int(np.prod(shape))
    if rows.ndim in (1, 2) and rows.size and rows.shape[-1] == size:
        return rows.reshape(-1, *shape)
    raise ValueError(
        f"{path} holds an array of shape {rows.shape}; the model takes rows of shape {shape}, so "
        f"expected (n, {', '.join(map(str, shape))})" + (f" or (n, {size})." if shape[1:] else ".")
    )


def _read_centre(path: Path, shape: tuple[int, ...], crop: float) -> NDArray[Any]:
    """Return the centre of a picture (1, size, size, 3), as evaluation on folders sees it."""
    from skdidicm.imagenet.pictures import centre, open_picture

    return np.asarray(centre(open_picture(str(path), str(path)), shape[0], crop))[None]


def _read_picture(path: Path, shape: tuple[int, ...], pixel_max: float) -> NDArray[Any]:
    """Return a picture as one row (1, *shape), resized and with the model's channels."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(shape[2] if len(shape) == 3 else 1)
    if len(shape) == 1 or mode is None:
        raise ValueError(
            f"{path} is not .npy or .csv, and the model takes no pictures but rows of shape "
            f"{shape}; give it .npy or .csv files."
        )
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError(
            f"{path} can be read as a picture with Pillow only; install it with: pip install pillow"
        ) from None
    try:
        with Image.open(path) as picture:
            resized = picture.convert(mode).resize((shape[1], shape[0]), Image.Resampling.BOX)
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is neither .npy nor .csv nor a picture; convert it to one."
        ) from None
    pixels = np.asarray(resized).reshape(1, *shape)
    return pixels if pixel_max == 255 else (pixels * (pixel_max / 255)).astype(np.float32)
