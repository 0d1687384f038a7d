"""Columns of tables: which are numbers and which categories, and how both become numbers.

A gap in a number becomes the mean of the column, and an indicator tells the network of it. A
category becomes indicators of its levels. `Columns` is learnt from the rows of the first fit and
stays: later rows go through the same step.
"""

import numbers
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.tables import is_code, is_date, is_number

FROM_DTYPE = "from_dtype"

MAX_LEVELS = 100
"""Most levels of a category that have an indicator of their own."""

MIN_COUNT = 2
"""Fewest rows of such a level: from one row, little can be learnt."""

_CATEGORIES = ("category", "text")  # kinds of columns
_NUMERIC = "biuf"  # NumPy's kinds: booleans, integers and floats
_MISSING = ("NAType", "NaTType")  # of pandas


@dataclass(frozen=True)
class Category:
    """The levels of a category.

    Attributes
    ----------
    levels : tuple of str
        Levels with an indicator of their own, sorted.
    other : bool
        Whether other levels have an indicator: those that were rare in the first fit, and those
        that it has not seen. Otherwise unseen levels are those without any indicator.
    missing : bool
        Whether gaps have an indicator: there were some in the first fit. Otherwise a gap is like an
        unseen level.
    """

    levels: tuple[str, ...]
    other: bool
    missing: bool

    @property
    def width(self) -> int:
        """Number of indicators."""
        return len(self.levels) + self.other + self.missing


@dataclass(frozen=True)
class Columns:
    """What the first fit learnt about the d columns of a table.

    Attributes
    ----------
    fill : ndarray (d,)
        Means, which take the place of gaps; 0 for categories.
    gaps : tuple of int
        Columns of numbers that had gaps. They have an indicator.
    categories : dict of int to Category
        The columns that are categories.

    Examples
    --------
    >>> columns = learn_columns(Values(np.array([[1.0, 0], [np.nan, 0]]), {1: ["a", "a"]}))
    >>> columns.gaps, columns.categories
    ((0,), {1: Category(levels=('a',), other=False, missing=False)})
    >>> encode(Values(np.array([[np.nan, 0], [3.0, 0]]), {1: ["a", "b"]}), columns)
    array([[1., 1., 1.],
           [3., 0., 0.]])
    """

    fill: NDArray[np.float64]
    gaps: tuple[int, ...] = ()
    categories: Mapping[int, Category] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """How many numbers the network receives for a row."""
        return len(self.sources)

    @property
    def sources(self) -> list[int]:
        """The column of every number that the network receives."""
        found = []
        for i in range(len(self.fill)):
            own = self.categories[i].width if i in self.categories else 1 + (i in self.gaps)
            found += [i] * own
        return found

    @property
    def plain(self) -> bool:
        """Whether the network receives the columns as they are."""
        return not self.gaps and not self.categories


@dataclass(frozen=True)
class Values:
    """The cells of a table.

    Attributes
    ----------
    numbers : ndarray (n, d)
        NaN in gaps, 0 in categories.
    texts : dict of int to list of str or None
        The levels of n rows for every category; None in gaps.
    """

    numbers: NDArray[np.floating]
    texts: Mapping[int, Sequence[str | None]] = field(default_factory=dict)


def learn_columns(values: Values) -> Columns:
    """Return what the rows of a first fit tell about their columns."""
    gaps = np.isnan(values.numbers)
    with np.errstate(over="ignore"):  # later, infinite moments are refused
        if gaps.any():
            n_given = np.maximum(1, (~gaps).sum(axis=0))
            fill = np.where(gaps, 0, values.numbers).sum(axis=0, dtype=np.float64) / n_given
        else:
            fill = values.numbers.mean(axis=0, dtype=np.float64)
    categories = {i: _learn_category(texts) for i, texts in values.texts.items()}
    return Columns(fill, tuple(np.flatnonzero(gaps.any(axis=0)).tolist()), categories)


def _learn_category(texts: Sequence[str | None]) -> Category:
    counts = Counter(texts)
    missing = counts.pop(None, 0) > 0
    by_count = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    levels = [str(level) for level, count in by_count[:MAX_LEVELS] if count >= MIN_COUNT]
    return Category(tuple(sorted(levels)), len(levels) < len(counts), missing)


