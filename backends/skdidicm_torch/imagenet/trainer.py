"""The run: epochs, evaluations and checkpoints."""

import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from skdidicm.core import SCHEDULES, UniformProcess
from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.config import FREE, RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm_torch.imagenet.data import Images
from skdidicm_torch.imagenet.engine import Engine, accumulation, load_weights
from skdidicm_torch.imagenet.evaluation import evaluate as evaluate_batches
from skdidicm_torch.imagenet.feed import Feed, evaluation_loader
from skdidicm_torch.imagenet.model import create_model
from skdidicm_torch.imagenet.preparation import Preparation
from skdidicm_torch.imagenet.processes import Place, joined
from skdidicm_torch.imagenet.stopping import Interrupted, StopRequest
from skdidicm_torch.imagenet.telling import Teller, forget_after

HISTORY = "history.jsonl"
BAD_IMAGES = "bad_images.txt"
_AGREE_EVERY = 10  # updates between two agreements of several processes


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite; the last checkpoint is sound."""


def train(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Train, or go on from the newest checkpoint in `folder`.

    Returns
    -------
    dict
        `metrics` of the last evaluation, `classes`, the `checkpoint` to export, and `first`:
        whether this process is the one that writes.
    """
    with joined(config.device) as place, StopRequest() as stop:
        run = Run(config, folder, place, stop)
        with run.teller:
            metrics = run.go()
        best = folder / files.FOLDER / files.BEST
        return {
            "metrics": metrics,
            "classes": run.feed.classes,
            "checkpoint": str(best),
            "first": place.first,
        }


class Run:
    """One run of one process."""

    def __init__(self, config: RunConfig, folder: Path, place: Place, stop: StopRequest) -> None:
        self.config, self.folder, self.place, self.stop = config, folder, place, stop
        self.feed = Feed(config, place)
        self.accumulate = accumulation(config, place)
        self.per_epoch = self.feed.per_epoch // self.accumulate
        if not self.per_epoch:
            raise ValueError(
                f"{self.feed.n_train} training images make no update of {config.global_batch}; "
                "pass a smaller --global-batch and --batch-size."
            )
        self.engine = Engine(config, len(self.feed.classes), place, self.per_epoch)
        n_updates = config.epochs * self.per_epoch
        self.teller = Teller(config, folder, n_updates, first=place.first)
        self.history: list[dict[str, Any]] = []
        self.best = -math.inf
        self._saved = time.monotonic()
        self._new_epoch()

    def go(self) -> dict[str, Any]:
        """Run to the end and return the last figures."""
        self._resume()
        last = min(self.config.epochs, self.config.stop_epoch or self.config.epochs)
        metrics: dict[str, Any] = {}
        for epoch in range(self.engine.update // self.per_epoch, last):
            self._train_epoch(epoch)
            metrics = self._end_epoch(epoch)
        return metrics or (self.history[-1].get("figures", {}) if self.history else {})

    def _new_epoch(self) -> None:
        self.loss = torch.zeros(2, device=self.place.device)
        self.seconds = self.waited = 0.0

    def _train_epoch(self, epoch: int) -> None:
        done = self.engine.update - epoch * self.per_epoch
        batches = self.feed.train(epoch, done * self.accumulate)
        since = Interval(self.engine.update)
        for _ in range(done, self.per_epoch):
            group = since.wait(batches, self.accumulate)
            loss = self.engine.train_update(group)
            self.loss += torch.stack([loss, torch.ones_like(loss)])
            if self.engine.update % self.config.log_every == 0:
                self._tell(epoch, since, loss)
                since = self._end_interval(since)
            self._save_if_asked()
        self._end_interval(since)

    def _end_interval(self, since: "Interval") -> "Interval":
        self.seconds += since.seconds
        self.waited += since.waited
        return Interval(self.engine.update)

    def _tell(self, epoch: int, since: "Interval", loss: Any) -> None:
        value = float(loss)
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the loss became {value} before update {self.engine.update} in epoch {epoch + 1}; "
                "the last checkpoint is sound. Try a smaller --learning-rate, or --precision "
                "float32."
            )
        n = (self.engine.update - since.update) * self.config.global_batch
        self.teller.updates(
            {
                "epoch": epoch + 1,
                "update": self.engine.update,
                "loss": value,
                "learning_rate": self.engine.learning_rate,
                "images_per_second": n / since.seconds,
                "data_wait": since.waited / since.seconds,
                "memory_gib": _memory(self.place.device),
            }
        )

    def _save_if_asked(self) -> None:
        """Save if the time has come, and end if a signal asks for it; all processes agree."""
        alone = self.place.world == 1
        if not alone and self.engine.update % _AGREE_EVERY and self.engine.update % self.per_epoch:
            return
        late = time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes
        asked = [self.stop.signal, int(late and self.place.first)]
        if not alone:
            asked = [max(column) for column in zip(*self.place.gather(asked), strict=True)]
        if any(asked):
            self._save()
        if asked[0]:
            self.teller.say(f"saved after update {self.engine.update}; the same command resumes.")
            raise Interrupted(asked[0])

    def _end_epoch(self, epoch: int) -> dict[str, Any]:
        bad = self.feed.check_bad()
        total = self.place.sum(self.loss.clone())
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
        if self.place.first:
            self._write_history()
            if bad:
                (self.folder / BAD_IMAGES).write_text("\n".join(bad) + "\n", encoding="utf-8")
        self.teller.epoch(row)
        return figures

    def _evaluate(self) -> tuple[dict[str, Any], list[str]]:
        engine = self.engine
        figures, bad = evaluate_batches(
            engine.evaluated,
            self.feed.test(),
            self.config,
            engine.process,
            engine.schedule,
            engine.prepare,
            self.place,
        )
        return figures, [name for names in self.place.gather(bad) for name in names]

    def _save(self, *, best: bool = False) -> None:
        loss = self.place.sum(self.loss.clone())
        if self.place.first:
            tensors, values = self.engine.pack()
            tensors["epoch_loss"] = loss.cpu().numpy()
            values |= {
                "config": self.config.plain(),
                "classes": self.feed.classes,
                "world": self.place.world,
                "history": self.history,
                "best": self.best if math.isfinite(self.best) else None,
                "seconds": [self.seconds, self.waited],
            }
            path = files.path_of(self.folder, self.engine.update)
            files.write(path, files.Checkpoint(tensors, values))
            if best:
                files.mark_best(self.folder, path)
            files.thin(self.folder, self.config.keep)
        self._saved = time.monotonic()
        self.place.wait()

    def _resume(self) -> None:
        if self.config.resume == "never":
            return
        chosen = self.config.resume
        path = files.newest(self.folder) if chosen == "auto" else Path(chosen)
        if path is None:
            return
        saved = files.read(path)
        _check_same(self.config, saved.values["config"], path)
        if saved.values["classes"] != self.feed.classes:
            raise ValueError(f"{path} was trained on other classes than {self.config.data} has.")
        self.engine.unpack(saved.tensors, saved.values)
        self.history = saved.values["history"]
        self.best = -math.inf if saved.values["best"] is None else saved.values["best"]
        self.seconds, self.waited = saved.values["seconds"]
        if self.place.first:
            self.loss = torch.from_numpy(saved.tensors["epoch_loss"]).to(self.place.device)
            forget_after(self.folder, self.engine.update)
            self._write_history()
        self.teller.say(f"going on after update {self.engine.update} from {path}")

    def _write_history(self) -> None:
        lines = [json.dumps(row) + "\n" for row in self.history]
        (self.folder / HISTORY).write_text("".join(lines), encoding="utf-8")


