"""From checked rows and settings to what training needs: weighted rows, networks and the plan."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from skdidicm.backend import BuildNetwork, NetworkConfig, ScoreNetwork
from skdidicm.core import Process, Schedule
from skdidicm.fit.defaults import HEAD
from skdidicm.fit.state import Settings
from skdidicm.fit.training import Rows, TrainingPlan
from skdidicm.fit.validation import check_weight, class_weights, moments
from skdidicm.networks import LINEAR
from skdidicm.registry import new_network


def weighted_rows(
    x: NDArray[Any],
    q_0: NDArray[np.float64],
    classes: NDArray[Any],
    sample_weight: ArrayLike | None,
    class_weight: dict[Any, float] | str | None,
) -> tuple[Rows, NDArray[np.intp]]:
    """Return the rows with a positive weight, whose mean is one, and their places in x."""
    check_consistent_length(x, q_0)
    weight = check_weight(sample_weight, x)
    weight = with_class_weights(weight, q_0, classes, class_weight)
    kept = np.flatnonzero(weight > 0)
    rows = Rows(x, q_0, weight)
    rows = rows if len(kept) == len(x) else rows.take(kept)
    return replace(rows, weight=rows.weight / rows.weight.mean()), kept


def with_class_weights(
    weight: NDArray[np.float64],
    q_0: NDArray[np.float64],
    classes: NDArray[Any],
    class_weight: dict[Any, float] | str | None,
) -> NDArray[np.float64]:
    """Return the weights (n,) of rows times those of their classes."""
    if class_weight is None:
        return weight
    return np.asarray(weight * (q_0 @ class_weights(class_weight, classes, q_0, weight)))


def hold_out(rows: Rows, fraction: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of rows to train on and to validate on.

    They are stratified by class where every class has two rows.
    """
    from sklearn.model_selection import train_test_split

    n = len(rows.x)
    if n < 2:
        raise ValueError(
            "early stopping holds rows out to validate on, but X has one row; pass more rows, or "
            "set early_stopping=False."
        )
    index, labels = np.arange(n), rows.target.argmax(axis=1)
    _, counts = np.unique(labels, return_counts=True)
    n_held = min(math.ceil(fraction * n), n - 1)
    can_stratify = counts.min() > 1 and len(counts) <= min(n_held, n - n_held)
    train, held = train_test_split(
        index, test_size=n_held, random_state=seed, stratify=labels if can_stratify else None
    )
    return np.sort(train), np.sort(held)


def build_network(settings: Settings, rows: Rows, process: Process, seed: int) -> ScoreNetwork:
    """Return a network with fresh weights, which standardises by the moments of the rows."""
    trunk = settings.trunk
    mean, scale = (
        _moments(rows, settings.network)
        if trunk is None
        else (np.zeros(()), np.full((), trunk.white))
    )
    config = NetworkConfig(
        input_shape=rows.x.shape[1:],
        n_classes=rows.target.shape[1],
        process=process,
        network=settings.network,
        trunk=trunk,
        trunk_learning_rate=settings.trunk_learning_rate,
        conditioning=settings.conditioning,
        parameterization=settings.parameterization,
        objective=settings.objective,
        channel=settings.label_noise,
        mean=mean,
        scale=scale,
        weight_decay=settings.weight_decay,
        device=settings.device,
        precision=settings.precision,
        compile=settings.compile,
        seed=seed,
    )
    return new_network(settings.backend, config)


def untrained_like(network: ScoreNetwork, backend: str | BuildNetwork, rows: Rows) -> ScoreNetwork:
    """Return a network of the same configuration and seed, which standardises by other rows."""
    config = network.config
    if config.trunk is None:  # else it standardises by constants of its own
        mean, scale = _moments(rows, config.network)
        config = replace(config, mean=mean, scale=scale)
    return new_network(backend, config)


def rebuilt(network: ScoreNetwork, backend: str | BuildNetwork) -> ScoreNetwork:
    """Return a network with the same weights and a fresh optimiser, which takes no memory yet."""
    fresh = new_network(backend, network.config)
    fresh.load_state(network.state())
    return fresh


def training_plan(
    settings: Settings,
    process: Process,
    schedule: Schedule,
    objective: str,
    *,
    one_epoch: bool,
    going_on: bool,
) -> TrainingPlan:
    """Return the plan of a training; `one_epoch` is that of partial_fit.

    The objective is that of the network, which a later set_params cannot change. A training that
    is `going_on` has trained the head alone before.
    """
    plan = TrainingPlan(
        process=process,
        schedule=schedule,
        objective=objective,
        max_epochs=1 if one_epoch else settings.max_epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        n_draws=settings.n_draws,
        times=settings.times,
        enumerate_labels=settings.enumerate_labels,
        augment=settings.augment,
        mixup=settings.mixup,
        constant_rate=one_epoch,
        average=settings.average and not one_epoch,
    )
    if going_on or not settings.frozen_epochs:
        return plan
    head = replace(plan, max_epochs=settings.frozen_epochs, augment=None, mixup=0.0, average=False)
    if settings.trunk is not None:  # as on the features of a frozen network
        head = replace(head, batch_size=HEAD.batch_size, learning_rate=HEAD.learning_rate)
    return replace(plan, head=replace(head, constant_rate=False))


def _moments(rows: Rows, network: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and scale; features of a frozen network keep their relative sizes."""
    mean, scale = moments(rows.x, rows.weight.astype(np.float64))
    if isinstance(network, str) and network == LINEAR:
        spread = float(np.sqrt(rows.x.var(axis=0, dtype=np.float64).mean()))
        scale = np.full_like(scale, spread or 1.0)  # constant columns, whose scale is 1, add 0
    return mean, scale
