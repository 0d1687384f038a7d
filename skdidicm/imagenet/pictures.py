"""Decoding of image files of any mode to 8 bits per channel."""

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 2**27
"""A larger image is not decoded, since it may be a decompression bomb."""


class BadPictureError(ValueError):
    """A file is not an image, or it is damaged."""


def open_picture(file: str | IO[bytes], name: str, mode: str = "RGB") -> Any:
    """Read a file as an upright PIL image.

    EXIF rotation is applied; palettes, CMYK and alpha are converted; 16-bit grey and
    floating-point values are scaled to 8 bits.

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
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with without_warnings(), Image.open(file) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BadPictureError(
                    f"{name} claims {width} x {height} pixels, more than {MAX_PIXELS}; it is not "
                    "opened, since it may be made to fill the memory."
                )
            picture.load()
            return ImageOps.exif_transpose(_converted(picture, mode))
    except BadPictureError:
        raise
    except UnidentifiedImageError as error:  # whose message may hold an address in memory
        raise BadPictureError(
            f"{name} cannot be read as a picture (Pillow knows no such format); replace or "
            "remove it."
        ) from error
    except Exception as error:  # decoders of damaged files raise whatever they meet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadPictureError(
            f"{name} cannot be read as a picture ({reason}); replace or remove it."
        ) from error


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
        grey = _eight_bits(np.asarray(picture))
        converted = Image.fromarray(grey).convert(mode)
        converted.info["exif"] = picture.getexif().tobytes()
        return converted
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    return picture.convert(mode)


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return grey values from 0 to 255, of 16-bit integers or floating-point numbers."""
    if values.dtype.kind != "f":
        return (values.astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 255):  # false for NaN, too
        raise ValueError(f"its values lie between {low} and {high}; expected 0 to 1 or 0 to 255")
    return np.round(values * (255 if high <= 1 else 1)).astype(np.uint8)


def centre(picture: Any, size: int, crop: float) -> Any:
    """Return the centre crop of a PIL image, size x size, as in evaluation.

    `crop` is the fraction of the shorter side that is kept.
    """
    from PIL import Image

    short = math.floor(size / crop)
    width, height = (int(short * side / min(picture.size)) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, upper = round((width - size) / 2), round((height - size) / 2)
    return resized.crop((left, upper, left + size, upper + size))
