"""The batches of a run, read by Pillow; all devices share a batch."""

from collections.abc import Iterable, Sequence

from skdidicm.imagenet import feed
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm.imagenet.order import Key, TestOrder
from skdidicm.imagenet.sources import Source, open_source
from skdidicm_keras.imagenet.data import Loader, Pictures, Synthetic
from skdidicm_keras.imagenet.processes import KerasCommunicator
from skdidicm_keras.imagenet.views import evaluation_view, training_view


class Feed(feed.Feed):
    """Training and validation batches."""

    comm: KerasCommunicator

    def __init__(self, config: RunConfig, comm: KerasCommunicator) -> None:
        super().__init__(config, comm, config.batch_size * comm.devices)

    def open_source(self, split: str, classes: Sequence[str] | None = None) -> Source:
        """Open a split; `classes` are those of the training images."""
        return open_source(self.config, split, classes)

    def training_batches(
        self, source: Source, rows: Sequence[int], order: Iterable[list[Key]]
    ) -> Loader:
        """Return batches of training images; each iteration follows the current `order`."""
        skips = self.config.on_bad_image == "skip"
        view = training_view(self.config)
        pictures = Pictures(source, rows, view, seed=self.config.seed, replace_bad=skips)
        return Loader(pictures, order, self.config)

    def evaluation_batches(self) -> Loader:
        """Return the batches of the validation images."""
        return evaluation_loader(self.config, self.comm, self.classes)

    def synthetic(self, n_classes: int) -> Synthetic:
        """Return batches of random pixels."""
        return Synthetic(self.config, n_classes, self.config.batch_size * self.comm.devices)


def evaluation_loader(
    config: RunConfig,
    comm: KerasCommunicator,
    classes: list[str],
    corrupt: Corruption | None = None,
) -> Loader:
    """Return the loader of the validation images."""
    source = open_source(config, "val", classes)
    view = evaluation_view(config, corrupt)
    pictures = Pictures(source, range(source.n), view, seed=config.seed, replace_bad=False)
    order = TestOrder(source.n, config.batch_size * comm.devices, comm)
    return Loader(pictures, order, config)
