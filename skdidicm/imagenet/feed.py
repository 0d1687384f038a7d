"""The batches of a run: training images from any place of any epoch, and validation images."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.folder import subset
from skdidicm.imagenet.order import Key, Share, TrainOrder
from skdidicm.imagenet.pictures import BadPictureError
from skdidicm.imagenet.sources import Source

SYNTHETIC = "synthetic"
_SYNTHETIC_CLASSES = 1000
_BAD_SHARE = 0.01
_LISTED = 3


class Gathering(Share, Protocol):
    """A process that can hear of what the others have."""

    def gather(self, value: Any) -> list[Any]:
        """Return what every process passed, in the order of their ranks."""
        ...


class SyntheticBatches(Protocol):
    """One batch of random pixels, many times."""

    batch: Any
    n: int
    per_epoch: int

    def batches(self, start: int) -> Iterator[Any]:
        """Return the batches of an epoch from one on."""
        ...


class Feed:
    """Training and validation batches of one process; a backend says how they are read.

    A batch has `bad`, the names of what could not be read.

    Attributes
    ----------
    classes : list of str
        Names of the classes.
    per_epoch : int
        Batches of an epoch.
    """

    def __init__(self, config: RunConfig, place: Gathering, batch_size: int) -> None:
        self.config, self.place = config, place
        self.bad: dict[str, None] = {}
        if config.data == SYNTHETIC:
            k = config.n_classes or _SYNTHETIC_CLASSES
            self.classes = [f"class {i}" for i in range(k)]
            self._synthetic = self.synthetic(k)
            self.n_train, self.per_epoch = self._synthetic.n, self._synthetic.per_epoch
            return
        source = self.open_source()
        self.classes = source.classes or [str(i) for i in range(config.n_classes or 0)]
        self._check_classes(source)
        rows = self._rows(source)
        self._order = TrainOrder(
            len(rows), batch_size, place, seed=config.seed, repeats=config.repeats
        )
        self.n_train, self.per_epoch = len(rows), len(self._order)
        self._train = self.training_batches(source, rows, self._order)
        self._test = self.evaluation_batches()

    def open_source(self) -> Source:
        """Return the training pictures."""
        raise NotImplementedError

    def training_batches(
        self, source: Source, rows: Sequence[int], order: Iterable[list[Key]]
    ) -> Iterable[Any]:
        """Return batches of training pictures, in an order that is asked anew each time."""
        raise NotImplementedError

    def evaluation_batches(self) -> Iterable[Any]:
        """Return the batches of this process's share of the validation pictures."""
        raise NotImplementedError

    def synthetic(self, n_classes: int) -> SyntheticBatches:
        """Return batches of random pixels."""
        raise NotImplementedError

    def train(self, epoch: int, start: int) -> Iterator[Any]:
        """Return the batches of an epoch from one on."""
        if self.config.data == SYNTHETIC:
            return self._synthetic.batches(start)
        self._order.epoch, self._order.start = epoch, start
        return self._noting_bad(self._train)

    def test(self) -> Iterator[Any]:
        """Return this process's share of the validation images."""
        if self.config.data == SYNTHETIC:
            return iter((self._synthetic.batch,))
        return iter(self._test)

    def gather_bad(self) -> list[str]:
        """Return what could not be read so far, over all processes; check that it is little."""
        found = self.place.gather(list(self.bad))
        names = list(dict.fromkeys(name for one in found for name in one))
        check_share(names, self.n_train, "training")
        return names

    def _noting_bad(self, batches: Iterable[Any]) -> Iterator[Any]:
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


def check_share(bad: list[str], n: int, kind: str) -> None:
    """Check that no more pictures were skipped than may be.

    Raises
    ------
    BadPictureError
        If it is more than 1%.
    """
    if len(bad) > _BAD_SHARE * n:
        raise BadPictureError(
            f"{len(bad)} of {n} {kind} pictures cannot be read, more than 1%: "
            f"{'; '.join(bad[:_LISTED])} ... Mend the data; skdidicm check-data lists them."
        )


def accumulation(config: RunConfig, devices: int) -> int:
    """Return the forward passes per update that make up the global batch."""
    together = config.batch_size * devices
    if config.global_batch % together:
        raise ValueError(
            f"--global-batch {config.global_batch} is no multiple of {config.batch_size} images on "
            f"{devices} devices; change --batch-size or --global-batch."
        )
    return config.global_batch // together


def updates_per_epoch(config: RunConfig, feed: Feed, accumulate: int) -> int:
    """Return the updates of an epoch, each of so many batches."""
    updates = feed.per_epoch // accumulate
    if not updates:
        raise ValueError(
            f"{feed.n_train} training images make no update of {config.global_batch}; "
            "pass a smaller --global-batch and --batch-size."
        )
    return updates
