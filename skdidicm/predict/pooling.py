"""How the answers of several networks become one."""

from skdidicm.core.arrays import Array, at_least, namespace, softmax
from skdidicm.metrics import FLOOR


def pooled(laws: Array, *, geometric: bool) -> Array:
    """Return the mean (..., k) of the answers (b, ..., k) of b networks.

    The geometric mean is the mean of the logits, and sums to one again. With many classes it is
    better: the arithmetic mean of networks that disagree is less sure than each of them, while the
    temperature is chosen for the answers of single networks.

    Examples
    --------
    >>> import numpy as np
    >>> laws = np.array([[0.9, 0.05, 0.05], [0.5, 0.25, 0.25]])
    >>> for geometric in (False, True):
    ...     print(np.round(pooled(laws, geometric=geometric), 2).tolist())
    [0.7, 0.15, 0.15]
    [0.75, 0.12, 0.12]
    """
    xp = namespace(laws)
    if not geometric or laws.shape[0] == 1:
        return xp.mean(laws, axis=0)
    return softmax(xp.mean(xp.log(at_least(laws, FLOOR)), axis=0))
