"""Digits, Fashion-MNIST and folders of pictures, split into training and test rows."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdidicm.folders import Folder, find_parts, is_text, scan
from skdidicm.pictures import Pictures

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_IDX_UBYTE = 0x08  # the only element type that the MNIST family uses


class Split(NamedTuple):
    """Rows and labels to train on and to test on.

    Rows are images, or data frames of a table. Label i is called `class_names[i]`; without names,
    labels are their own names.
    """

    X_train: Any
    y_train: NDArray[Any]
    X_test: Any
    y_test: NDArray[Any]
    class_names: tuple[str, ...]


def load_digits_split(seed: int = 0) -> Split:
    """Return scikit-learn's 1797 handwritten digits, four fifths of them for training.

    Parameters
    ----------
    seed : int, default=0
        Decides which rows are test rows; every class is split in the same proportion.

    Returns
    -------
    Split
        Images (n, 8, 8) of uint8, scaled from scikit-learn's 0-16 to 0-255.

    Examples
    --------
    >>> from skdidicm.datasets import load_digits_split
    >>> split = load_digits_split()
    >>> split.X_train.shape, split.X_test.shape
    ((1437, 8, 8), (360, 8, 8))
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    y = digits.target.astype(np.int64)
    X_train, X_test, y_train, y_test = train_test_split(
        images, y, test_size=0.2, stratify=y, random_state=seed
    )
    return Split(X_train, y_train, X_test, y_test, tuple(str(i) for i in range(10)))


def load_fashion_mnist(
    folder: str | Path, n_train: int | None = None, noise: float = 0.0, seed: int = 0
) -> Split:
    """Read Fashion-MNIST, or any set in the files of MNIST's format, from a folder.

    Parameters
    ----------
    folder : str or Path
        Holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same two of t10k, as they
        are or compressed (.gz).
    n_train : int, optional
        Keep only this many training images, drawn at random; all by default.
    noise : float, default=0.0
        Standard deviation of Gaussian noise added to every pixel, in units of the standard
        deviation of all training pixels.
    seed : int, default=0
        Seed of the choice of training images and of the noise. Training and test noise are drawn
        independently, so the test images are the same for every `n_train`.

    Returns
    -------
    Split
        Images (n, 28, 28): uint8 as stored, or float32 if there is noise.

    Raises
    ------
    FileNotFoundError
        If one of the four files is missing.
    ValueError
        If a file is damaged or of another format, or an argument is out of range.
    """
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise is {noise}; expected a finite standard deviation >= 0.")
    folder = Path(folder)
    X_train, y_train = _read_pair(folder, "train")
    X_test, y_test = _read_pair(folder, "t10k")
    subset, train_noise, test_noise = np.random.default_rng(seed).spawn(3)
    amplitude = noise * float(X_train.std()) / 255
    rows = _draw_rows(len(X_train), n_train, subset)
    X_train, y_train = X_train[rows], y_train[rows]
    if noise == 0:
        return Split(X_train, y_train, X_test, y_test, FASHION_CLASSES)
    noisy_train = _add_noise(X_train, amplitude, train_noise)
    noisy_test = _add_noise(X_test, amplitude, test_noise)
    return Split(noisy_train, y_train, noisy_test, y_test, FASHION_CLASSES)


class ImageFolder(NamedTuple):
    """Pictures of a folder and the names of their classes."""

    X: NDArray[np.uint8]
    y: NDArray[Any]
    files: tuple[str, ...]


def load_image_folder(path: str | Path, size: int) -> ImageFolder:
    """Read the pictures below PATH/CLASS, in colour and of one size.

    Parameters
    ----------
    path : str or Path
        Holds one folder per class; pictures may be nested deeper. What is hidden is left out.
    size : int
        Side in pixels. Of a picture that is no square, the centre is taken.

    Returns
    -------
    ImageFolder
        Pictures `X` (n, size, size, 3) of uint8, names of classes `y` (n,), and `files`, sorted.

    Raises
    ------
    ValueError
        If there are fewer than two folders, one has no pictures, or a picture cannot be read.
    """
    if size < 1:
        raise ValueError(f"size is {size}; expected pixels >= 1.")
    found = scan(Path(path))
    X = Pictures(found.files, size)[:]
    return ImageFolder(X, np.array(found.classes)[found.labels], tuple(found.files))


