"""Photographs as a table: features of a frozen network that was trained on ImageNet."""

import functools

import numpy as np

from skdidicm.datasets import Split
from skdidicm.imagenet.trainer import get_embedder
from skdidicm.study.photos import load_photos

_BACKEND = "torch"  # the backend with a pretrained network, whatever trains the methods
_SIZE = 32


@functools.lru_cache(maxsize=1)  # the network is slow, and a seed has many cells
def load_embeddings(seed: int = 0, n_train: int = 20, n_test: int = 10) -> Split:
    """Return tables (n, 1280) of the squares of `load_photos`, standardised by the training rows.

    Parameters
    ----------
    seed : int, default=0
        Seed of the squares.
    n_train, n_test : int
        Rows per class.

    Raises
    ------
    ImportError
        If torch, timm, the weights or the photographs are not installed.
    """
    embedder = get_embedder(_BACKEND)
    photos = load_photos(seed, _SIZE, "RGB", n_train, n_test)
    train, test = embedder.embed(photos.X_train), embedder.embed(photos.X_test)
    mean, std = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-6)
    return photos._replace(X_train=(train - mean) / std, X_test=(test - mean) / std)
