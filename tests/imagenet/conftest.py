"""A run without a framework: 24 rows in two classes, and a "network" of one number."""

import signal
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from skdidicm.imagenet import feed as feeds
from skdidicm.imagenet.log import RunLog
from skdidicm.imagenet.output import Output
from skdidicm.imagenet.recipes import resolve
from skdidicm.imagenet.run import Run
from skdidicm.imagenet.sources import Source, open_row
from skdidicm.imagenet.stopping import StopRequest
from skdidicm.pictures import BadPictureError

N = 24


@dataclass(frozen=True)
class Alone:
    """The communicator of a single process."""

    rank: int = 0
    world: int = 1
    first: bool = True

    def gather(self, value):
        return [value]

    def sum(self, values):
        return values

    def wait(self):
        pass


class Batch(NamedTuple):
    rows: list
    bad: list


class Feed(feeds.Feed):
    """Numbers instead of images; those in `unreadable` cannot be read."""

    unreadable, n, names = (), N, ("even", "odd")

    def open_source(self, split, classes=None):
        def read(row):
            if row in self.unreadable:
                raise BadPictureError(f"row {row} cannot be read")
            return float(row), row % 2

        def describe():
            return ((row % 2, b"%d" % row, row) for row in range(self.n))

        labels = [row % 2 for row in range(self.n)]
        return Source(list(self.names), labels, self.n, read, describe)

    def training_batches(self, source, rows, order):
        return _Batches(source, rows, order)

    def evaluation_batches(self):
        return [Batch([0.0, 1.0, 2.0], []), Batch([3.0, 4.0], [])]


class _Batches:
    def __init__(self, source, rows, order):
        self.source, self.rows, self.order = source, rows, order

    def __iter__(self):
        for keys in self.order:
            found = [open_row(self.source, self.rows, row, replace_bad=True) for *_, row in keys]
            yield Batch(
                [x for x, _, _ in found if x is not None], [b for *_, bad in found for b in bad]
            )


class Engine:
    """One weight that depends on every row and on their order."""

    accumulate, memory, learning_rate = 1, 0.0, 0.1

    def __init__(self):
        self.weight, self.update = 0.0, 0
        self.before_update = self.before_evaluation = lambda update: None

    def train_update(self, batches):
        self.before_update(self.update)
        for batch in batches:
            for number in batch.rows:
                self.weight = 0.9 * self.weight + number
        self.update += 1
        return self.weight / 100

    def evaluate(self, batches):
        n = 0
        for batch in batches:
            self.before_evaluation(self.update)
            n += len(batch.rows)
        accuracy = float(abs(np.sin(self.weight)))
        return {"n_images": n, "accuracy": accuracy, "nll": 1.0, "ece": 0.1}, []

    def weight_sum(self):
        return self.weight

    def pack(self):
        values = {"update": self.update, "optimizer": {}, "scaler": {}}
        return {"model.weight": np.array([self.weight])}, values

    def unpack(self, tensors, values):
        self.weight, self.update = float(tensors["model.weight"][0]), values["update"]


@pytest.fixture
def toy_run():
    """Make a run in a folder: three updates of eight rows in each of four epochs."""

    def make(folder, *, engine=None, comm=None, stop=None, output=None, data=None, **changes):
        settings = {"data": "toy", "epochs": 4, "batch_size": 8, "global_batch": 8}
        settings |= {"warmup_epochs": 0, "checkpoint_minutes": 1000, "log_every": 1}
        config = resolve({**settings, **changes}).config
        comm, output = comm or Alone(), output or Output(folder)
        feed = type("Feed", (Feed,), data or {})(config, comm, config.batch_size)
        log = RunLog(config, folder, 12, first=comm.first, import_events=lambda: None)
        return Run(config, output, comm, stop or StopRequest(), feed, engine or Engine(), log)

    return make


@pytest.fixture
def toy_engine():
    return Engine


@pytest.fixture
def stop_before():
    """Make an engine that gets a signal before an update."""

    def make(run, update, number=signal.SIGTERM):
        def send(current):
            if current == update:
                run.stop.signal = number

        run.engine.before_update = send
        return run

    return make


@pytest.fixture
def whole(toy_run, tmp_path):
    """The folder of a run that nothing has interrupted."""
    folder = tmp_path / "whole"
    folder.mkdir()
    toy_run(folder).go()
    return folder
