"""Images for training and evaluation, reproducible from the seed.

Threads read the images: Pillow releases the GIL while it decodes and resizes, and processes that
are forked beside JAX can hang.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.order import Key
from skdidicm.imagenet.sources import Source, open_row
from skdidicm.pictures import BadPictureError
from skdidicm_keras.imagenet.step import generator
from skdidicm_keras.imagenet.views import View

_AHEAD = 4  # batches that are read in advance


class Images(NamedTuple):
    """A batch: pixels uint8 (n, h, w, 3), labels (n,), and one message per unreadable image."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    bad: list[str]


Picture = tuple[NDArray[np.uint8] | None, int, list[str]]


class Pictures:
    """Rows of a source, cropped with the seed of their position."""

    def __init__(
        self, source: Source, rows: Sequence[int], view: View, *, seed: int, replace_bad: bool
    ) -> None:
        self.source, self.rows, self.view, self.seed = source, rows, view, seed
        self.replace_bad = replace_bad

    def __getitem__(self, key: Key) -> Picture:
        """Return pixels, label and the messages on unreadable images; pixels may be None."""
        epoch, position, row = key
        picture, label, bad = open_row(self.source, self.rows, row, replace_bad=self.replace_bad)
        if picture is None:
            return None, 0, bad
        return self.view(picture, generator(self.seed, epoch, position)), label, bad


def collate(rows: Iterable[Picture]) -> Images:
    """Return a batch of the images that could be read."""
    found = list(rows)
    good = [(pixels, label) for pixels, label, _ in found if pixels is not None]
    pixels = np.stack([p for p, _ in good]) if good else np.empty((0, 0, 0, 3), np.uint8)
    labels = np.array([label for _, label in good], dtype=np.int32)
    return Images(pixels, labels, [name for *_, names in found for name in names])


class Loader:
    """Batches of images in a given order; raises at an unreadable one unless those are skipped."""

    def __init__(self, pictures: Pictures, order: Iterable[list[Key]], config: RunConfig) -> None:
        self.pictures, self.order, self.workers = pictures, order, config.workers
        self.strict = config.on_bad_image == "error"

    def __iter__(self) -> Iterator[Images]:
        """Return the batches.

        Raises
        ------
        BadPictureError
            If an image cannot be read, unless unreadable ones are skipped.
        """
        for images in self._batches():
            if self.strict and images.bad:
                raise BadPictureError(f"{images.bad[0]} To leave it out, pass --on-bad-image skip.")
            yield images

    def _batches(self) -> Iterator[Images]:
        if not self.workers:
            yield from (collate(map(self.pictures.__getitem__, keys)) for keys in self.order)
            return
        pool = ThreadPoolExecutor(self.workers)
        waiting: deque[list[Future[Picture]]] = deque()
        try:
            for keys in self.order:
                waiting.append([pool.submit(self.pictures.__getitem__, key) for key in keys])
                if len(waiting) > _AHEAD:
                    yield collate(one.result() for one in waiting.popleft())
            while waiting:
                yield collate(one.result() for one in waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Synthetic:
    """Batches of random pixels, for measuring throughput."""

    def __init__(self, config: RunConfig, n_classes: int, batch_size: int) -> None:
        rng: Any = np.random.default_rng(config.seed)
        shape = (batch_size, config.resolution, config.resolution, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        self.batch = Images(pixels, rng.integers(0, n_classes, batch_size, dtype=np.int32), [])
        self.n, self.per_epoch = config.n_images, config.n_images // batch_size

    def batches(self, start: int) -> Iterator[Images]:
        """Return the batches of an epoch from batch `start` on."""
        return (self.batch for _ in range(start, self.per_epoch))
