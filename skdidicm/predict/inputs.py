"""Rows to predict, from .npy arrays, tables and images, in the shape that a model takes."""

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.errors import reason
from skdidicm.frames import PARQUET, read_frame
from skdidicm.tables import TableError, read_table

if TYPE_CHECKING:
    import pandas as pd

STANDARD_INPUT = "-"
_MOST_PIPED = 2**31  # bytes: what comes through a pipe has no size that could be checked first
_EXPECTED = "expected .npy, .csv, .tsv, .parquet or an image"
_KINDS = {".npy": "array", ".csv": "table", ".tsv": "table", ".parquet": "table"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of images, by their channels


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """The rows that a model takes.

    Parameters
    ----------
    shape : tuple of int
        Shape of one row, as in the model's `input_shape_`.
    pixel_max : float, default=255
        Value of white in the training images; only image files are scaled to it.
    crop : float, optional
        Fraction of an image's shorter side in the centre crop that the model was evaluated on. By
        default it is 1 if rows are square and in colour, as for files in `fit`, and other images
        are resized to `shape` whole.
    columns : sequence of str, optional
        Names of the model's columns; a table with other names, or another order, is refused.
    header : bool, optional
        Whether tables have a line of names; by default see `skdidicm.tables.read_table`.
    categories : sequence of str, optional
        Names of the columns that are categories, for a model whose columns may have gaps and text.
        Its columns are then found by their names, whatever their order, and others are ignored.
    """

    shape: tuple[int, ...]
    pixel_max: float = 255
    crop: float | None = None
    columns: Sequence[str] = ()
    header: bool | None = None
    categories: Sequence[str] | None = None


def read_rows(path: Path, model: RowFormat) -> Any:
    """Return the rows of a file as an array (n, *shape), or a data frame if the model takes one.

    The kind of a file is that of its suffix; what comes through a pipe, or from standard input
    ("-"), is recognised by its content.

    Raises
    ------
    ValueError or OSError
        If the file cannot be read or its rows do not fit the model.
    """
    name, piped = str(path), _piped(path)
    if piped is not None:
        kind, content = _kind(piped), piped
    elif path.is_file():
        kind = _KINDS.get(path.suffix.lower(), "image")
        content = path.read_bytes()
    else:
        raise FileNotFoundError(f"{path} is not a file; {_EXPECTED}.")
    if kind == "array":
        return _fit_shape(_array_of(content, name), model.shape, name)
    if kind == "table" and model.categories is not None:
        return _frame(content, name, model.columns, model.categories)
    if kind == "table" and content.startswith(PARQUET):
        return _fit_shape(_frame(content, name, model.columns, ()).to_numpy(), model.shape, name)
    if kind == "table":
        table = read_table(content, name, header=model.header, columns=model.columns)
        return _fit_shape(table.numbers, model.shape, name)
    return _image(content, name, model)


def _frame(
    content: bytes, name: str, columns: Sequence[str], categories: Sequence[str]
) -> "pd.DataFrame":
    """Return the columns of a model in a table that may have others; all without names."""
    frame = read_frame(content, name, categories)
    if not len(frame):
        raise TableError(f"{name} has no rows; expected at least one below the header.")
    missing = [column for column in columns if column not in frame]
    if missing:
        raise TableError(
            f"{name} lacks the columns {', '.join(missing)[:400]}, which the model takes; its "
            f"columns are {', '.join(map(str, frame))[:400]}."
        )
    return frame[list(columns)] if columns else frame


def _piped(path: Path) -> bytes | None:
    """Return what a pipe or standard input delivers, None for an ordinary file."""
    if str(path) == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise ValueError("- is the standard input, which is a terminal; pipe a file into it.")
        content = sys.stdin.buffer.read(_MOST_PIPED + 1)
    elif path.is_fifo():
        with path.open("rb") as file:
            content = file.read(_MOST_PIPED + 1)
    else:
        return None
    if len(content) > _MOST_PIPED:
        raise ValueError(
            f"{path} delivers more than {_MOST_PIPED} bytes; write them to a file and pass that."
        )
    if not content:
        raise ValueError(f"{path} is empty; {_EXPECTED}.")
    return content


def _kind(content: bytes) -> str:
    r"""Return the kind of a content without a name: image files have zero bytes, tables have none.

    Examples
    --------
    >>> _kind(b"1,2"), _kind(b"\x93NUMPY..."), _kind(b"\xff\xd8\xff\xe0\0")
    ('table', 'array', 'image')
    """
    if content.startswith(b"\x93NUMPY"):
        return "array"
    if content.startswith(PARQUET):
        return "table"
    is_utf_16 = content.startswith(
        (b"\xff\xfe", b"\xfe\xff")
    )  # refused as a table, with the reason
    is_portable = content[:1] == b"P" and content[1:2].isdigit()  # .pgm and .ppm
    return "image" if (b"\0" in content[:1024] and not is_utf_16) or is_portable else "table"


def _array_of(content: bytes, name: str) -> NDArray[Any]:
    """Return the array of a .npy file, after checking that the file holds what it claims."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{name} is not an array in NumPy's format ({reason(error)}); write it with numpy.save."
        ) from error
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} holds values of type {dtype}; expected an array of numbers.")
    held = len(content) - file.tell()
    if math.prod(shape) * dtype.itemsize != held:
        raise ValueError(
            f"{name} claims an array of shape {shape} and type {dtype} but holds {held} bytes of "
            "it; the file is damaged, so write it again."
        )
    values = np.frombuffer(content, dtype, offset=file.tell()) if held else np.empty(0, dtype)
    rows = values.reshape(shape, order="F" if by_columns else "C")
    return rows.astype(dtype.newbyteorder("="))


def _fit_shape(rows: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Return rows (n, *shape) from (n, *shape), from one row, or from flattened rows."""
    if rows.shape == shape:
        return rows[None]
    if rows.shape[1:] == shape:
        return rows
    size = math.prod(shape)
    if rows.ndim in (1, 2) and rows.size and rows.shape[-1] == size:
        return rows.reshape(-1, *shape)
    raise ValueError(
        f"{name} holds an array of shape {rows.shape}; the model takes rows of shape {shape}, so "
        f"expected (n, {', '.join(map(str, shape))})" + (f" or (n, {size})." if shape[1:] else ".")
    )


def _image(content: bytes, name: str, model: RowFormat) -> NDArray[Any]:
    """Return an image as one row (1, *shape), with the model's size and channels."""
    shape = model.shape
    mode = _MODES.get(shape[2] if len(shape) == 3 else 1)
    if len(shape) == 1 or mode is None:
        raise ValueError(
            f"{name} is not .npy, .csv or .tsv, and the model takes no images but rows of shape "
            f"{shape}; pass arrays or tables."
        )
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            f"{name} is read with Pillow, which is not installed; install it with: "
            "pip install pillow"
        ) from None
    from skdidicm.pictures import centre, open_picture

    picture = open_picture(io.BytesIO(content), name, mode)
    square = shape[0] == shape[1] and mode == "RGB"
    if model.crop is not None or square:
        picture = centre(picture, shape[0], model.crop or 1)
    else:
        picture = picture.resize((shape[1], shape[0]), Image.Resampling.BOX)
    pixels = np.asarray(picture).reshape(1, *shape)
    if model.pixel_max == 255:
        return pixels
    return (pixels * (model.pixel_max / 255)).astype(np.float32)