def encode(values: Values, columns: Columns) -> NDArray[np.floating]:
    """Return what the network receives: numbers without gaps, and indicators (n, width)."""
    numbers, gaps = values.numbers, np.isnan(values.numbers)
    if gaps.any():
        numbers = np.where(gaps, columns.fill, numbers).astype(numbers.dtype)
    if columns.plain:
        return numbers
    blocks: list[NDArray[Any]] = []
    for i in range(numbers.shape[1]):
        if i in columns.categories:
            blocks.append(_indicators(values.texts[i], columns.categories[i]))
        else:
            blocks.append(numbers[:, i : i + 1])
            if i in columns.gaps:
                blocks.append(gaps[:, i : i + 1])
    return np.concatenate(blocks, axis=1, dtype=numbers.dtype)


def _indicators(texts: Sequence[str | None], category: Category) -> NDArray[np.bool_]:
    """Return indicators (n, width) of the levels, of other ones and of gaps."""
    place: dict[str | None, int] = {level: j for j, level in enumerate(category.levels)}
    n_levels, nowhere = len(place), category.width
    other = n_levels if category.other else nowhere
    place[None] = n_levels + category.other if category.missing else other
    rows = [place.get(text, other) for text in texts]
    return np.eye(nowhere + 1, nowhere, dtype=bool)[rows]


def find_categories(X: Any, chosen: Any) -> frozenset[int]:
    """Return the places of the columns that are categories.

    Parameters
    ----------
    X : array-like or data frame (n, d)
        The table.
    chosen : "from_dtype", None or array-like
        "from_dtype" finds columns of a data frame that hold categories or text; an array-like has
        their names, their places, or a bool for every column.

    Raises
    ------
    ValueError
        If it names no column of X, or if text that is not chosen by name holds dates.
    """
    if chosen is None:
        return frozenset()
    columns = _columns_of(X)
    if isinstance(chosen, str):  # from_dtype
        kinds = dict(enumerate(map(_kind, columns or ())))
        for i, kind in kinds.items():
            if kind == "text":
                _check_no_dates(X, i)
        return frozenset(i for i, kind in kinds.items() if kind in _CATEGORIES)
    given, d = np.asarray(chosen), X.shape[1]
    if given.size == 0:
        return frozenset()
    if given.dtype.kind == "b" and given.shape == (d,):
        return frozenset(np.flatnonzero(given).tolist())
    if given.dtype.kind in "iu" and given.ndim == 1 and given.min() >= 0 and given.max() < d:
        return frozenset(given.tolist())
    names = [str(name) for name in X.columns] if columns is not None else []
    if given.dtype.kind not in "UO" or not set(map(str, given.flat)) <= set(names):
        raise ValueError(
            f"categorical_features is {chosen!r}; expected 'from_dtype', None, or some of the "
            f"{d} columns of X by their names in a data frame, by their places from 0 on, or as "
            f"{d} bools."
        )
    return frozenset(names.index(str(name)) for name in given.flat)


def check_names(X: Any) -> None:
    """Raise ValueError if a data frame has no columns, or two of the same name."""
    names = [] if _columns_of(X) is None else [str(name) for name in X.columns]
    if _columns_of(X) == []:
        raise ValueError("X has no columns; expected at least one.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"X has several columns with the name {twice[0]!r}; give every column its own name."
        )


def doubts(X: Any, values: Values, columns: Columns) -> list[str]:
    """Return sentences about columns of text that the user may want to change first."""
    found = []
    for i, column in enumerate(_columns_of(X) or ()):
        if i not in columns.categories or _kind(column) != "text":
            continue
        texts = [text for text in values.texts[i] if text is not None]
        if not texts:
            continue
        name, shown = repr(str(X.columns[i])), repr(_brief(texts[0]))
        if all(is_number(text) for text in texts) and not any(map(is_code, texts)):
            found.append(
                f"column {name} of X holds numbers as text ({shown}), which are taken as "
                "categories; convert it with pandas.to_numeric, or list all categories by their "
                "names in categorical_features."
            )
        elif not columns.categories[i].levels:
            found.append(
                f"column {name} of X holds text ({shown}) that does not repeat, so nothing is "
                "learnt from it; leave it out, or replace it by numbers or categories."
            )
    return found


