"""The training loop: epochs, evaluations and checkpoints."""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.communicator import Communicator
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import Feed, check_share, updates_per_epoch
from skdidicm.imagenet.interval import Interval
from skdidicm.imagenet.log import RunLog, truncate_log
from skdidicm.imagenet.stopping import Interrupted, StopRequest
from skdidicm.imagenet.trainer import TrainingEngine, TrainingResult

HISTORY = "history.jsonl"
BAD_IMAGES = "bad_images.txt"
_AGREE_EVERY = 10  # updates between two collective decisions on saving


class DivergedRunError(FloatingPointError):
    """The loss or a weight became NaN or infinite; the last checkpoint was written before that."""


class Run:
    """The training loop of one process.

    Attributes
    ----------
    loss : scalar
        Sum of this epoch's losses; on the device after its first update, which keeps the loop
        from waiting for every loss.
    n_losses : float
        Number of losses in that sum.
    """

    loss: Any

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        comm: Communicator,
        stop: StopRequest,
        feed: Feed,
        engine: TrainingEngine,
        log: RunLog,
    ) -> None:
        self.config, self.folder, self.comm, self.stop = config, folder, comm, stop
        self.feed, self.engine, self.log = feed, engine, log
        self.per_epoch = updates_per_epoch(config, feed, engine.accumulate)
        self.history: list[dict[str, Any]] = []
        self.best, self.is_best = -math.inf, False
        self._saved = time.monotonic()
        self._new_epoch()

    def go(self) -> None:
        """Train to the last epoch. An epoch is complete when its row is in the history."""
        self._resume()
        last = min(self.config.epochs, self.config.stop_epoch or self.config.epochs)
        for epoch in range(len(self.history), last):
            self._train_epoch(epoch)
            self._end_epoch(epoch)

    def result(self) -> TrainingResult | None:
        """Return what to export, or None if this process is not the first."""
        if not self.comm.first:
            return None
        exported = files.locate(self.folder)
        return TrainingResult(exported, self.figures_of(exported), self.feed.classes)

    def figures_of(self, path: Path) -> dict[str, Any]:
        """Return the figures of a checkpoint's last evaluation."""
        rows = files.read_values(path)["history"] or self.history
        found: list[dict[str, Any]] = [row["figures"] for row in rows if "figures" in row]
        return found[-1] if found else {}

    def _new_epoch(self) -> None:
        self.loss, self.n_losses = 0.0, 0.0
        self.seconds = self.waited = 0.0

    def _train_epoch(self, epoch: int) -> None:
        done = self.engine.update - epoch * self.per_epoch
        batches = self.feed.train(epoch, done * self.engine.accumulate)
        since = Interval(self.engine.update)
        for _ in range(done, self.per_epoch):
            group = since.wait(batches, self.engine.accumulate)
            loss = self.engine.train_update(group)
            self.loss, self.n_losses = self.loss + loss, self.n_losses + 1
            if self.engine.update % self.config.log_every == 0:
                self._log(epoch, since, loss)
                since = self._end_interval(since)
            self._save_if_asked()
        self._end_interval(since)

    def _end_interval(self, since: Interval) -> Interval:
        self.seconds += since.seconds
        self.waited += since.waited
        return Interval(self.engine.update)

    def _log(self, epoch: int, since: Interval, loss: Any) -> None:
        value = float(loss)
        self._check_finite(value, "the loss")
        n = (self.engine.update - since.update) * self.config.global_batch
        self.log.updates(
            {
                "epoch": epoch + 1,
                "update": self.engine.update,
                "loss": value,
                "learning_rate": self.engine.learning_rate,
                "images_per_second": n / since.seconds,
                "data_wait": since.waited / since.seconds,
                "memory_gib": self.engine.memory,
            }
        )

    def _check_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise DivergedRunError(
                f"{what} became {value} before update {self.engine.update} in epoch "
                f"{len(self.history) + 1}; the last checkpoint is sound. Try a smaller "
                "--learning-rate, or --precision float32."
            )

    def _total_loss(self) -> NDArray[np.float32]:
        """Return the sum of the losses of this epoch over all processes, and their number."""
        return self.comm.sum(np.array([float(self.loss), self.n_losses], dtype=np.float32))

    def _check_sound(self, loss: float) -> None:
        """Check that training can continue from the state that is about to be saved."""
        self._check_finite(loss, "the loss")
        self._check_finite(self.engine.weight_sum(), "a weight")

    def _save_if_asked(self) -> None:
        """Save when a checkpoint is due or a signal came, then exit on a signal.

        All processes take the same decision.
        """
        alone = self.comm.world == 1
        if not alone and self.engine.update % _AGREE_EVERY and self.engine.update % self.per_epoch:
            return
        late = time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes
        asked = [self.stop.signal, int(late and self.comm.first)]
        if not alone:
            asked = [max(column) for column in zip(*self.comm.gather(asked), strict=True)]
        if any(asked):
            self._save()
        if asked[0]:
            self.log.message(f"saved after update {self.engine.update}; the same command resumes.")
            raise Interrupted(asked[0])

    def _end_epoch(self, epoch: int) -> None:
        total = self._total_loss()
        self._check_sound(float(total[0]))  # before figures of a diverged network are recorded
        bad = self.feed.gather_bad()
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "update": self.engine.update,
            "loss": float(total[0] / total[1]),
            "learning_rate": self.engine.learning_rate,
            "seconds": self.seconds,
            "images_per_second": self.per_epoch * self.config.global_batch / self.seconds,
            "data_wait": self.waited / self.seconds,
        }
        figures: dict[str, Any] = {}
        is_last = epoch + 1 in (self.config.epochs, self.config.stop_epoch)
        if is_last or (epoch + 1) % self.config.evaluate_every == 0:
            figures, unread = self._evaluate()
            bad += unread
            row |= {f"val_{name}": figures[name] for name in ("accuracy", "nll", "ece")}
            row["figures"] = figures
        self.history.append(row)
        self._new_epoch()
        better = figures.get("accuracy", -math.inf) > self.best
        self.best = max(self.best, figures.get("accuracy", -math.inf))
        self._save(best=better)
        if self.comm.first:
            self._write_history()
            self._list_bad(bad)
        self.log.epoch(row)

    def _list_bad(self, bad: list[str]) -> None:
        """Append new names to the list of unreadable images."""
        path = self.folder / BAD_IMAGES
        known = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if set(bad) - set(known):
            path.write_text("".join(f"{n}\n" for n in dict.fromkeys(known + bad)), "utf-8")

    def _evaluate(self) -> tuple[dict[str, Any], list[str]]:
        figures, bad = self.engine.evaluate(self.feed.test())
        unread = [name for names in self.comm.gather(bad) for name in names]
        check_share(unread, figures["n_images"] + len(unread), "validation")
        return figures, unread

    def _save(self, *, best: bool = False) -> None:
        loss = self._total_loss()
        self._check_sound(float(loss[0]))
        if self.comm.first:
            tensors, values = self.engine.pack()
            tensors[files.LOSS] = loss
            values |= {
                "config": self.config.plain(),
                "classes": self.feed.classes,
                "world": self.comm.world,
                "history": self.history,
                "best": self.best if math.isfinite(self.best) else None,
                "is_best": best,
                "seconds": [self.seconds, self.waited],
            }
            path = files.path_of(self.folder, self.engine.update)
            files.write(path, files.Checkpoint(tensors, values))
            if best:
                files.mark_best(self.folder, path)
            files.thin(self.folder, self.config.keep)
        self._saved = time.monotonic()
        self.comm.wait()

    def _resume(self) -> None:
        path = self._start()
        if path is not None:
            self._restore(path)
        if self.config.resume != "auto":
            self.comm.wait()  # until all have read what is renamed here
            aside = files.set_aside(self.folder) if self.comm.first else None
            if aside is not None:
                self.log.message(f"earlier checkpoints are now in {aside}")
        if self.comm.first:
            truncate_log(self.folder, self.engine.update)
            self._write_history()
            if path is None:
                (self.folder / BAD_IMAGES).unlink(missing_ok=True)
        if path is None:
            return
        if self.config.resume != "auto":
            self.best = -math.inf  # there is no best.safetensors any more
            self._save()
        elif self.is_best and self.comm.first:  # unless the last run was killed just before that
            files.mark_best(self.folder, path)
        self.log.message(f"going on after update {self.engine.update} from {path}")

    def _start(self) -> Path | None:
        """Return the checkpoint to resume from, if any."""
        if self.config.resume == "never":
            return None
        if self.config.resume != "auto":
            return Path(self.config.resume)
        path = files.newest(self.folder)
        if len({path and path.name for path in self.comm.gather(path)}) > 1:
            raise ValueError(
                f"the processes do not see the same checkpoints in {self.folder}; expected an "
                "--output that all machines share."
            )
        return path

    def _restore(self, path: Path) -> None:
        saved = files.read_run(path)
        files.check_same(self.config, saved.values["config"], path)
        if saved.values["classes"] != self.feed.classes:
            raise ValueError(
                f"{path} was trained on other classes than {self.config.data} has; pass the data "
                "of that run, or another --output."
            )
        self.engine.unpack(saved.tensors, saved.values)
        self.history = saved.values["history"]
        self.best = -math.inf if saved.values["best"] is None else saved.values["best"]
        self.is_best = bool(saved.values.get("is_best"))
        self.seconds, self.waited = saved.values["seconds"]
        if self.comm.first:
            self.loss, self.n_losses = (float(value) for value in saved.tensors[files.LOSS])

    def _write_history(self) -> None:
        lines = [json.dumps(row) + "\n" for row in self.history]
        (self.folder / HISTORY).write_text("".join(lines), encoding="utf-8")
