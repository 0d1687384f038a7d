"""Changes that make rows harder to classify: fewer pixels, corruption, noise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 32  # pixels per side that corruptions need
_UNSEEDED = ("glass_blur", "impulse_noise")  # they draw from generators that cannot be seeded


def floats(x: NDArray[Any]) -> NDArray[np.floating]:
    """Return pixels scaled to [0, 1]; tables are unchanged."""
    return x / np.float32(255) if x.dtype == np.uint8 else x


def shrunk(x: NDArray[Any], size: int | None) -> NDArray[Any]:
    """Return square pictures (n, h, h) or (n, h, h, c) with blocks of pixels averaged."""
    if size is None or (x.ndim > 2 and x.shape[1] == size):
        return x
    if x.ndim < 3 or x.shape[1] != x.shape[2] or size < 1 or x.shape[1] % size:
        raise ValueError(
            f"resolution is {size}, but the rows have shape {x.shape[1:]}; expected square "
            "pictures and a divisor of their height."
        )
    block = x.shape[1] // size
    small: NDArray[Any] = x.reshape(len(x), size, block, size, block, *x.shape[3:]).mean(
        axis=(2, 4)
    )
    return small


def noisy(x: NDArray[Any], amplitude: float, rng: np.random.Generator) -> NDArray[Any]:
    """Return rows plus Gaussian noise of a standard deviation."""
    if amplitude == 0:
        return x
    noise = rng.standard_normal(x.shape, np.float32)
    changed: NDArray[Any] = x + x.dtype.type(amplitude) * noise
    return changed


def corrupted(x: NDArray[Any], text: str, seeds: NDArray[Any]) -> NDArray[np.uint8]:
    """Return corrupted pictures; those below 32 pixels per side are enlarged first.

    To enlarge a picture, its pixels are repeated a whole number of times and its edge pixels fill
    the rest. Grey pictures are corrupted as colour pictures and then averaged over the channels.

    Parameters
    ----------
    x : ndarray (n, h, w) or (n, h, w, 3)
        Pictures of uint8.
    text : str
        The corruption, as NAME:SEVERITY.
    seeds : ndarray (n,)
        A seed for every picture.
    """
    from skdidicm.imagenet.corruptions import Corruption

    change = Corruption(text)
    if change.name in _UNSEEDED:
        raise ValueError(
            f"corruption is {text!r}, which cannot be repeated from a seed; choose another one."
        )
    if x.dtype != np.uint8 or x.ndim < 3:
        raise ValueError(f"corruption is {text!r}, but the data is a table; expected pictures.")
    x = _enlarged(x)
    colour = x if x.ndim == 4 else np.repeat(x[..., None], 3, axis=3)
    state = np.random.get_state()  # noqa: NPY002 - the package draws from NumPy's own generator
    try:
        found = np.stack([_seeded(change, p, int(s)) for p, s in zip(colour, seeds, strict=True)])
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return found if x.ndim == 4 else np.rint(found.mean(axis=3)).astype(np.uint8)


def _seeded(change: Any, pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    np.random.seed(seed)  # noqa: NPY002
    changed: NDArray[np.uint8] = change(pixels)
    return changed


def _enlarged(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    for axis in (1, 2):
        x = x.repeat(max(1, _LEAST // x.shape[axis]), axis=axis)
        lack = max(0, _LEAST - x.shape[axis])
        pad = [(0, 0)] * x.ndim
        pad[axis] = (lack // 2, lack - lack // 2)
        x = np.pad(x, pad, mode="edge")
    return x