def needs_reading(X: Any, categories: Iterable[int]) -> bool:
    """Return whether a table is to be read column by column, rather than as an array.

    Examples
    --------
    >>> import pandas as pd
    >>> [needs_reading(np.array([[1.0, gap]], dtype=object), ()) for gap in (None, pd.NA)]
    [False, True]
    """
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":  # NumPy knows no gap but NaN and None
        return bool(categories) or any(type(value).__name__ in _MISSING for value in X.flat)
    return bool(categories) or any(_kind(column) != "plain" for column in _columns_of(X) or ())


def read_values(X: Any, categories: Iterable[int], *, in_fit: bool) -> Values:
    """Return the cells of a table (n, d).

    Raises
    ------
    ValueError
        If a column that is no category holds anything but numbers, booleans and gaps.
    """
    columns = _columns_of(X)
    names = None if columns is None else [str(name) for name in X.columns]
    if columns is None:
        X = np.asarray(X)
        columns = list(X.T)
    chosen = frozenset(categories)
    found = np.zeros((X.shape[0], len(columns)))
    texts: dict[int, list[str | None]] = {}
    for i, column in enumerate(columns):
        if i in chosen:
            texts[i] = [_text(value) for value in _cells(column)]
        else:
            try:
                found[:, i] = _numbers(column)
            except (TypeError, ValueError) as error:
                raise _no_numbers(column, i, names, in_fit=in_fit) from error
    return Values(found, texts)


def column_error(X: Any, *, in_fit: bool) -> ValueError | None:
    """Return an error that names a column of infinity or text in a table; None without one."""
    if len(X.shape) == 1 and getattr(X.dtype, "kind", "O") in "OUS":
        return ValueError(
            f"Expected 2D array, got 1D array instead: X has shape {X.shape}; pass a table (n, d), "
            "and a single row as a table of one."
        )
    columns = _columns_of(X)
    for i, column in enumerate(columns or ()):
        if _kind(column) in ("plain", "number") and np.isinf(_numbers(column)).any():
            return ValueError(
                f"column {str(X.columns[i])!r} of X contains infinity; replace it by a number, or "
                "by NaN for a gap."
            )
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUS" and X.ndim == 2:
        for i, column in enumerate(X.T):
            try:
                column.astype(np.float64)
            except ValueError:
                return _no_numbers(column, i, None, in_fit=in_fit)
            except TypeError:
                break
    return None


def _columns_of(X: Any) -> list[Any] | None:
    """Return the columns of a data frame of pandas or polars, None for arrays."""
    if hasattr(X, "iloc") and len(X.shape) == 2:
        return [X.iloc[:, i] for i in range(X.shape[1])]
    if hasattr(X, "get_columns"):
        return list(X.get_columns())
    return None


def _cells(column: Any) -> list[Any]:
    """Return the cells of a column of a frame or an array."""
    cells: list[Any] = column.to_list() if hasattr(column, "to_list") else column.tolist()
    return cells


def _kind(column: Any) -> str:
    """Return the kind of a data frame's column: plain, number, category, text, date or mixed.

    Examples
    --------
    >>> import pandas as pd
    >>> _kind(pd.Series([1, 2])), _kind(pd.Series([True, None])), _kind(pd.Series(["a", None]))
    ('plain', 'number', 'text')
    """
    dtype, name = column.dtype, str(column.dtype).lower()
    if hasattr(dtype, "is_temporal"):  # polars
        if dtype.is_numeric():
            return "plain"
        if dtype.is_temporal():
            return "date"
        name = name.partition("(")[0]
        kinds = {"boolean": "number", "null": "number", "object": "mixed"}
        kinds |= {"string": "text", "categorical": "category", "enum": "category"}
        return kinds.get(name, "mixed")
    if getattr(dtype, "kind", "O") in _NUMERIC:
        return "plain"
    if getattr(dtype, "kind", "O") in "mM" or name.startswith("period"):
        return "date"
    if name == "category":
        return "category"
    if name.startswith(("string", "large_string", "str")):
        return "text"
    return _kind_of_objects(_cells(column))


