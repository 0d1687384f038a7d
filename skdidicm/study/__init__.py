"""Studies: several methods on the same data, trunk and augmentation, over seeds."""

from skdidicm.study.comparison import compare, overall
from skdidicm.study.grid import Cell, Grid, cells
from skdidicm.study.methods import METHODS
from skdidicm.study.rows import finished
from skdidicm.study.run import run
from skdidicm.study.tables import FIGURES, summarise, to_csv, to_markdown

__all__ = [
    "FIGURES",
    "METHODS",
    "Cell",
    "Grid",
    "cells",
    "compare",
    "finished",
    "overall",
    "run",
    "summarise",
    "to_csv",
    "to_markdown",
]
