"""From an estimator's settings to a trained network: preparation, validation, early stopping."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, check_random_state

from skdidicm.backend import BuildNetwork, NetworkConfig, ScoreNetwork
from skdidicm.core import Process, Schedule
from skdidicm.fit.augmentation import resolve_augmentation
from skdidicm.fit.defaults import resolve, resolve_conditioning, resolve_form, resolve_precision
from skdidicm.fit.training import HistoryRow, NonFiniteLossError, Rows, TrainingPlan, epochs
from skdidicm.fit.validation import check_weight, class_weights, moments
from skdidicm.registry import new_network


class Seeds(NamedTuple):
    """Private seeds of one fit, so that no part of it draws from another's stream."""

    network: int
    training: int
    split: int
    sampling: int

    @classmethod
    def draw(cls, random_state: int | np.random.RandomState | None) -> "Seeds":
        """Return new seeds; the same for the same integer."""
        entropy = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        return cls(*(int(s) for s in np.random.SeedSequence(entropy).generate_state(4)))


def weighted_rows(
    x: NDArray[Any],
    q_0: NDArray[np.float64],
    classes: NDArray[Any],
    sample_weight: ArrayLike | None,
    class_weight: dict[Any, float] | str | None,
) -> Rows:
    """Return the rows with a positive weight; their mean weight is one."""
    check_consistent_length(x, q_0)
    weight = check_weight(sample_weight, x)
    if class_weight is not None:
        weight = weight * (q_0 @ class_weights(class_weight, classes, q_0, weight))
    keep = weight > 0
    if keep.all():
        return Rows(x, q_0, weight / weight.mean())
    return Rows(x[keep], q_0[keep], weight[keep] / weight[keep].mean())


def build_network(e: Any, rows: Rows, process: Process, seed: int) -> ScoreNetwork:
    """Return the network that estimator `e` asks for, with fresh weights."""
    mean, scale = moments(rows.x, rows.weight.astype(np.float64))
    shape, n_classes = rows.x.shape[1:], rows.target.shape[1]
    settings = resolve(_given(e), shape, len(rows.x), n_classes)
    conditioning = resolve_conditioning(e.conditioning, e.network)
    given = "posterior" if conditioning == "none" else e.parameterization
    parameterization, objective = resolve_form(given, e.objective, shape, len(rows.x))
    config = NetworkConfig(
        input_shape=shape,
        n_classes=n_classes,
        process=process,
        network=e.network,
        conditioning=conditioning,
        parameterization=parameterization,
        objective=objective,
        mean=mean,
        scale=scale,
        weight_decay=settings["weight_decay"],
        device=e.device,
        precision=resolve_precision(e.precision, shape, len(rows.x), settings["batch_size"]),
        compile=e.compile,
        seed=seed,
    )
    return new_network(e.backend, config)


def untrained_like(network: ScoreNetwork, backend: str | BuildNetwork, rows: Rows) -> ScoreNetwork:
    """Return a network of the same configuration and seed, but scaled by other rows."""
    mean, scale = moments(rows.x, rows.weight.astype(np.float64))
    return new_network(backend, replace(network.config, mean=mean, scale=scale))


def rebuilt(network: ScoreNetwork, backend: str | BuildNetwork) -> ScoreNetwork:
    """Return a network with the same weights and a fresh optimiser, which takes no room yet."""
    fresh = new_network(backend, network.config)
    fresh.load_state(network.state())
    return fresh


@contextmanager
def restored_on_error(e: Any, *, going_on: bool) -> Iterator[None]:
    """Put an estimator back as it was if its fit fails, but for a loss that is not finite.

    With `going_on` the fit may change the weights of the network in place.
    """
    before = dict(vars(e))
    weights = e.network_.state() if going_on else None
    try:
        yield
    except NonFiniteLossError:  # its best weights are the estimator's now
        raise
    except BaseException:
        trained = vars(e).get("history_") is not before.get("history_")
        vars(e).clear()
        vars(e).update(before)
        if weights is not None and trained:
            e.network_.load_state(weights)
            e.network_ = rebuilt(e.network_, e.backend)  # without what its optimiser gathered
        raise