class Interval:
    """Time since an update, and how much of it was waiting for data."""

    def __init__(self, update: int) -> None:
        self.update, self._start, self.waited = update, time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start

    def wait(self, batches: Iterator[Images], n: int) -> list[Images]:
        """Return the next n batches."""
        start = time.perf_counter()
        group = list(itertools.islice(batches, n))
        self.waited += time.perf_counter() - start
        return group


def _check_same(config: RunConfig, saved: Mapping[str, Any], path: Path) -> None:
    now = config.plain()
    changed = [k for k in now if k not in FREE and k in saved and saved[k] != now[k]]
    if changed:
        listed = ", ".join(f"{k} {saved[k]!r} -> {now[k]!r}" for k in changed)
        raise ValueError(
            f"{path} was written with other settings ({listed}); use those, or another --output, "
            "or --resume never."
        )


def _memory(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def evaluate(
    checkpoint: Path, changes: Mapping[str, Any], *, corrupt: str | None = None
) -> dict[str, Any]:
    """Return the figures of a checkpoint on the validation images, with other settings."""
    saved = files.read(checkpoint)
    config = replace(RunConfig(**saved.values["config"]), **changes)
    corruption = None if corrupt is None else Corruption(corrupt)
    with joined(config.device) as place:
        classes = saved.values["classes"]
        module = create_model(config, len(classes)).to(place.device)
        load_weights(module, files.evaluated_weights(saved))
        figures, bad = evaluate_batches(
            module,
            evaluation_loader(config, place, classes, corruption),
            config,
            UniformProcess(len(classes)),
            SCHEDULES[config.schedule](),
            Preparation(config, place.device),
            place,
        )
        unread = [name for names in place.gather(bad) for name in names]
        return {"first": place.first, "metrics": figures, "bad_images": unread}
