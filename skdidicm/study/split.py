"""Training rows that are held out, so that a method can make a choice on them."""

import numpy as np

from skdidicm.datasets import Split

_STREAM = 1  # another one draws the cell's rows and noise


def held_out(split: Split, seed: int, share: float) -> Split:
    """Return the split with a share of the training rows in place of the test rows.

    The rows are drawn at random; every class keeps at least one to train on.
    """
    n, rng = len(split.y_train), np.random.default_rng((seed, _STREAM))
    order = rng.permutation(n)
    _, first = np.unique(split.y_train[order], return_index=True)
    held = np.delete(order, first)[: max(1, round(share * n))]
    if len(held) == 0:
        raise ValueError(
            f"no row can be held out of {n} training rows of {len(first)} classes; expected more "
            "rows than classes: raise n."
        )
    kept = np.setdiff1d(order, held)
    X, y = split.X_train, split.y_train
    return split._replace(X_train=X[kept], y_train=y[kept], X_test=X[held], y_test=y[held])
