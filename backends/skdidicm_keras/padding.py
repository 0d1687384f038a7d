"""Rows padded to few different numbers, so that compiled functions are traced less often."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def padded(n: int) -> int:
    """Return n rounded up to four significant bits, so that few numbers of rows are traced.

    Examples
    --------
    >>> [padded(n) for n in (1, 16, 17, 668)]
    [1, 16, 18, 704]
    """
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


def filled(rows: NDArray[Any], n: int) -> NDArray[Any]:
    """Return n rows, padded with copies of the first one."""
    missing = n - len(rows)
    return np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows
