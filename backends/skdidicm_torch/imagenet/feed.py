"""The batches of a run, read by torch's DataLoader and transformed by timm."""

from collections.abc import Iterable, Sequence

from skdidicm.imagenet import feed
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm.imagenet.order import Key, TestOrder
from skdidicm.imagenet.sources import Source
from skdidicm_torch.imagenet import timm_parts
from skdidicm_torch.imagenet.augmentation import train_transform
from skdidicm_torch.imagenet.data import Loader, Pictures, Synthetic, open_source
from skdidicm_torch.imagenet.processes import TorchCommunicator


class Feed(feed.Feed):
    """Training and validation batches of one process."""

    comm: TorchCommunicator

    def __init__(self, config: RunConfig, comm: TorchCommunicator) -> None:
        super().__init__(config, comm, config.batch_size)

    def open_source(self, split: str, classes: Sequence[str] | None = None) -> Source:
        """Open a split; `classes` are those of the training images."""
        return open_source(self.config, split, classes)

    def training_batches(
        self, source: Source, rows: Sequence[int], order: Iterable[list[Key]]
    ) -> Loader:
        """Return batches of training images; each iteration follows the current `order`."""
        pictures = Pictures(
            source,
            rows,
            train_transform(self.config),
            seed=self.config.seed,
            replace_bad=self.config.on_bad_image == "skip",
        )
        return Loader(pictures, order, self.config, self.comm)

    def evaluation_batches(self) -> Loader:
        """Return this process's batches of the validation images."""
        return evaluation_loader(self.config, self.comm, self.classes)

    def synthetic(self, n_classes: int) -> Synthetic:
        """Return batches of random pixels."""
        return Synthetic(self.config, n_classes, self.comm)


def evaluation_loader(
    config: RunConfig,
    comm: TorchCommunicator,
    classes: list[str],
    corrupt: Corruption | None = None,
) -> Loader:
    """Return the loader of this process's validation images."""
    source = open_source(config, "val", classes)
    pictures = Pictures(
        source,
        range(source.n),
        timm_parts.evaluation_transform(config, corrupt),
        seed=config.seed,
        replace_bad=False,
    )
    return Loader(pictures, TestOrder(source.n, config.batch_size, comm), config, comm)
