"""The training loop: epochs, evaluations and checkpoints."""

import json
import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.communicator import Communicator
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import Feed, check_share, updates_per_epoch
from skdidicm.imagenet.fingerprint import Fingerprint, differences, shown
from skdidicm.imagenet.interval import Interval
from skdidicm.imagenet.log import RunLog, carry_log, truncate_log
from skdidicm.imagenet.output import (
    BAD_IMAGES,
    HISTORY,
    Output,
    in_first_process,
    set_aside,
    write_text,
)
from skdidicm.imagenet.run_state import RunState
from skdidicm.imagenet.stopping import Interrupted, StopRequest
from skdidicm.imagenet.trainer import TrainingEngine, TrainingResult

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
        output: Output,
        comm: Communicator,
        stop: StopRequest,
        feed: Feed,
        engine: TrainingEngine,
        log: RunLog,
    ) -> None:
        self.config, self.output, self.comm, self.stop = config, output, comm, stop
        self.feed, self.engine, self.log = feed, engine, log
        self.folder = output.folder
        self.per_epoch = updates_per_epoch(config, feed, engine.accumulate)
        self.history: list[dict[str, Any]] = []
        self.best, self.is_best = -math.inf, False
        self.data: Fingerprint | None = None  # in the first process only
        self._saved = time.monotonic()
        self._new_epoch()

    def go(self) -> None:
        """Train to the last epoch. An epoch is complete when its row is in the history.

        Nothing in the folder changes before all that a run needs has been loaded and checked.
        """
        point = self._prepare()
        in_first_process(self.comm, partial(self._begin, point))
        if self.config.resume not in ("auto", "never"):
            self._save()  # the folder's own first checkpoint
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

    # Starting and resuming

    def _prepare(self) -> files.ResumePoint | None:
        """Load and check everything that the run starts from; only read files."""
        self._check_same_data_everywhere()
        point = self._resume_point()
        in_first_process(self.comm, self._fingerprint)
        if point is not None:
            files.check_same(self.config, point.saved.values["config"], point.path)
            in_first_process(self.comm, partial(self._check_data, point))
            self._restore(point)
        return point

    def _fingerprint(self) -> None:
        self.data = self.feed.fingerprint()

    def _check_same_data_everywhere(self) -> None:
        seen = self.comm.gather((self.feed.n_train, self.feed.classes))
        if any(one != seen[0] for one in seen):
            raise ValueError(
                f"the processes do not see the same images in {self.config.data}; expected a "
                "--data that all machines share, or the same copy on each."
            )

    def _resume_point(self) -> files.ResumePoint | None:
        """Return the checkpoint to resume from, if any."""
        if self.config.resume == "never":
            return None
        if self.config.resume != "auto":
            path = Path(self.config.resume)
            return files.ResumePoint(path, files.read_run(path), [])
        point = files.newest_intact(self.folder)
        if len(set(self.comm.gather(point and point.path.name))) > 1:
            raise ValueError(
                f"the processes do not see the same checkpoints in {self.folder}; expected an "
                "--output that all machines share."
            )
        return point

    def _check_data(self, point: files.ResumePoint) -> None:
        """Check that the data are those of a checkpoint, unless changes are accepted."""
        state, now = point.saved.state(), self.feed.classes
        if len(state.classes) != len(now):
            raise ValueError(
                f"{point.path} was trained on {len(state.classes)} classes, but {self.config.data} "
                f"has {len(now)}; pass the data of that run, or another --output."
            )
        found: list[str] = []
        if state.data is not None and self.data is not None:
            found = differences(Fingerprint.parse(state.data), self.data)
        if state.classes != now and not found:
            i = next(i for i, name in enumerate(now) if name != state.classes[i])
            found = [f"class {i} is {now[i]} instead of {state.classes[i]}"]
        if found and not self.config.accept_changed_data:
            raise ValueError(
                f"{self.config.data} has changed since {point.path} was written ({shown(found)}); "
                "restore the data, or pass --accept-changed-data to resume with the new ones."
            )

    def _restore(self, point: files.ResumePoint) -> None:
        state = point.saved.state()
        self.engine.unpack(point.saved.tensors, point.saved.values)
        self.history = state.history
        self.best = -math.inf if state.best is None else state.best
        self.is_best = state.is_best
        self.seconds, self.waited = state.seconds
        moved = self.config.resume != "auto"
        if moved or (point.damaged and not files.has_best(self.folder, self.engine.update)):
            self.best = -math.inf  # the file of the best checkpoint is not kept
        if self.comm.first:
            self.loss, self.n_losses = (float(value) for value in point.saved.tensors[files.LOSS])

    def _begin(self, point: files.ResumePoint | None) -> None:
        """Change the folder: move what does not belong to this run aside, and write its files."""
        aside = None if self.config.resume == "auto" else set_aside(self.folder)
        if aside is not None:
            self.log.message(f"the earlier run is now in {aside}")
        if point is not None:
            self._begin_resumed(point, aside)
        self.output.begin()
        truncate_log(self.folder, self.engine.update)
        self._write_history()
        if point is None:
            (self.folder / BAD_IMAGES).unlink(missing_ok=True)
        self.log.open()

    def _begin_resumed(self, point: files.ResumePoint, aside: Path | None) -> None:
        if aside is not None and point.path.parent.parent == self.folder:
            carry_log(aside, self.folder)  # it resumes from a checkpoint of its own
        if point.damaged:
            names = ", ".join(str(path) for path in files.rename_damaged(point.damaged))
            self.log.message(
                f"Warning: damaged checkpoints were found and renamed to {names}; training resumes "
                "from the newest intact one."
            )
        elif self.config.resume == "auto" and self.is_best:
            files.mark_best(self.folder, point.path)  # the run may have been killed just before
        if not point.saved.verified:
            self.log.message(
                f"Note: {point.path} was written by an earlier version of skdidicm, without "
                "checksums or a fingerprint of the data; whether it is intact and the data are "
                "unchanged cannot be checked."
            )
        self.log.message(f"resuming after update {self.engine.update} from {point.path}")

    # Training

    def _new_epoch(self) -> None:
        self.loss, self.n_losses = 0.0, 0.0
        self.seconds = self.waited = 0.0

    def _train_epoch(self, epoch: int) -> None:
        start = self.history[-1]["update"] if self.history else 0
        # The data may have become fewer since a checkpoint within this epoch.
        done = min(self.engine.update - start, self.per_epoch)
        batches = self.feed.train(epoch, done * self.engine.accumulate)
        since = Interval(self.engine.update)
        for i in range(done, self.per_epoch):
            group = since.wait(batches, self.engine.accumulate)
            loss = self.engine.train_update(group)
            self.loss, self.n_losses = self.loss + loss, self.n_losses + 1
            if self.engine.update % self.config.log_every == 0:
                self._log(epoch, since, loss)
                since = self._end_interval(since)
            self._save_if_asked(last=i == self.per_epoch - 1)
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

    def _save_if_asked(self, *, last: bool) -> None:
        """Save when a checkpoint is due or a signal came, then exit on a signal.

        All processes take the same decision.
        """
        alone = self.comm.world == 1
        if not alone and self.engine.update % _AGREE_EVERY and not last:
            return
        late = time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes
        asked = [self.stop.signal, int(late and self.comm.first)]
        if not alone:
            asked = [max(column) for column in zip(*self.comm.gather(asked), strict=True)]
        if any(asked):
            self._save()
        self._exit_on(asked[0])

    def _exit_on(self, signal: int) -> None:
        if signal:
            self.log.message(f"saved after update {self.engine.update}; the same command resumes.")
            raise Interrupted(signal)

    # Evaluating and saving

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
        in_first_process(self.comm, partial(self._write_epoch, bad))
        self.log.epoch(row)
        self._exit_on(max(self.comm.gather(self.stop.signal)))

    def _write_epoch(self, bad: list[str]) -> None:
        self._write_history()
        path = self.folder / BAD_IMAGES
        known: list[str] = []
        if path.is_file():
            known = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        if set(bad) - set(known):
            write_text(path, "".join(f"{n}\n" for n in dict.fromkeys(known + bad)))

    def _evaluate(self) -> tuple[dict[str, Any], list[str]]:
        """Return figures and unreadable images; on a signal, save without them and exit."""
        figures, bad = self.engine.evaluate(self._until_stopped(self.feed.test()))
        signal = max(self.comm.gather(self.stop.signal))
        if signal:  # the evaluation may have been cut short; a resumed run repeats it
            self._save()
            self._exit_on(signal)
        unread = [name for names in self.comm.gather(bad) for name in names]
        check_share(unread, figures["n_images"] + len(unread), "validation")
        return figures, unread

    def _until_stopped(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches until a signal comes, but at least one: no batch has no figures."""
        for batch in batches:
            yield batch
            if self.stop.signal:
                return

    def _save(self, *, best: bool = False) -> None:
        loss = self._total_loss()
        self._check_sound(float(loss[0]))
        in_first_process(self.comm, partial(self._write_checkpoint, loss, best))
        self._saved = time.monotonic()

    def _write_checkpoint(self, loss: NDArray[np.float32], best: bool) -> None:
        tensors, values = self.engine.pack()
        state = RunState(
            config=self.config.plain(),
            classes=self.feed.classes,
            world=self.comm.world,
            history=self.history,
            best=self.best if math.isfinite(self.best) else None,
            is_best=best,
            seconds=[self.seconds, self.waited],
            data=None if self.data is None else self.data.plain(),
        )
        path = files.path_of(self.folder, self.engine.update)
        saved = files.Checkpoint(tensors | {files.LOSS: loss}, values | state.plain())
        files.write(path, saved)
        if best:
            files.mark_best(self.folder, path)
        files.thin(self.folder, self.config.keep)

    def _write_history(self) -> None:
        write_text(self.folder / HISTORY, "".join(json.dumps(row) + "\n" for row in self.history))
