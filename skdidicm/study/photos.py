"""A task of 144 classes made from installed photographs; nothing is downloaded.

Every photograph is divided into three by three tiles, and every tile is a class. A row is a small
square from the tile, shifted, scaled and mirrored at random. Training rows come from the left three
fifths of a tile and test rows from the rest, so that they share no pixel. Some tiles, of sky or
gravel, look alike, so the true class probabilities are not all 0 or 1.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.datasets import Split

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "retina.jpg", "rocket.jpg", "china.jpg", "flower.jpg",
)  # fmt: skip
"""Files of scikit-image and, the last two, of scikit-learn."""

_GRID = 3  # tiles along each side of a photograph
_TRAIN = 0.6  # share of the width of a tile for training rows
_SIDES = (0.25, 0.4)  # sides of the squares, relative to the shorter side of a tile


def load_photos(
    seed: int = 0, size: int = 16, mode: str = "L", n_train: int = 60, n_test: int = 15
) -> Split:
    """Return squares of photographs, labelled by photograph and tile.

    Parameters
    ----------
    seed : int, default=0
        Seed of the squares.
    size : int, default=16
        Height and width of the resized squares.
    mode : {"L", "RGB"}, default="L"
        Grey or colour pictures.
    n_train, n_test : int
        Rows per class.

    Returns
    -------
    Split
        Pictures (n, size, size) or (n, size, size, 3) of uint8, ordered by class.

    Raises
    ------
    ImportError
        If scikit-image or Pillow is not installed.
    """
    train, test = [], []
    names: list[str] = []
    streams = np.random.default_rng(seed).spawn(len(PHOTOGRAPHS) * _GRID**2)
    for name in PHOTOGRAPHS:
        picture = _photograph(name).convert(mode)
        for tile in range(_GRID**2):
            rng, parts = streams[len(names)], _parts(picture, tile)
            shorter = min(picture.width, picture.height) // _GRID
            sides = (int(_SIDES[0] * shorter), int(_SIDES[1] * shorter))
            train.append(_squares(parts[0], sides, n_train, size, rng))
            test.append(_squares(parts[1], sides, n_test, size, rng))
            names.append(f"{Path(name).stem} {tile}")
    labels = np.arange(len(names))
    return Split(
        np.concatenate(train), labels.repeat(n_train),
        np.concatenate(test), labels.repeat(n_test), tuple(names),
    )  # fmt: skip


def _photograph(name: str) -> Any:
    try:
        import skimage
        import sklearn
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "photographs need scikit-image and Pillow; install them with: "
            'pip install "skdidicm[study]"'
        ) from error
    folders = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.__file__).parent / "datasets/images",
    )
    return Image.open(next(path for path in (f / name for f in folders) if path.is_file()))


def _parts(picture: Any, tile: int) -> list[Any]:
    """Return the part of a tile for training rows and the part for test rows."""
    width, height = picture.width // _GRID, picture.height // _GRID
    row, column = divmod(tile, _GRID)
    left, top = column * width, row * height
    middle = left + round(_TRAIN * width)
    return [
        picture.crop((left, top, middle, top + height)),
        picture.crop((middle, top, left + width, top + height)),
    ]


def _squares(
    part: Any, sides: tuple[int, int], n: int, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return n random squares from a part of a tile, with sides between two lengths."""
    from PIL import Image

    side = rng.integers(*sides, n, endpoint=True)
    left = rng.integers(0, part.width - side, endpoint=True)
    top = rng.integers(0, part.height - side, endpoint=True)
    boxes = np.stack([left, top, left + side, top + side], axis=1).tolist()
    squares = [part.resize((size, size), Image.Resampling.BOX, box) for box in boxes]
    pixels = np.stack([np.asarray(square) for square in squares])
    mirrored = rng.random(n) < 0.5
    pixels[mirrored] = pixels[mirrored, :, ::-1]
    return pixels
