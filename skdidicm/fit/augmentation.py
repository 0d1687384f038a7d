"""Changes to training images that keep their class, on host arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Augmentation = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]
"""Maps rows and a generator to changed rows."""

AUGMENTATIONS = ("auto", "shift")

_SHARE = 14  # a shift is at most a 14th of the image's size: 1 of 8 pixels, 2 of 28, 16 of 224


def shift(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return images (n, h, w[, c]), each moved by a few pixels, the border continued outwards.

    Examples
    --------
    >>> image = np.arange(64).reshape(1, 8, 8)
    >>> shift(image, np.random.default_rng(0)).shape
    (1, 8, 8)
    """
    n, height, width = images.shape[:3]
    moved: NDArray[Any] = images[
        np.arange(n)[:, None, None],
        _moved(n, height, rng)[:, :, None],
        _moved(n, width, rng)[:, None, :],
    ]
    return moved


def mix(
    x: NDArray[Any],
    target: NDArray[np.floating],
    weight: NDArray[np.floating],
    alpha: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Return rows, class probabilities and weights, each blended with those of another row (mixup).

    The greater share goes to the row itself and is drawn from Beta(alpha, alpha): near 1 for a
    small alpha, anything from 1/2 to 1 for alpha = 1.

    Parameters
    ----------
    x : array (n, ...)
        Rows; bytes and half floats become float32.
    target : array (n, k)
        Class probabilities.
    weight : array (n,)
        Weights > 0 of the rows.
    alpha : float
        Concentration > 0.
    rng : numpy.random.Generator
        Draws shares and partners.

    Examples
    --------
    >>> x, target = np.array([[0.0], [1.0]]), np.eye(2)
    >>> x, target, weight = mix(x, target, np.ones(2), 1.0, np.random.default_rng(1))
    >>> bool(np.allclose(x[:, 0], target[:, 1]))
    True
    """
    n = len(x)
    partner, share = rng.permutation(n), rng.beta(alpha, alpha, n)
    share = np.maximum(share, 1 - share)
    own, other = share * weight, (1 - share) * weight[partner]
    mixed = _columns(own, target) * target + _columns(other, target) * target[partner]
    part, total = _columns(share, x), own + other
    # In float64, so that bytes and floats of the same values are rounded alike.
    blend = (part * x + (1 - part) * x[partner]).astype(np.result_type(x.dtype, np.float32))
    return blend, mixed / total[:, None], total


def resolve_augmentation(
    augment: Augmentation | str | None, input_shape: tuple[int, ...]
) -> Augmentation | None:
    """Return the function that an estimator's `augment` names.

    Raises
    ------
    ValueError
        If it is no such name, or shifts the columns of a table.
    """
    table = len(input_shape) == 1
    if augment is None or callable(augment):
        return augment
    if augment not in AUGMENTATIONS:
        raise ValueError(
            f"augment is {augment!r}; expected None, one of {AUGMENTATIONS}, or a callable "
            "(rows, generator) -> rows."
        )
    if table and augment == "shift":
        raise ValueError("augment='shift' moves images, but X is a table; set augment=None.")
    return None if table else shift


def _columns(values: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return values (n,) shaped to multiply an array (n, ...)."""
    return values.reshape(-1, *([1] * (other.ndim - 1)))


def _moved(n: int, size: int, rng: np.random.Generator) -> NDArray[np.integer]:
    """Return for each of n images the source (n, size) of every pixel along one axis."""
    reach = max(1, round(size / _SHARE))
    offset = rng.integers(-reach, reach, size=(n, 1), endpoint=True)
    source: NDArray[np.integer] = np.clip(np.arange(size) + offset, 0, size - 1)
    return source