def _kind_of_objects(values: Iterable[Any]) -> str:
    given = {type(value) for value in values if not is_missing(value)}
    if all(issubclass(kind, numbers.Number | np.bool_) for kind in given) and complex not in given:
        return "number"
    if all(issubclass(kind, str) for kind in given):
        return "text"
    return "date" if all(hasattr(kind, "strftime") for kind in given) else "mixed"


def is_missing(value: Any) -> bool:
    """Return whether a cell is a gap: NaN, None, NA or NaT."""
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in _MISSING


def _text(value: Any) -> str | None:
    """Return a level as text, the same for 3, 3.0 and "3"; None for a gap.

    Examples
    --------
    >>> _text("a"), _text(3), _text(3.0), _text(0.5), _text(True), _text(float("nan"))
    ('a', '3', '3', '0.5', 'True', None)
    """
    if isinstance(value, str):
        return str(value)
    if is_missing(value):
        return None
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        whole = float(value).is_integer()
        return str(int(value) if whole else float(value))
    return str(value)


def _numbers(column: Any) -> NDArray[np.float64]:
    """Return the numbers of a column of a frame or an array; gaps are NaN."""
    if hasattr(column, "cast"):  # polars
        if _kind(column) not in ("plain", "number"):
            raise TypeError("the column holds no numbers.")
        found = column.cast(float).to_numpy()
    elif hasattr(column, "iloc"):
        if _kind(column) in ("date", "mixed"):
            raise TypeError("the column holds no numbers.")
        found = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        cells = _cells(column) if column.dtype.kind == "O" else column
        found = np.array([np.nan if is_missing(cell) else float(cell) for cell in cells])
    return np.asarray(found, dtype=np.float64)


def _no_numbers(
    column: Any, place: int, names: Sequence[str] | None, *, in_fit: bool
) -> ValueError:
    """Return an error that says what a column holds instead of numbers, and what to do."""
    name = repr(names[place]) if names else str(place)
    values = [value for value in _cells(column) if not is_missing(value)]
    kind = _kind(column) if names else _kind_of_objects(values)
    if kind == "date":
        return ValueError(
            f"column {name} of X holds dates or durations ({column.dtype}); replace it by numbers, "
            "such as the year, the month and the days since a fixed date, or leave it out."
        )
    found = sorted((value for value in values if isinstance(value, str)), key=is_number)
    text = found[0] if found else None
    if text is None:
        kinds = ", ".join(sorted({type(value).__name__ for value in values})[:5])
        return ValueError(
            f"column {name} of X holds values of type {kinds}; expected numbers or categories, so "
            "replace it by columns of these, or leave it out."
        )
    shown = _brief(text)
    if not in_fit:
        return ValueError(
            f"column {name} of X holds text ({shown!r}), but numbers in fit; pass numbers, and NaN "
            "where there is none."
        )
    if kind == "mixed":
        return ValueError(
            f"column {name} of X holds text ({shown!r}) and other values; make it one type: text "
            "with astype(str), or numbers with pandas.to_numeric(column, errors='coerce')."
        )
    chosen = name if names else str(place)
    return ValueError(
        f"column {name} of X holds text ({shown!r}); to use it as a category, pass a data frame "
        f"or categorical_features=[{chosen}]; otherwise replace it by numbers."
    )


def _check_no_dates(X: Any, place: int) -> None:
    """Raise ValueError if all cells of a column of text are dates."""
    texts = [value for value in _cells(_columns_of(X)[place]) if isinstance(value, str)]  # type: ignore[index]
    if texts and all(map(is_date, texts)):
        raise ValueError(
            f"column {str(X.columns[place])!r} of X holds dates as text ({texts[0]!r}); replace it "
            "by numbers, such as the year, the month and the days since a fixed date, leave it "
            "out, or list it with all categories by their names in categorical_features."
        )


def _brief(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
