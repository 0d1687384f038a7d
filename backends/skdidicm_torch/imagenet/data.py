"""Images for training and evaluation, reproducible from the seed.

Random numbers are a function of (seed, epoch, position in the epoch). They depend neither on the
number of worker processes nor on where a run was interrupted.
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from skdidicm.errors import reason
from skdidicm.imagenet import sources
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.fingerprint import encoded
from skdidicm.imagenet.order import Key
from skdidicm.imagenet.sources import Source, open_row
from skdidicm.pictures import BadPictureError, open_picture
from skdidicm_torch.imagenet import timm_parts
from skdidicm_torch.imagenet.processes import TorchCommunicator


class Images(NamedTuple):
    """A batch: pixels uint8 (n, 3, h, w), labels (n,), and one message per unreadable image."""

    pixels: Tensor
    labels: Tensor
    bad: list[str]


def open_source(config: RunConfig, split: str, classes: Sequence[str] | None = None) -> Source:
    """Open a split of a folder, of shards, or of a reader of timm."""
    if config.reader in sources.READERS:
        return sources.open_source(config, split, classes)
    return _from_reader(config, split, classes)


class _Rows:
    """Opens the images of a reader of timm and translates its class numbers."""

    def __init__(self, reader: Any, translated: dict[int, int]) -> None:
        self.reader, self.translated = reader, translated

    def __call__(self, row: int) -> tuple[Any, int]:
        file, label = self.reader[row]
        label = self.translated.get(int(label), int(label))
        with file:
            return open_picture(file, self.reader.filename(row)), label


def _from_reader(config: RunConfig, split: str, classes: Sequence[str] | None) -> Source:
    reader = timm_parts.open_reader(config, split)
    if not hasattr(reader, "__getitem__"):
        raise ValueError(
            f"--reader {config.reader} streams its pictures, which cannot be read by number; "
            "use a folder, --reader tar, --reader wds for local shards, or hfds/NAME."
        )
    numbers = timm_parts.class_numbers(reader)
    names = sorted(numbers)  # timm sorts class10 behind class9, a folder does not
    if names and classes and names != list(classes):
        raise ValueError(
            f"{config.data} has other classes in {split} than in train: {len(names)}, such as "
            f"{names[0]}, against {len(classes)}, such as {classes[0]}; expected the same."
        )
    translated = {numbers[name]: i for i, name in enumerate(names)}
    known = getattr(reader, "targets", None)
    labels = None if known is None else [translated.get(int(n), int(n)) for n in known]
    describe = None
    if labels is not None and config.reader == "tar":
        describe = partial(_list_tar, reader, labels)
    return Source(names, labels, len(reader), _Rows(reader, translated), describe)


def _list_tar(reader: Any, labels: Sequence[int]) -> Iterator[tuple[int, bytes, int]]:
    """Yield class, name and size of the images in tar files."""
    for label, (image, parent, *_) in zip(labels, reader.samples, strict=True):
        yield label, encoded(f"{parent or ''}/{image.name}"), image.size


class Pictures(Dataset[tuple[Any, int, list[str]]]):
    """Rows of a source, transformed with the seed of their position."""

    def __init__(
        self,
        source: Source,
        rows: Sequence[int],
        transform: timm_parts.Transform,
        *,
        seed: int,
        replace_bad: bool,
    ) -> None:
        self.source, self.rows, self.transform, self.seed = source, rows, transform, seed
        self.replace_bad = replace_bad

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> tuple[Any, int, list[str]]:
        """Return pixels, label and the messages on unreadable images; pixels may be None."""
        epoch, position, row = key
        picture, label, bad = open_row(self.source, self.rows, row, replace_bad=self.replace_bad)
        if picture is None:
            return None, 0, bad
        with _seeded(self.seed, epoch, position):
            return self.transform(picture), label, bad


@contextmanager
def _seeded(*position: int) -> Iterator[None]:
    """Seed the global generators that transforms draw from; restore them in the main process."""
    seed = int(np.random.SeedSequence(position).generate_state(1)[0])
    alone = get_worker_info() is None  # a reading process draws from them here alone
    before = (random.getstate(), np.random.get_state(), torch.get_rng_state()) if alone else None  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        if before is not None:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            torch.set_rng_state(before[2])


def collate(rows: Sequence[tuple[Any, int, list[str]]]) -> Images:
    """Return a batch of the images that could be read."""
    bad = [name for _, _, names in rows for name in names]
    good = [(pixels, label) for pixels, label, _ in rows if pixels is not None]
    if not good:
        return Images(torch.empty(0), torch.empty(0, dtype=torch.int64), bad)
    # In a reading process, this stacks into memory that it shares, without another copy.
    pixels = default_collate([torch.as_tensor(pixels) for pixels, _ in good])
    return Images(pixels, torch.tensor([label for _, label in good]), bad)


class KilledWorkerError(OSError):
    """A process that reads images was killed."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"a process that reads images was killed ({reason.rstrip('.')}), perhaps for lack of "
            "memory. The last checkpoint is intact: start the same command again, perhaps with "
            "fewer --workers."
        )


