"""Studies: several methods on the same data, trunk and augmentation, over seeds."""

from skdidicm.study.grid import Cell, Grid, cells
from skdidicm.study.methods import METHODS
from skdidicm.study.run import finished, run
from skdidicm.study.tables import summarise, to_csv, to_markdown

__all__ = [
    "METHODS",
    "Cell",
    "Grid",
    "cells",
    "finished",
    "run",
    "summarise",
    "to_csv",
    "to_markdown",
]