def training_plan(
    e: Any, rows: Rows, process: Process, schedule: Schedule, *, one_epoch: bool
) -> TrainingPlan:
    """Return the plan that estimator `e` asks for; `one_epoch` is that of partial_fit."""
    shape = rows.x.shape[1:]
    settings = resolve(_given(e), shape, len(rows.x), rows.target.shape[1])
    return TrainingPlan(
        process=process,
        schedule=schedule,
        objective=e.network_.config.objective,  # a later set_params cannot change it
        max_epochs=1 if one_epoch else settings["max_epochs"],
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        n_draws=settings["n_draws"],
        enumerate_labels=settings["enumerate_labels"],
        augment=resolve_augmentation(e.augment, shape),
        mixup=float(settings["mixup"]),
        constant_rate=one_epoch,
        average=bool(settings["average"]) and not one_epoch,
    )


def _given(e: Any) -> dict[str, Any]:
    names = ("max_epochs", "batch_size", "learning_rate", "weight_decay", "n_draws", "mixup",
             "average")  # fmt: skip
    return {name: getattr(e, name) for name in names}


@dataclass(frozen=True)
class Watch:
    """What is looked at after every epoch.

    `validate` returns val_accuracy and val_nll. With a `patience`, training stops after so many
    epochs without a better val_nll and the best weights are taken back. `on_epoch` is shown every
    row of the history and stops training by returning True.
    """

    on_epoch: Callable[[HistoryRow], bool]
    validate: Callable[[], HistoryRow] | None = None
    patience: int | None = None
    progress: bool = False


def run(
    network: ScoreNetwork, rows: Rows, plan: TrainingPlan, rng: np.random.Generator, watch: Watch
) -> None:
    """Train a network in place; `watch.on_epoch` keeps the history."""
    best, best_epoch, best_state = math.inf, 0, network.state() if watch.patience else {}
    try:
        with progress("training", plan.max_epochs, shown=watch.progress) as advance:
            for row in epochs(network, rows, plan, rng):
                row |= watch.validate() if watch.validate else {}
                stop = watch.on_epoch(row)
                advance(row)
                if watch.patience:
                    epoch = int(row["epoch"])
                    if row["val_nll"] < best:
                        best, best_epoch, best_state = row["val_nll"], epoch, network.state()
                    stop |= epoch - best_epoch >= watch.patience
                if stop:
                    break
    except NonFiniteLossError:
        if best_epoch:
            network.load_state(best_state)
        raise
    if watch.patience:
        network.load_state(best_state)


def hold_out(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Return training and validation rows, stratified by class where every class has two rows."""
    from sklearn.model_selection import train_test_split

    n = len(rows.x)
    if n < 2:
        raise ValueError(
            "rows were to be held out to validate on, but X has one row; pass more rows, or set "
            "early_stopping=False and choose_epochs='auto'."
        )
    index, labels = np.arange(n), rows.target.argmax(axis=1)
    _, counts = np.unique(labels, return_counts=True)
    n_held = min(math.ceil(fraction * n), n - 1)
    can_stratify = counts.min() > 1 and len(counts) <= min(n_held, n - n_held)
    train, held = train_test_split(
        index, test_size=n_held, random_state=seed, stratify=labels if can_stratify else None
    )
    return rows.take(np.sort(train)), rows.take(np.sort(held))


def validation_scores(p: NDArray[np.float64], rows: Rows) -> HistoryRow:
    """Return weighted accuracy and negative log-likelihood (nats) of probabilities (n, k)."""
    share = rows.weight / rows.weight.sum()
    hit = p.argmax(axis=1) == rows.target.argmax(axis=1)
    return {"val_accuracy": float(share @ hit), "val_nll": float(losses(p, rows).mean())}


def losses(p: NDArray[np.float64], rows: Rows) -> NDArray[np.float64]:
    """Return each row's NLL (nats) under probabilities (n, k), times its share of the weight."""
    log_p = np.log(np.clip(p, np.finfo(p.dtype).eps, None))
    nll: NDArray[np.float64] = -(rows.target * log_p).sum(axis=1)
    nll *= rows.weight / rows.weight.mean()
    return nll


@contextmanager
def progress(what: str, n_epochs: int, *, shown: bool) -> Iterator[Callable[[HistoryRow], object]]:
    """Show a bar on stderr while epochs pass."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=n_epochs)
        yield lambda row: bar.update(task, completed=row["epoch"], description=_caption(row))


def _caption(row: HistoryRow) -> str:
    shown = ("loss", "val_accuracy", "val_nll")
    return "  ".join(f"{name} {row[name]:.3f}" for name in shown if name in row)
