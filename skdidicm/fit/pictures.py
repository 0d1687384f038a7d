"""Pictures of any sizes, in files, opened, or in a data set of torch, as rows of one size."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.fit.pretrained import trunk_config
from skdidicm.pictures import Pictures, without_warnings
from skdidicm.registry import new_trunk

_LARGEST = 48  # pixels a side that a network which is not pretrained gets by default
_PRETRAINED = 224  # pixels a side for a pretrained module that does not say its size
_SAMPLED = 100  # pictures whose sizes are looked at
_MEMORY_SHARE = 0.5  # of the machine's, that decoded pictures may take


@dataclass(frozen=True)
class Item:
    """A picture of a data set, read when it is called."""

    data: Any
    row: int

    def __call__(self) -> Any:
        """Return the path or the PIL image."""
        item = self.data[self.row]
        return as_image(item[0] if isinstance(item, tuple | list) else item)


def sources_of(X: Any) -> Sequence[Any] | None:
    """Return the pictures of X, None if X is an array or another collection of numbers.

    Raises
    ------
    ValueError
        If X is a loader or a data set that hands out its rows in another way, or if pictures are
        mixed with something else.
    """
    _refuse_loaders(X)
    if isinstance(X, Pictures):
        return X.sources
    if isinstance(X, str | bytes | Mapping):  # their elements would pass for paths
        return None
    if len(getattr(X, "shape", (0,))) != 1 or not (hasattr(X, "__len__") and len(X)):
        return None
    if _is_data_set(X):
        return [Item(X, row) for row in range(len(X))] if _has_pictures(X) else None
    first = next(iter(X), None)
    if isinstance(first, bytes) or hasattr(first, "read"):
        raise ValueError(
            f"X holds {type(first).__name__} objects; pass the paths of pictures, or what "
            "PIL.Image.open returns for each (of bytes, with io.BytesIO)."
        )
    return [as_image(value) for value in X] if _is_picture(first) else None


def labelled(X: Any) -> tuple[Any, Any]:
    """Return a data set of (picture, label) as X and y; without labels y is None.

    Labels are the data set's `targets`, if it has them; otherwise every item is read once.
    """
    _refuse_loaders(X)
    if not (_is_data_set(X) and len(X) and isinstance(X[0], tuple | list) and len(X[0]) == 2):
        return X, None
    targets = getattr(X, "targets", None)
    if targets is None or len(targets) != len(X) or getattr(X, "target_transform", None):
        targets = [X[row][1] for row in range(len(X))]
    return X, np.asarray(targets)


def check_pictures(
    sources: Sequence[Any], parameters: Mapping[str, Any], expected: tuple[int, ...] | None
) -> Pictures:
    """Return pictures of the size that a fitted estimator takes; None chooses the size.

    Raises
    ------
    ValueError
        If there is a source that is no picture, or the estimator takes no colour pictures.
    """
    if expected is None:
        return Pictures(sources, _size(sources, parameters))
    if len(expected) != 3 or expected[0] != expected[1] or expected[2] != 3:
        raise ValueError(
            f"X holds pictures, but the estimator was fitted on rows of shape {expected}; pass an "
            "array of such rows, or fit on files or pictures."
        )
    return Pictures(sources, expected[0])


def decoded(pictures: Pictures) -> NDArray[np.uint8]:
    """Return all pictures as one array.

    Raises
    ------
    ValueError
        If it would not fit into memory.
    """
    n_bytes = int(np.prod(pictures.shape, dtype=np.float64))
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # of other systems it is not known
        memory = 0
    if memory and n_bytes > _MEMORY_SHARE * memory:
        size = f"{pictures.size} pixels"
        raise ValueError(
            f"{len(pictures)} pictures of {size} take {n_bytes / 2**30:.1f} GB when decoded, and "
            f"this machine has {memory / 2**30:.1f} GB; pass a smaller image_size, "
            "freeze a pretrained network, which reads them in parts, or use the command skdidicm "
            "train imagenet."
        )
    return pictures[:]


def as_image(value: Any) -> Any:
    """Return a path or PIL image as it is, and an array or tensor as a PIL image.

    Raises
    ------
    ValueError
        If the value is no picture.
    """
    if _is_picture(value):
        return value
    from PIL import Image

    is_tensor = hasattr(value, "detach")
    pixels = np.asarray(value.detach().cpu() if is_tensor else value)
    if is_tensor and pixels.ndim == 3:  # torch has the channels first
        pixels = pixels.transpose(1, 2, 0)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    flat_or_colours = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in (2, 3, 4))
    if not flat_or_colours or pixels.dtype.kind not in "uif" or pixels.size == 0:
        raise ValueError(
            f"an item of X is a {type(value).__name__} of shape {pixels.shape}; expected the path "
            "of a picture, a PIL image, an array (height, width, channels), or a tensor with the "
            "channels first."
        )
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1 and pixels.dtype.kind == "f"):
            raise ValueError(
                f"a picture of X has values from {low:.3g} to {high:.3g}; expected bytes, or "
                "numbers from 0 to 1. Leave Normalize out of its transform: the estimator does it."
            )
        pixels = np.round(pixels * 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _size(sources: Sequence[Any], parameters: Mapping[str, Any]) -> int:
    """Return the side in pixels: that which was asked for, or the one of the network."""
    given = parameters["image_size"]
    if not isinstance(given, str):
        return int(given)
    if parameters["pretrained"]:
        config = trunk_config(parameters, np.zeros((1, _PRETRAINED, _PRETRAINED, 3), np.uint8))
        assert config is not None
        wanted = new_trunk(parameters["backend"], replace(config, weights=False)).config.preparation
        return _PRETRAINED if wanted is None else max(wanted.size)
    step = max(1, len(sources) // _SAMPLED)
    return min(_LARGEST, int(np.median([min(_dimensions(s)) for s in sources[::step]])))


def _dimensions(source: Any) -> tuple[int, int]:
    """Return width and height, of a file without decoding it."""
    from PIL import Image

    picture = source() if callable(source) else source
    try:
        if not isinstance(picture, str | os.PathLike):
            width, height = picture.size
        else:
            with without_warnings(), Image.open(picture) as opened:
                width, height = opened.size
    except Exception:  # what cannot be read is refused when it is decoded
        return _LARGEST, _LARGEST
    return int(width), int(height)


def _is_picture(value: Any) -> bool:
    """Return whether a value is a path or a PIL image."""
    of_pillow = any(kind.__module__ == "PIL.Image" for kind in type(value).__mro__)
    return of_pillow or isinstance(value, str | os.PathLike)


def _is_data_set(X: Any) -> bool:
    """Return whether X hands out items by number and is no list, array or column."""
    return (
        hasattr(X, "__getitem__")
        and hasattr(X, "__len__")
        and not hasattr(X, "shape")
        and not isinstance(X, Sequence | Mapping | str | bytes)
        and not hasattr(X, "__array__")
    )


def _has_pictures(X: Any) -> bool:
    """Return whether the first item of a data set is a picture, or a pair with one."""
    item = X[0]
    if isinstance(item, tuple | list):
        return len(item) == 2
    return _is_picture(item) or len(getattr(item, "shape", ())) in (2, 3)


def _refuse_loaders(X: Any) -> None:
    """Raise ValueError for loaders and data sets that say how else to pass their rows."""
    kind, is_array = type(X), hasattr(X, "shape")  # columns of a frame have any names
    if not is_array and hasattr(X, "dataset") and hasattr(X, "batch_size"):
        raise ValueError(
            f"X is a {kind.__name__}, which hands out batches; pass its data set: "
            "fit(loader.dataset)."
        )
    if not is_array and hasattr(X, "as_numpy_iterator"):
        raise ValueError(
            "X is a data set of tf.data; collect its rows first: X, y = map(numpy.stack, "
            "zip(*data.unbatch().as_numpy_iterator())), then fit(X, y)."
        )
    features = getattr(X, "features", None)
    if isinstance(features, Mapping) and hasattr(X, "column_names"):
        image, label = _columns(features)
        raise ValueError(
            f"X is a {kind.__name__} of columns; pass two of them: fit(data[{image!r}], "
            f"data[{label!r}])."
        )


def _columns(features: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the columns of pictures and labels, as far as they are known."""
    kinds = {type(feature).__name__: name for name, feature in reversed(list(features.items()))}
    return kinds.get("Image", "image"), kinds.get("ClassLabel", "label")