def load_folder_split(
    path: str | Path, size: int | None = None, test_size: float = 0.2, seed: int = 0
) -> Split:
    """Return the pictures below PATH/CLASS, a part of every class for tests.

    With folders PATH/train and PATH/val (or valid, validation, or test), these are the parts.

    Parameters
    ----------
    path : str or Path
        Holds one folder per class, or the two parts, each with one folder per class.
    size : int, optional
        Side in pixels, as in `load_image_folder`; by default rows are the names of the files.
    test_size : float, default=0.2
        Share of the test rows in every class. A class of at least two pictures has one of each.
    seed : int, default=0
        Decides which are test rows.

    Returns
    -------
    Split
        Names of files, or `Pictures` that are decoded when they are indexed.

    Raises
    ------
    FileNotFoundError
        If PATH/train has folders, and there is no PATH/val.
    ValueError
        If there are fewer than two folders, or one has no pictures or a name that is no text.
    """
    parts = find_parts(Path(path))
    train = scan(parts[0])
    for name in train.classes:
        if not is_text(name):
            raise ValueError(f"{parts[0]} has a folder {name!r}, which is no UTF-8; rename it.")
    if len(parts) == 2:
        test = scan(parts[1], train.classes)
    else:
        train, test = _held_out(train, test_size, seed)
    X_train, X_test = (
        part.files if size is None else Pictures(part.files, size) for part in (train, test)
    )
    y_train, y_test = (np.array(part.labels, dtype=np.int64) for part in (train, test))
    return Split(X_train, y_train, X_test, y_test, tuple(train.classes))


def _held_out(found: Folder, share: float, seed: int) -> tuple[Folder, Folder]:
    """Return training and test pictures, in the same proportion in every class."""
    rng, labels = np.random.default_rng(seed), np.array(found.labels)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(len(found.classes)):
        own = rng.permutation(np.flatnonzero(labels == label))
        is_test[own[: min(max(1, round(share * len(own))), len(own) - 1)]] = True
    train, test = (
        Folder(found.classes, [found.files[i] for i in rows], labels[rows].tolist())
        for rows in (np.flatnonzero(~is_test), np.flatnonzero(is_test))
    )
    if not test.files:
        raise ValueError(
            f"every class has one picture, such as {found.files[0]}, so that none is left to test "
            "on; add pictures."
        )
    return train, test


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in an idx file; a name ending in .gz is decompressed.

    Raises
    ------
    ValueError
        If the file is not of this format or is cut short.
    """
    path = Path(path)
    content = _read_bytes(path)
    n_dims = content[3] if len(content) >= 4 else 0
    header = 4 + 4 * n_dims
    if content[:3] != bytes([0, 0, _IDX_UBYTE]) or n_dims == 0 or len(content) < header:
        raise ValueError(
            f"{path} is not an idx file of unsigned bytes, the format of MNIST; "
            "check that it is the right file and not a web page saved under its name."
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", n_dims, offset=4))
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"{path} declares {math.prod(shape)} bytes of shape {shape} but holds "
            f"{len(content) - header}; it is damaged, so fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be decompressed ({error}); it is damaged or not a gzip file, "
            "so fetch it again."
        ) from error


def _read_pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images (n, h, w) and the labels (n,) of "train" or "t10k"."""
    image_path = _find(folder, f"{part}-images-idx3-ubyte")
    label_path = _find(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{image_path} has shape {images.shape} and {label_path} has shape {labels.shape}; "
            "expected images (n, height, width) and n labels."
        )
    if len(labels) == 0 or labels.max() >= len(FASHION_CLASSES):
        raise ValueError(
            f"{label_path} holds {len(labels)} labels up to {max(labels, default=None)}; "
            "expected at least one, from 0 to 9."
        )
    return images, labels.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; expected the folder that holds {name}[.gz]."
        )
    raise FileNotFoundError(
        f"{folder} holds neither {name} nor {name}.gz; expected the four idx files of "
        "Fashion-MNIST there."
    )


def _draw_rows(n: int, n_train: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    if n_train is None:
        return np.arange(n)
    if not 1 <= n_train <= n:
        raise ValueError(
            f"n_train is {n_train}; expected 1 to {n}, the number of images in the data set."
        )
    return rng.permutation(n)[:n_train]


def _add_noise(
    images: NDArray[np.uint8], amplitude: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return images (n, h, w) scaled to [0, 1] with N(0, amplitude^2) added to every pixel."""
    noise = rng.standard_normal(images.shape, np.float32)
    return images / np.float32(255) + np.float32(amplitude) * noise
