"""Training rows that are held out, for what a method chooses on its own."""

import numpy as np

from skdidicm.datasets import Split

_STREAM = 1  # apart from the stream that draws the cell's rows and noise


def held_out(split: Split, seed: int, share: float) -> Split:
    """Return the split with a share of the training rows in place of the test rows.

    The rows are drawn at random, but every class keeps one to train on.
    """
    n, rng = len(split.y_train), np.random.default_rng((seed, _STREAM))
    order = rng.permutation(n)
    _, first = np.unique(split.y_train[order], return_index=True)
    held = np.delete(order, first)[: max(1, round(share * n))]
    if len(held) == 0:
        raise ValueError(
            f"a choice is to be made on held-out rows, but there are {n} training rows of "
            f"{len(first)} classes; expected more rows than classes: raise n."
        )
    kept = np.setdiff1d(order, held)
    X, y = split.X_train, split.y_train
    return split._replace(X_train=X[kept], y_train=y[kept], X_test=X[held], y_test=y[held])
