"""Decoding of image files of any mode to 8-bit RGB."""

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

MAX_PIXELS = 2**27
"""A larger image is not decoded, since it may be a decompression bomb."""


class BadPictureError(ValueError):
    """A file is not an image, or it is damaged."""


def open_picture(file: str | IO[bytes], name: str) -> Any:
    """Read a file as an upright PIL image in RGB.

    EXIF rotation is applied; palettes, CMYK and alpha are converted; 16-bit grey is scaled to 8
    bits.

    Parameters
    ----------
    file : str or binary file
        The file.
    name : str
        Its name in an error message.

    Raises
    ------
    BadPictureError
        If it cannot be decoded completely.
    """
    from PIL import Image, ImageOps

    try:
        with without_warnings(), Image.open(file) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BadPictureError(
                    f"{name} claims {width} x {height} pixels, more than {MAX_PIXELS}; it is not "
                    "opened, since it may be made to fill the memory."
                )
            if picture.mode == "RGB":
                picture.load()
            return ImageOps.exif_transpose(_to_rgb(picture))
    except BadPictureError:
        raise
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


def _to_rgb(picture: Any) -> Any:
    from PIL import Image

    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):  # 16 bits, which convert() would clip at 255
        grey = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        deep = Image.fromarray(grey).convert("RGB")
        deep.info["exif"] = picture.getexif().tobytes()
        return deep
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


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