@contextmanager
def naming_killed_workers() -> Iterator[None]:
    """Turn torch's `RuntimeError` about a killed worker process into a `KilledWorkerError`.

    A signal handler raises it, at any place in the main process. Within a finaliser Python would
    print and drop it; the loader then raises it again.
    """
    report = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not _is_of_worker(unraisable.exc_value):
            report(unraisable)

    sys.unraisablehook, killed = hook, False
    try:
        yield
    except KilledWorkerError:
        killed = True
        raise
    except RuntimeError as error:
        killed = _is_of_worker(error)
        if killed:
            raise KilledWorkerError(reason(error)) from error
        raise
    finally:
        if not killed:  # else the loader's finalisers are still to come
            sys.unraisablehook = report


def _is_of_worker(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


class Loader:
    """Batches of a data set in a given order.

    A worker process does not raise on an unreadable image, since the DataLoader would turn the
    error into a traceback. It returns the message with the batch, and `__iter__` raises it.
    """

    def __init__(
        self,
        pictures: Pictures,
        order: Iterable[list[Key]],
        config: RunConfig,
        comm: TorchCommunicator,
    ) -> None:
        self.strict, self.workers = config.on_bad_image == "error", config.workers
        self.batches: DataLoader[Any] = DataLoader(
            pictures,
            batch_sampler=order,
            num_workers=config.workers,
            collate_fn=collate,
            pin_memory=comm.device.type == "cuda",
            persistent_workers=config.workers > 0,
            prefetch_factor=4 if config.workers else None,
            worker_init_fn=_leave_signals,
        )

    def __iter__(self) -> Iterator[Images]:
        """Return the batches.

        Raises
        ------
        BadPictureError
            If an image cannot be read, unless unreadable ones are skipped.
        """
        batches = iter(self.batches)
        while (images := self._next(batches)) is not None:
            if self.strict and images.bad:
                raise BadPictureError(f"{images.bad[0]} To leave it out, pass --on-bad-image skip.")
            yield images

    def _next(self, batches: Iterator[Images]) -> Images | None:
        """Return the next batch, or None at the end."""
        try:
            return next(batches, None)
        except (OSError, EOFError) as error:
            # A killed process breaks the connection over which a batch is handed over. An error
            # that a living one has raised has only a text.
            broken = isinstance(error, ConnectionError | EOFError) or error.errno is not None
            if not self.workers or not broken:
                raise
            raise KilledWorkerError(reason(error)) from error


def _leave_signals(_: int) -> None:
    """Make a worker process ignore signals that reach all processes, so that the run can save.

    Only its parent process may terminate it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS cannot tell who sends a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


class Synthetic:
    """Batches of random pixels in device memory, for measuring throughput."""

    def __init__(self, config: RunConfig, n_classes: int, comm: TorchCommunicator) -> None:
        rng = torch.Generator().manual_seed(config.seed)
        shape = (config.batch_size, 3, config.resolution, config.resolution)
        self.batch = Images(
            torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8).to(comm.device),
            torch.randint(0, n_classes, shape[:1], generator=rng).to(comm.device),
            [],
        )
        self.n = config.n_images
        self.per_epoch = config.n_images // (config.batch_size * comm.world)

    def batches(self, start: int) -> Iterator[Images]:
        """Return the batches of an epoch from batch `start` on."""
        return (self.batch for _ in range(start, self.per_epoch))
