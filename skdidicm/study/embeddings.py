"""The squares of photographs as a table: features of a frozen network that learnt ImageNet."""

import functools
import importlib

import numpy as np

from skdidicm.datasets import Split
from skdidicm.study.photos import load_photos

_EMBED = "skdidicm_torch.imagenet.embeddings"  # the module of the backend with the network
_SIZE = 32


@functools.lru_cache(maxsize=1)  # a network takes its time, and a seed has many cells
def load_embeddings(seed: int = 0, n_train: int = 20, n_test: int = 10) -> Split:
    """Return tables (n, 1280) of the squares of `load_photos`, in units of the training rows.

    Parameters
    ----------
    seed : int, default=0
        Decides the squares.
    n_train, n_test : int
        Rows of a class.

    Raises
    ------
    ImportError
        If the torch backend, timm, the weights or the photographs are not installed.
    """
    embed = importlib.import_module(_EMBED).embed
    photos = load_photos(seed, _SIZE, "RGB", n_train, n_test)
    train, test = embed(photos.X_train), embed(photos.X_test)
    mean, std = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-6)
    return photos._replace(X_train=(train - mean) / std, X_test=(test - mean) / std)
