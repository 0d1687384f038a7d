"""The batches of a run: training images from any position of an epoch, and validation images."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from skdidicm.folders import is_text, subset
from skdidicm.imagenet.communicator import Communicator
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.fingerprint import Fingerprint
from skdidicm.imagenet.order import Key, TrainOrder
from skdidicm.imagenet.sources import Source
from skdidicm.pictures import BadPictureError

SYNTHETIC = "synthetic"
_SYNTHETIC_CLASSES = 1000
_BAD_SHARE = 0.01
_LISTED = 3


class SyntheticBatches(Protocol):
    """One batch of random pixels, repeated."""

    batch: Any
    n: int
    per_epoch: int

    def batches(self, start: int) -> Iterator[Any]:
        """Return the batches of an epoch from batch `start` on."""
        ...


class Feed:
    """Training and validation batches of one process; each backend implements the reading.

    A batch has an attribute `bad`: one message for every image that could not be read.

    Attributes
    ----------
    classes : list of str
        Names of the classes.
    per_epoch : int
        Batches of an epoch.
    """

    def __init__(self, config: RunConfig, comm: Communicator, batch_size: int) -> None:
        self.config, self.comm = config, comm
        self.bad: dict[str, None] = {}
        if config.data == SYNTHETIC:
            k = config.n_classes or _SYNTHETIC_CLASSES
            self.classes = [f"class {i}" for i in range(k)]
            self._synthetic = self.synthetic(k)
            self.n_train, self.per_epoch = self._synthetic.n, self._synthetic.per_epoch
            return
        source = self._source = self.open_source("train")
        self.classes = source.classes or [str(i) for i in range(config.n_classes or 0)]
        self._check_classes(source)
        rows = self._rows(source)
        self._order = TrainOrder(
            len(rows), batch_size, comm, seed=config.seed, repeats=config.repeats
        )
        self.n_train, self.per_epoch = len(rows), len(self._order)
        self._train = self.training_batches(source, rows, self._order)
        self._test = self.evaluation_batches()

    def open_source(self, split: str, classes: Sequence[str] | None = None) -> Source:
        """Open a split; `classes` are those of the training images."""
        raise NotImplementedError

    def training_batches(
        self, source: Source, rows: Sequence[int], order: Iterable[list[Key]]
    ) -> Iterable[Any]:
        """Return batches of training images; each iteration follows the current `order`."""
        raise NotImplementedError

    def evaluation_batches(self) -> Iterable[Any]:
        """Return this process's batches of the validation images."""
        raise NotImplementedError

    def synthetic(self, n_classes: int) -> SyntheticBatches:
        """Return batches of random pixels."""
        raise NotImplementedError

    def train(self, epoch: int, start: int) -> Iterator[Any]:
        """Return the batches of an epoch from batch `start` on."""
        if self.config.data == SYNTHETIC:
            return self._synthetic.batches(start)
        self._order.epoch, self._order.start = epoch, start
        return self._recording_bad(self._train)

    def test(self) -> Iterator[Any]:
        """Return this process's batches of the validation images."""
        if self.config.data == SYNTHETIC:
            return iter((self._synthetic.batch,))
        return iter(self._test)

    def fingerprint(self) -> Fingerprint | None:
        """Return a fingerprint of both splits, or None for synthetic data."""
        if self.config.data == SYNTHETIC:
            return None
        val = self.open_source("val", self.classes)
        return Fingerprint(self._source.fingerprint(self.classes), val.fingerprint(self.classes))

    def gather_bad(self) -> list[str]:
        """Return the unreadable images of all processes so far, and check that they are few."""
        found = self.comm.gather(list(self.bad))
        names = list(dict.fromkeys(name for one in found for name in one))
        check_share(names, self.n_train, "training")
        return names

    def _recording_bad(self, batches: Iterable[Any]) -> Iterator[Any]:
        for images in batches:
            if images.bad:
                self.bad.update(dict.fromkeys(images.bad))
                check_share(list(self.bad), self.n_train, "training")
            yield images

    def _rows(self, source: Source) -> list[int]:
        if source.labels is not None:
            return subset(source.labels, self.config.data_ratio)
        if self.config.data_ratio < 1:
            raise ValueError(
                f"--data-ratio {self.config.data_ratio} takes a share of every class, which needs "
                "a folder of pictures; leave out --reader, or the ratio."
            )
        return list(range(source.n))

    def _check_classes(self, source: Source) -> None:
        wanted = self.config.n_classes
        if not self.classes or (wanted and wanted != len(self.classes)):
            raise ValueError(
                f"{self.config.data} has {len(source.classes) or 'unnamed'} classes, and "
                f"--n-classes is {wanted}; pass the number that the data have."
            )
        for name in self.classes:
            if not is_text(name):
                raise ValueError(
                    f"{self.config.data} has a class {os.fsencode(name)!r}, whose name is not "
                    "UTF-8, so no model or table can hold it; rename it."
                )


def check_share(bad: list[str], n: int, kind: str) -> None:
    """Check that at most 1% of the images could not be read.

    Raises
    ------
    BadPictureError
        If more could not.
    """
    if len(bad) > _BAD_SHARE * n:
        raise BadPictureError(
            f"{len(bad)} of {n} {kind} pictures cannot be read, more than 1%: "
            f"{'; '.join(bad[:_LISTED])} ... Repair the data; skdidicm check-data lists them."
        )


def accumulation(config: RunConfig, devices: int) -> int:
    """Return the number of forward passes per update."""
    together = config.batch_size * devices
    if config.global_batch % together:
        raise ValueError(
            f"--global-batch {config.global_batch} is not a multiple of {config.batch_size} images "
            f"on {devices} devices; change --batch-size or --global-batch."
        )
    return config.global_batch // together


def updates_per_epoch(config: RunConfig, feed: Feed, accumulate: int) -> int:
    """Return the number of updates in an epoch, each of `accumulate` batches."""
    updates = feed.per_epoch // accumulate
    if not updates:
        raise ValueError(
            f"{feed.n_train} training images make no update of {config.global_batch}; "
            "pass a smaller --global-batch and --batch-size, or use skdidicm train folder."
        )
    return updates
