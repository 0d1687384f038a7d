"""The rows of a study: one for every finished cell, in a file of JSON lines."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NotRequired, cast

from skdidicm.metrics import Scores
from skdidicm.study.grid import Cell

_LATER = {"corruption": None, "ratio": 1.0, "steps": None}  # columns that older files lack


class StudyScores(Scores):
    """The scores of a method on the test rows of a cell.

    `auroc` says how well high entropy tells wrong answers from right ones; it is None if all
    answers are right or all are wrong. `nll_oracle` is the NLL at the temperature that minimises
    it on the test rows: no temperature chosen without them can do better.
    """

    brier: float
    nll_oracle: float
    auroc: float | None


class CellRow(StudyScores):
    """A finished cell: the fields of `Cell`, its scores and its costs.

    The last two are there where a budget was chosen: the choice, and what the search took.
    """

    data: str
    n: int | None
    noise: float
    resolution: int | None
    seed: int
    method: str
    budget: float | str
    corruption: str | None
    ratio: float
    steps: int | None
    fit_seconds: float
    predict_seconds: float
    calls: float
    epochs: float
    chosen_budget: NotRequired[float]
    search_seconds: NotRequired[float]


def finished(path: str | Path) -> list[CellRow]:
    """Return the rows of a file of JSON lines, one per cell: of several, the first.

    A line that was cut short, because the study was killed while it wrote it, is left out.

    Raises
    ------
    ValueError
        If a line is whole but not the row of a cell.
    """
    path = Path(path)
    if not path.is_file():
        return []
    rows: dict[Cell, CellRow] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            content = json.loads(line)
        except ValueError:  # not whole, or not UTF-8
            continue
        try:
            row = cast("CellRow", _LATER | content)
            rows.setdefault(cell_of(row), row)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}, is not the row of a cell ({error!r}); expected a file "
                "that skdidicm study has written: remove the line, or choose another folder."
            ) from error
    return list(rows.values())


def append(path: Path, rows: Iterable[CellRow]) -> None:
    """Add rows to the file, on lines of their own even if its last line was cut short."""
    with path.open("a+b") as file:
        size = file.tell()
        if size:
            file.seek(size - 1)
            if file.read() != b"\n":
                file.write(b"\n")
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def cell_of(row: CellRow) -> Cell:
    """Return the cell that a row belongs to."""
    return Cell(**{name: row[name] for name in Cell.__dataclass_fields__})  # type: ignore[literal-required]
