"""Pictures in files of any mode and size, as 8 bits per channel and arrays of one size."""

import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.errors import reason

MAX_PIXELS = 2**27
"""A larger image is not decoded, since it may be a decompression bomb."""

_LONGEST = 64  # times the shorter side, of what is resized: 224 pixels then take 10 MB

_MOST_THREADS = 8  # that decode; Pillow decodes outside Python's lock
_LOADING = threading.Lock()  # of opened pictures, one of which may stand in several rows


class BadPictureError(ValueError):
    """A file is not an image, or it is damaged."""


def open_picture(file: str | IO[bytes], name: str, mode: str = "RGB") -> Any:
    """Read a file as an upright PIL image.

    EXIF rotation is applied; palettes, CMYK and alpha are converted; grey values of 16 bits,
    32-bit integers and floating-point numbers are scaled to 8 bits.

    Parameters
    ----------
    file : str or binary file
        The file.
    name : str
        Its name in an error message.
    mode : {"RGB", "L", "RGBA"}, default="RGB"
        Mode of the image: colour, grey, or colour with alpha.

    Raises
    ------
    BadPictureError
        If it cannot be decoded completely.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with without_warnings(), Image.open(file) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BadPictureError(
                    f"{name} claims {width} x {height} pixels, more than {MAX_PIXELS}; it is not "
                    "opened, since it may be made to fill the memory."
                )
            return upright(picture, mode)
    except BadPictureError:
        raise
    except UnidentifiedImageError as error:  # whose message may hold an address in memory
        raise BadPictureError(
            f"{name} cannot be read as a picture (Pillow knows no such format); replace or "
            "remove it."
        ) from error
    except Exception as error:  # decoders of damaged files raise whatever they meet
        raise BadPictureError(
            f"{name} cannot be read as a picture ({reason(error)}); replace or remove it."
        ) from error


def upright(picture: Any, mode: str = "RGB") -> Any:
    """Return a PIL image turned as its EXIF data say, in another mode."""
    from PIL import ImageOps

    picture.load()
    return ImageOps.exif_transpose(_converted(picture, mode))


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore warnings of Pillow about broken EXIF, and about sizes, which are checked here.

    Python's filters are shared by all threads, so only the main thread changes them. Readers that
    use threads enter this once around them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _converted(picture: Any, mode: str) -> Any:
    from PIL import Image

    if picture.mode == mode:
        return picture
    if picture.mode[0] in "IF":  # 16 bits or floats, which convert() would clip at 255
        grey = _eight_bits(np.asarray(picture), deep=picture.mode != "I")
        converted = Image.fromarray(grey).convert(mode)
        converted.info["exif"] = picture.getexif().tobytes()
        return converted
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    return picture.convert(mode)


def _eight_bits(values: NDArray[Any], *, deep: bool) -> NDArray[np.uint8]:
    """Return grey values from 0 to 255, of integers or floating-point numbers.

    Integers that are `deep` have 16 bits. Those of 32 bits do not say where white is: they hold
    what had 8 bits, or 16 if one is above 255.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind != "f":
        if not (low >= 0 and high < 1 << 16):
            raise ValueError(
                f"its values lie between {low} and {high}; expected 0 to 255 or 0 to 65535"
            )
        return (values >> 8 if deep or high > 255 else values).astype(np.uint8)
    if not (low >= 0 and high <= 255):  # false for NaN, too
        raise ValueError(f"its values lie between {low} and {high}; expected 0 to 1 or 0 to 255")
    return np.round(values * (255 if high <= 1 else 1)).astype(np.uint8)


def centre(picture: Any, size: int, crop: float) -> Any:
    """Return the centre crop of a PIL image, size x size, as in evaluation.

    `crop` is the fraction of the shorter side that is kept. The ends of a strip are cut off first,
    since a strip would take its length times the memory.
    """
    from PIL import Image

    longest = _LONGEST * min(picture.size)
    if max(picture.size) > longest:
        cut = [max(0, side - longest) // 2 for side in picture.size]
        picture = picture.crop((*cut, picture.width - cut[0], picture.height - cut[1]))
    short = math.floor(size / crop)
    width, height = (int(short * side / min(picture.size)) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, upper = round((width - size) / 2), round((height - size) / 2)
    return resized.crop((left, upper, left + size, upper + size))


class Pictures:
    """Pictures as an array (n, size, size, 3) of bytes that are decoded when they are indexed.

    Indexing with a slice or an array of numbers returns an array; `take` returns `Pictures`.

    Parameters
    ----------
    sources : sequence of path, PIL image or callable
        The pictures, or functions that return one. Of one that is no square, the centre is taken.
    size : int
        Side in pixels.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, sources: Sequence[Any], size: int) -> None:
        self.sources, self.size = sources, size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return len(self.sources), self.size, self.size, 3

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """Return decoded pictures.

        Raises
        ------
        BadPictureError
            If one cannot be read.
        """
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            found: NDArray[np.uint8] = self._decoded(int(chosen))
            return found
        x = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        with (
            without_warnings(),
            ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool,
        ):
            for row, decoded in zip(x, pool.map(self._decoded, chosen.tolist()), strict=True):
                row[...] = decoded
        return x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def take(self, rows: Any) -> "Pictures":
        """Return some of the pictures, not decoded."""
        return Pictures([self.sources[i] for i in np.arange(len(self))[rows].tolist()], self.size)

    def _decoded(self, row: int) -> NDArray[np.uint8]:
        source = self.sources[row]
        source = source() if callable(source) else source
        if isinstance(source, str | os.PathLike):
            picture = open_picture(os.fspath(source), str(source))
        else:
            with _LOADING:
                source.load()
            picture = upright(source)
        return np.asarray(centre(picture, self.size, 1))
