"""The paper's grid of runs: resolution, fraction of the data, recipe, and objective."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

RESOLUTIONS = (224, 112, 56)
RATIOS = (1.0, 0.5, 0.25)
RECIPES = ("weak", "strong")
OBJECTIVES = ("cross-entropy", "score-entropy")
"""The baseline with the same stem and blocks, and DiDiCM."""


class Setting(NamedTuple):
    """A row of the table."""

    resolution: int
    data_ratio: float
    recipe: str


class Cell(NamedTuple):
    """One run."""

    resolution: int
    data_ratio: float
    recipe: str
    objective: str

    @property
    def name(self) -> str:
        """The name of its run folder.

        Examples
        --------
        >>> Cell(56, 0.25, "weak", "score-entropy").name
        '56-0.25-weak-score-entropy'
        """
        return f"{self.resolution}-{self.data_ratio:g}-{self.recipe}-{self.objective}"

    @property
    def setting(self) -> Setting:
        """The row of the table that contains it."""
        return Setting(self.resolution, self.data_ratio, self.recipe)


def plan(
    resolutions: Sequence[int] = RESOLUTIONS,
    ratios: Sequence[float] = RATIOS,
    recipes: Sequence[str] = RECIPES,
) -> list[Cell]:
    """Return the cells of a grid, row by row.

    Examples
    --------
    >>> len(plan())
    36
    """
    return [Cell(*cell) for cell in itertools.product(resolutions, ratios, recipes, OBJECTIVES)]


def select(cells: Sequence[Cell], wanted: str) -> list[Cell]:
    """Return the cells that match comma-separated patterns.

    A pattern is RESOLUTION:RATIO:RECIPE:OBJECTIVE; an omitted part or `*` matches all values.

    Raises
    ------
    ValueError
        If a pattern matches no cell.

    Examples
    --------
    >>> [cell.name for cell in select(plan(), "56:0.25:weak")]
    ['56-0.25-weak-cross-entropy', '56-0.25-weak-score-entropy']
    """
    kept: set[Cell] = set()
    for pattern in wanted.split(","):
        found = [cell for cell in cells if _fits(cell, pattern.strip().split(":"))]
        if not found:
            raise ValueError(
                f"--cells {pattern.strip()!r} matches no cell of the grid; expected "
                "RESOLUTION:RATIO:RECIPE:OBJECTIVE such as 56:0.25:weak, with * for all, of "
                f"{_values(cells)}."
            )
        kept.update(found)
    return [cell for cell in cells if cell in kept]


def _fits(cell: Cell, parts: Sequence[str]) -> bool:
    return len(parts) <= len(cell) and all(
        part in ("", "*") or _equal(value, part) for value, part in zip(cell, parts, strict=False)
    )


def _equal(value: object, text: str) -> bool:
    try:
        return text == value or float(text) == value
    except ValueError:
        return False


def _values(cells: Sequence[Cell]) -> str:
    columns = [list(dict.fromkeys(column)) for column in zip(*cells, strict=True)]
    texts = [[f"{v:g}" if isinstance(v, float) else str(v) for v in column] for column in columns]
    return ", ".join("/".join(column) for column in texts)
