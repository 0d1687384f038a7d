"""The batches of a run: training images from any place of any epoch, and validation images."""

from collections.abc import Iterator
from typing import Any

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm.imagenet.folder import subset
from skdidicm.imagenet.pictures import BadPictureError
from skdidicm_torch.imagenet import timm_parts
from skdidicm_torch.imagenet.data import (
    Images,
    Pictures,
    Source,
    Synthetic,
    TestOrder,
    TrainOrder,
    loader,
    open_source,
)
from skdidicm_torch.imagenet.processes import Place

SYNTHETIC = "synthetic"
_SYNTHETIC_CLASSES = 1000
_BAD_SHARE = 0.01
_LISTED = 3


class Feed:
    """Training and validation batches of one process.

    Attributes
    ----------
    classes : list of str
        Names of the classes.
    per_epoch : int
        Batches of an epoch.
    """

    def __init__(self, config: RunConfig, place: Place) -> None:
        self.config, self.place = config, place
        self.bad: dict[str, None] = {}
        if config.data == SYNTHETIC:
            k = config.n_classes or _SYNTHETIC_CLASSES
            self.classes = [f"class {i}" for i in range(k)]
            self._synthetic = Synthetic(config, k, place)
            self.n_train, self.per_epoch = self._synthetic.n, self._synthetic.per_epoch
            return
        source = open_source(config, "train")
        self.classes = source.classes or [str(i) for i in range(config.n_classes or 0)]
        self._check_classes(source)
        rows = self._rows(source)
        pictures = Pictures(
            source,
            rows,
            timm_parts.train_transform(config),
            seed=config.seed,
            replace_bad=True if config.on_bad_image == "skip" else None,
        )
        self._order = TrainOrder(
            len(rows), config.batch_size, place, seed=config.seed, repeats=config.repeats
        )
        self.n_train, self.per_epoch = len(rows), len(self._order)
        self._train = loader(pictures, self._order, config, place)
        self._test = evaluation_loader(config, place, self.classes)

    def train(self, epoch: int, start: int) -> Iterator[Images]:
        """Return the batches of an epoch from one on."""
        if self.config.data == SYNTHETIC:
            return self._synthetic.batches(start)
        self._order.epoch, self._order.start = epoch, start
        return self._noting_bad(self._train)

    def test(self) -> Iterator[Images]:
        """Return this process's share of the validation images."""
        if self.config.data == SYNTHETIC:
            return iter((self._synthetic.batch,))
        return iter(self._test)

    def check_bad(self) -> list[str]:
        """Return what could not be read so far, over all processes.

        Raises
        ------
        BadPictureError
            If that is more than 1% of the training images.
        """
        names = list(dict.fromkeys(n for found in self.place.gather(list(self.bad)) for n in found))
        if len(names) > _BAD_SHARE * self.n_train:
            raise BadPictureError(
                f"{len(names)} of {self.n_train} training pictures cannot be read, more than 1%: "
                f"{'; '.join(names[:_LISTED])} ... Mend the data; skdidicm check-data lists them."
            )
        return names

    def _noting_bad(self, batches: Any) -> Iterator[Images]:
        for images in batches:
            self.bad.update(dict.fromkeys(images.bad))
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


def evaluation_loader(
    config: RunConfig, place: Place, classes: list[str], corrupt: Corruption | None = None
) -> Any:
    """Return the loader of this process's share of the validation images."""
    source = open_source(config, "val", classes)
    skip = config.on_bad_image == "skip"
    pictures = Pictures(
        source,
        range(source.n),
        timm_parts.evaluation_transform(config, corrupt),
        seed=config.seed,
        replace_bad=False if skip else None,
    )
    return loader(pictures, TestOrder(source.n, config.batch_size, place), config, place)
