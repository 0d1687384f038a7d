"""Lines of CSV files, for what reads tables of numbers."""

import csv
from pathlib import Path


def read_lines(path: Path) -> list[list[str]]:
    """Return the cells of every line that is not empty."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [line for line in csv.reader(file) if line]


def is_number(text: str) -> bool:
    """Return whether a cell is a number.

    Examples
    --------
    >>> is_number("1e-3"), is_number("width")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True
