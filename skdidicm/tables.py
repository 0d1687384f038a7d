"""Tables of numbers in text files, and cells that are safe to open in a spreadsheet.

No row is dropped or invented: a first line that may be a header or a row is refused, and so is
every cell that is not a finite number. Errors name the file and the line.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BOOLEAN = re.compile(r'(?im)(?:^|[,\t])[ "]*(?:true|false)[ "]*(?:[,\t\r]|$)')
_DATE = re.compile(
    r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}|\d{1,2}/\d{1,2}/\d\d)"
    r"(?:[ T]\d{1,2}:\d{2}.*)?"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class TableError(ValueError):
    """A file is not a table of numbers; the message names the line."""


@dataclass(frozen=True)
class Table:
    """Column names, if the file has them, numbers (n, d), and labels if they were asked for."""

    names: tuple[str, ...] | None
    numbers: NDArray[np.float64]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """What is expected of the lines of a file."""

    name: str
    separator: str
    labelled: bool
    first: int  # number of the first line that is not empty

    @property
    def start(self) -> str:
        return f"{self.name}: line {self.first}"


def read_table(
    content: bytes,
    name: str,
    *,
    header: bool | None = None,
    columns: Sequence[str] = (),
    labelled: bool = False,
) -> Table:
    """Return a table of comma-separated numbers; of tab-separated ones if the name ends in .tsv.

    Parameters
    ----------
    content : bytes
        The file, UTF-8 with or without a byte order mark.
    name : str
        What to call it in an error.
    header : bool, optional
        Whether the first line holds the names of the columns. By default it does if no cell in it
        is a number, or if it equals `columns`; it is a row if all cells are numbers. Anything else
        is refused, and so is 0, 1, 2, ..., which pandas writes for columns without names.
    columns : sequence of str, optional
        Expected names, in their order; other ones are refused.
    labelled : bool, default=False
        Whether the last column is a label, which may be any text.

    Raises
    ------
    TableError
        If the file is anything else.
    ImportError
        Without pandas.
    """
    text = _decode(content, name)
    blank = len(text) - len(text.lstrip("\n"))
    separator = "\t" if name.lower().endswith(".tsv") else ","
    layout, text = _Layout(name, separator, labelled, blank + 1), text.lstrip("\n")
    first = _first_line(text, layout)
    names = None
    if _has_header(first, layout, header, columns):
        names = tuple(cell.strip() for cell in first)
        _check_names(names, columns, layout)
        text = text.partition("\n")[2]
    table = _parse(text, layout, layout.first + (names is not None))
    width = table.numbers.shape[1] + labelled
    if names is not None and len(names) != width:
        raise TableError(
            f"{layout.start} has {len(names)} column names, but the rows have {width} cells."
        )
    return Table(names, table.numbers, table.labels)


def _brief(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _decode(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{name}: line {line} is not UTF-8 text (byte 0x{content[error.start]:02x}); save the "
            "table as CSV in UTF-8."
        ) from None
    return re.sub("\r\n?", "\n", text)


def _first_line(text: str, layout: _Layout) -> list[str]:
    line = text.partition("\n")[0]
    if not line.strip():
        raise TableError(f"{layout.name} is empty; expected a table of numbers.")
    if line.count('"') % 2:
        raise TableError(f"{layout.start} ends inside quotes; expected a whole row.")
    cells = next(csv.reader([line], delimiter=layout.separator))
    for other, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if other != layout.separator and any(other in cell for cell in cells):
            expected = "tabs" if layout.separator == "\t" else "commas (tabs in a .tsv file)"
            raise TableError(
                f"{layout.start} has {word} ({_brief(line, 60)}); expected {expected} "
                "between the cells and a point in decimal numbers."
            )
    return cells


def _has_header(
    first: Sequence[str], layout: _Layout, header: bool | None, columns: Sequence[str]
) -> bool:
    """Return whether the first line holds names; refuse a line that may be either."""
    if header is not None:
        return header
    if columns and [cell.strip() for cell in first] == list(columns):
        return True
    cells = first[:-1] if layout.labelled else first
    numeric = [is_number(cell) for cell in cells]
    if all(numeric):
        counted = [cell.strip() for cell in first] == [str(i) for i in range(len(first))]
        if counted and len(first) > 1:
            raise TableError(
                f"{layout.start} is {_brief(','.join(first), 40)}, a row or the column "
                "numbers that pandas writes as a header; " + _advice(layout)
            )
        return False
    if any(numeric) or not all(cell.strip() for cell in cells) or _BOOLEAN.search(cells[0]):
        cell = next(cell for cell, number in zip(cells, numeric, strict=True) if not number)
        raise TableError(
            f"{layout.start} has the cell {_brief(cell, 40)!r}, which is no number, so it "
            "is a row with a bad cell or a header with odd names; " + _advice(layout)
        )
    return True


def _advice(layout: _Layout) -> str:
    if layout.labelled:
        return "give every column a name in line 1."
    return "pass --header or --no-header, and write tables of pandas with index=False."


def _check_names(names: Sequence[str], columns: Sequence[str], layout: _Layout) -> None:
    if columns and list(names) != list(columns):
        raise TableError(
            f"{layout.name} has the columns {_brief(', '.join(names), 200)}; expected those of "
            f"the training, in their order: {_brief(', '.join(columns), 400)}."
        )


def _parse(text: str, layout: _Layout, start: int) -> Table:
    """Return the rows of a text whose first line has the number `start` in the file."""
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(
            f"{layout.name} is read with pandas, which is not installed; install it with: "
            'pip install "skdidicm[tables]"'
        ) from None
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=layout.separator,
            header=None,
            index_col=False,
            na_filter=False,
            dtype=str if layout.labelled else np.float64,
        )
        labels = tuple(map(str, frame.pop(frame.columns[-1]))) if layout.labelled else ()
        numbers = frame.to_numpy(dtype=np.float64)
    except ValueError as error:
        raise _explained(text, layout, start, str(error)) from error
    bad = not numbers.size or not np.isfinite(numbers).all()
    if bad or layout.labelled or _BOOLEAN.search(text):  # pandas fills short rows of text
        problem = _explained(text, layout, start, "")
        if problem.args[0]:
            raise problem
    return Table(None, numbers, labels)


def _explained(text: str, layout: _Layout, start: int, otherwise: str) -> TableError:
    """Return an error about the first line that is no row of finite numbers."""
    try:
        for line, cells, width in _rows(text, layout, start):
            if len(cells) != width:
                return TableError(
                    f"{layout.name}: line {line} has {len(cells)} cells; expected {width} as in "
                    "the first row."
                )
            for i, cell in enumerate(cells[:-1] if layout.labelled else cells, start=1):
                if not is_number(cell) or not math.isfinite(float(cell)):
                    return TableError(
                        f"{layout.name}: line {line} has {_brief(cell, 40)!r} in column {i}; "
                        "expected a finite number."
                    )
            if layout.labelled and (width < 2 or not cells[-1].strip()):
                return TableError(
                    f"{layout.name}: line {line} has {width} cells and the label {cells[-1]!r}; "
                    "expected numbers and, in the last column, a label."
                )
    except csv.Error as error:
        return TableError(f"{layout.name} is not a table ({error}); save it as CSV again.")
    if not text.strip():
        return TableError(f"{layout.name} has no rows; expected at least one below the header.")
    return TableError(otherwise and f"{layout.name} is not a table of numbers ({otherwise}).")


def _rows(text: str, layout: _Layout, start: int) -> Iterator[tuple[int, list[str], int]]:
    """Yield the number of every line with its cells, and how many cells the first row has."""
    reader = csv.reader(io.StringIO(text), delimiter=layout.separator)
    width = 0
    for cells in reader:
        if cells:
            width = width or len(cells)
            yield reader.line_num + start - 1, cells, width


def is_number(text: str) -> bool:
    """Return whether a cell is a number.

    Examples
    --------
    >>> is_number("1e-3"), is_number(" 2 "), is_number("width"), is_number("1_000")
    (True, True, False, False)
    """
    if "_" in text:  # which Python allows, and no table writes
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_code(text: str) -> bool:
    """Return whether a number is written as a code, with zeros in front.

    Examples
    --------
    >>> is_code("01002"), is_code("0"), is_code("0.5")
    (True, False, False)
    """
    return len(text) > 1 and text[0] == "0" and text.isdigit()


def is_date(text: str) -> bool:
    """Return whether a cell is a date, or a date and a time.

    Examples
    --------
    >>> is_date("2024-02-29"), is_date("29/02/2024 10:15"), is_date("12-13"), is_date("10.0.0.1")
    (True, True, False, False)
    """
    return _DATE.fullmatch(text.strip()) is not None


def safe_cell(text: str) -> str:
    r"""Return a cell for a CSV file that no spreadsheet takes for a formula.

    An apostrophe is put in front of texts that begin with `=`, `+`, `-`, `@`, a tab or a carriage
    return and are not numbers. Bytes that are not UTF-8 are written as `\xff`.

    Examples
    --------
    >>> safe_cell("=1+1"), safe_cell("-1"), safe_cell("cat")
    ("'=1+1", '-1', 'cat')
    """
    text = readable(text)
    if text.startswith(_FORMULA) and len(text) > 1 and not is_number(text):
        return f"'{text}"
    return text


def safe_row(row: Mapping[str, object]) -> dict[str, object]:
    """Return a row of a CSV file with safe cells; see `safe_cell`."""
    return {name: safe_cell(v) if isinstance(v, str) else v for name, v in row.items()}


def readable(text: str) -> str:
    r"""Return a text that can be encoded: bytes of names that are not UTF-8 become `\xff`.

    Examples
    --------
    >>> print(readable("caf\udce9"))
    caf\xe9
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
