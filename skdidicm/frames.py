"""Tables of numbers, text and gaps in CSV and parquet files, as data frames of pandas."""

import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.datasets import Split
from skdidicm.errors import reason
from skdidicm.tables import TableError, is_code, is_date, is_number

if TYPE_CHECKING:
    import pandas as pd

PARQUET = b"PAR1"  # how such a file begins
_GAPS = ("?",)  # besides those of pandas: empty cells, NA, N/A, NaN, null and None
_MAY_BE_CODE = re.compile(rb'[,\t\r\n][ "]*0\d')  # at the beginning of a cell


def read_frame(
    content: bytes, name: str, texts: Sequence[str] = (), *, codes: bool = False
) -> "pd.DataFrame":
    """Return a table whose first line holds the names of its columns.

    Parameters
    ----------
    content : bytes
        A parquet file, or UTF-8 text with commas, or tabs if the name ends in .tsv.
    name : str
        What to call the file in an error.
    texts : sequence of str
        Columns of a text file that stay text even where they look like numbers. The types of the
        others are guessed.
    codes : bool, default=False
        Whether other columns stay text as well if numbers in them begin with 0, such as 01002.

    Raises
    ------
    TableError
        If the file is anything else.
    ImportError
        Without pandas, or pyarrow for parquet.
    """
    try:
        import pandas as pd

        if content.startswith(PARQUET):
            frame = pd.read_parquet(io.BytesIO(content))
            return frame.set_axis([str(column) for column in frame.columns], axis=1)
        frame = _read_csv(content, name, texts)
        if codes and len(frame):
            texts = [*texts, *_codes(content, name, frame)]
            frame = _read_csv(content, name, texts)
    except ImportError as error:
        raise ImportError(
            f"{name} is read with pandas and pyarrow, of which one is not installed; install them "
            'with: pip install "skdidicm[tables]"'
        ) from error
    except (ValueError, OSError) as error:  # those of the parsers, too
        raise TableError(
            f"{name} cannot be read as a table ({reason(error)}); expected CSV in UTF-8 with "
            "commas, .tsv with tabs, or parquet."
        ) from error
    _check_header(frame, name)
    return frame[[column for column in frame if not str(column).startswith("Unnamed: ")]]


def _read_csv(content: bytes, name: str, texts: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(
        io.BytesIO(content),
        sep="\t" if name.lower().endswith(".tsv") else ",",
        dtype=dict.fromkeys(texts, str),
        na_values=list(_GAPS),
        skipinitialspace=True,
        low_memory=False,
        encoding="utf-8-sig",
    )


def _codes(content: bytes, name: str, frame: "pd.DataFrame") -> list[str]:
    """Return the columns of numbers in which some begin with 0."""
    numbers = [str(column) for column in frame if frame[column].dtype.kind in "if"]
    if not _MAY_BE_CODE.search(content):
        return []
    texts = _read_csv(content, name, numbers)
    return [c for c in numbers if any(map(is_code, texts[c].dropna()))]


def _check_header(frame: "pd.DataFrame", name: str) -> None:
    """Raise TableError unless the first line has the names of all columns."""
    names = [str(column) for column in frame.columns]
    if not frame.index.equals(type(frame)(index=range(len(frame))).index):
        raise TableError(
            f"{name} has rows with more cells than line 1 has names; give every column a name."
        )
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise TableError(
            f"{name} has one column with the name {names[0][:60]!r}; expected commas between the "
            "cells (tabs in a .tsv file) and a point in decimal numbers."
        )
    if all(map(is_number, names)):
        raise TableError(f"line 1 of {name} holds numbers; expected the names of the columns.")


def load_table(
    file: str | Path,
    target: str,
    *,
    dropped: Sequence[str] = (),
    categories: Sequence[str] = (),
    test_size: float = 0.2,
    seed: int = 0,
) -> Split:
    """Return training and test rows of a file, stratified by class.

    Rows without a target are left out.

    Parameters
    ----------
    file : str or Path
        A file that `read_frame` reads.
    target : str
        The column with the classes.
    dropped, categories : sequence of str
        Columns that are left out, and columns that are categories though they look like numbers.
    test_size : float, default=0.2
        Share of the rows that are test rows.
    seed : int, default=0
        Draws the test rows.

    Returns
    -------
    Split
        Data frames and labels; `class_names` is empty, since labels are their own names.

    Raises
    ------
    ValueError
        If the file has no such column, a column of dates, or a class with one row.
    """
    from sklearn.model_selection import train_test_split

    name = str(file)
    frame = read_frame(Path(file).read_bytes(), name, categories, codes=True)
    for column in (target, *dropped, *categories):
        if column not in frame:
            names = ", ".join(map(str, frame))[:400]
            raise TableError(f"{name} has no column {column!r}; its columns are {names}.")
    labelled = frame[frame[target].notna()]
    if not len(labelled):
        raise TableError(f"column {target!r} of {name} is empty; expected the classes of rows.")
    X = labelled.drop(columns=[target, *dropped]).reset_index(drop=True)
    if not X.shape[1]:
        raise TableError(f"{name} has no column but the target; expected columns to learn from.")
    _check_dates(X.drop(columns=list(categories), errors="ignore"), name)
    X = X.astype({column: "category" for column in categories if column in X})
    y = _labels(labelled[target].tolist(), target, name)
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise TableError(
            f"column {target!r} of {name} has the class {classes[counts.argmin()]} in "
            f"{counts.min()} of {len(y)} rows; expected two classes or more with two rows each, so "
            "leave out rows, or choose another column with --target."
        )
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=test_size, stratify=y, random_state=seed
    )
    return Split(X_train, y_train, X_test, y_test, ())


def _check_dates(X: "pd.DataFrame", name: str) -> None:
    """Raise TableError if a column holds dates, as text or as such."""
    for column in X:
        given, kind = X[column].dropna(), getattr(X[column].dtype, "kind", "O")
        as_text = kind == "O" and len(given) and isinstance(given.iloc[0], str)
        if kind in "mM" or (as_text and all(map(is_date, map(str, given)))):
            raise TableError(
                f"column {column!r} of {name} holds dates ({given.iloc[0]}); leave it out with "
                f"--drop {shlex.quote(str(column))}, or replace it by numbers such as the year and "
                "the month."
            )


def _labels(values: list[Any], target: str, name: str) -> NDArray[Any]:
    """Return the classes of the rows: integers, booleans or text."""
    labels = np.array(values)
    if labels.dtype.kind == "f":
        if (labels % 1 != 0).any():
            raise TableError(
                f"column {target!r} of {name} holds numbers such as {labels[labels % 1 != 0][0]}; "
                "expected classes, so cut them into ranges, or choose another column."
            )
        return labels.astype(np.int64)
    return labels if labels.dtype.kind in "biu" else np.array([str(value) for value in values])
