"""From settings and rows to a trained network: the trial, training and early stopping."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import ReturnsFeatures, ScoreNetwork, Trunk
from skdidicm.core import Process, Schedule, read_out
from skdidicm.fit import trial
from skdidicm.fit.additive import learn_additive
from skdidicm.fit.plan import build_network, rebuilt, training_plan, untrained_like
from skdidicm.fit.progress import Progress, progress
from skdidicm.fit.state import Fitted, HeldOut, Seeds, Settings
from skdidicm.fit.training import (
    HistoryRow,
    Learner,
    NonFiniteLossError,
    Rows,
    TrainingPlan,
    epochs,
    validation_scores,
)
from skdidicm.fit.trees import learn_trees
from skdidicm.predict.familiarity import Familiar, learn_familiar
from skdidicm.predict.temperature import tempered

Predict = Callable[[ScoreNetwork, NDArray[Any]], NDArray[np.float64]]
"""Probabilities (n, k) of rows by one network, without temperature."""


class Observer(Protocol):
    """Receives the progress of training."""

    @property
    def watches(self) -> bool:
        """Whether there are callbacks, which use the estimator or may stop training."""
        ...

    def begin(self, n_epochs: int) -> None:
        """Receive the start of training, with the maximum number of epochs."""
        ...

    def end_epoch(self, row: HistoryRow) -> bool:
        """Receive the new row of the history after an epoch; return True to stop."""
        ...

    def end(self) -> None:
        """Receive the end of training, unless an error ended it."""
        ...


def untrained(
    settings: Settings,
    rows: Rows,
    classes: NDArray[Any],
    process: Process,
    schedule: Schedule,
    seeds: Seeds,
    trunk: Trunk | None = None,
) -> Fitted:
    """Return the state of a fit before its training: a network with fresh weights.

    With a `trunk`, the rows are features that it has extracted.
    """
    return Fitted(
        classes=classes,
        input_shape=rows.x.shape[1:] if trunk is None else trunk.config.input_shape,
        class_prior=rows.weight @ rows.target / rows.weight.sum(),
        process=process,
        schedule=schedule,
        seeds=seeds,
        rng=np.random.default_rng(seeds.training),
        network=build_network(settings, rows, process, seeds.network),
        trunk=trunk,
    )


def continued(earlier: Fitted, *, counting: bool) -> Fitted:
    """Return a state that training can continue from and that shares only the network.

    With `counting` the history is continued; otherwise it starts again. The networks of a trial
    and the models beside them are dropped, since they would not learn from the new rows.
    """
    return replace(
        earlier,
        rng=deepcopy(earlier.rng),
        members=[],
        held_out=None,
        additive=None,
        trees=None,
        familiar=[],
        history=list(earlier.history) if counting else [],
        n_iter=earlier.n_iter if counting else 0,
        interrupted=False,
    )


def fit(
    fitted: Fitted,
    rows: Rows,
    held: Rows | None,
    settings: Settings,
    predict: Predict,
    observer: Observer,
    *,
    going_on: bool = False,
    one_epoch: bool = False,
) -> None:
    """Train the network of `fitted` and fill in the results.

    Parameters
    ----------
    fitted : Fitted
        From `untrained` or `continued`; changed in place, so that an observer sees its progress.
    rows, held : Rows
        Rows to train on, and to validate on after every epoch if there are any.
    settings : Settings
        How to train.
    predict : callable
        The probabilities that the estimator would return at temperature 1.
    observer : Observer
        Receives the progress of the network's training, but not of a trial.
    going_on, one_epoch : bool
        Whether training continues an earlier one, and whether it is that of partial_fit. Neither
        has a trial.

    Raises
    ------
    NonFiniteLossError
        If the loss becomes NaN or infinite; the network then has its best weights before that.
    """
    fitted.n_rows, fitted.geometric = len(rows.x), settings.many_classes
    if settings.temperature is not None:
        fitted.temperature, fitted.slope = settings.temperature, 0.0
    several_classes = len(fitted.classes) > 1
    has_trial = settings.choose_epochs and several_classes and not (going_on or one_epoch)
    if settings.choose_average and not has_trial:
        settings = replace(settings, average=False)
    plan = training_plan(
        settings,
        fitted.process,
        fitted.schedule,
        fitted.network.config.objective,
        one_epoch=one_epoch,
        going_on=going_on,
    )
    members: list[ScoreNetwork] = []
    held_out: HeldOut | None = None
    trained = False
    with progress(plan.max_epochs, fitted.network, shown=settings.progress) as bar:
        done = 0.0
        if has_trial:
            looked_at = observer.watches or held is not None
            verdict, members, held_out = _trial(
                fitted, rows, plan, settings, predict, bar, along=not looked_at
            )
            plan, trained = plan.ended_after(verdict.epochs), verdict.whole is not None
            plan = replace(plan, last_weights=verdict.last_weights)
            done = bar.done
        if settings.choose_average:
            fitted.training["average"] = plan.average and not plan.last_weights
        fitted.max_epochs = plan.max_epochs if trained else fitted.n_iter + plan.max_epochs
        if several_classes and not trained:
            bar.expect(done + plan.max_epochs)
            early = settings.early_stopping and not one_epoch and held is not None
            patience = settings.n_iter_no_change if early else None
            _train(fitted, rows, held, plan, settings, predict, observer, patience, bar)
            if early and held is not None:
                proba = predict(fitted.network, held.x)
                held_out = _held_out(held, [np.arange(len(held.x))], [proba])
                if settings.temperature is None:
                    _choose_temperature(fitted, held_out, settings)
    # Set last: during training, only the network itself predicts.
    if held_out is not None and members and fitted.trunk is None:
        held_out = _learn_beside(fitted, rows, held_out, settings)
    fitted.members, fitted.held_out = members, held_out
    fitted.members_answer = settings.ensemble
    if held_out is not None:
        others = rows if members or held is None else held
        fitted.familiar = _familiar(fitted, rows, others, held_out)


def _learn_beside(fitted: Fitted, rows: Rows, held: HeldOut, settings: Settings) -> HeldOut:
    """Learn the models that answer beside the networks; return the held-out rows with theirs."""
    keep = partial(read_out, process=fitted.process, schedule=fitted.schedule)
    others = held.proba
    if settings.additive:
        fitted.additive, held = learn_additive(
            rows, held, keep, settings.temperature, fitted.channel
        )
        others = held.answer(fitted.additive, None)
    if settings.trees:
        seed = int(np.random.default_rng([fitted.seeds.split, 2]).integers(2**31))
        fitted.trees, held = learn_trees(
            rows, held, others, keep, seed, settings.temperature, fitted.channel
        )
    return held


def _trial(
    fitted: Fitted,
    rows: Rows,
    plan: TrainingPlan,
    settings: Settings,
    predict: Predict,
    bar: Progress,
    *,
    along: bool,
) -> tuple[trial.Verdict, list[ScoreNetwork], HeldOut | None]:
    """Return the verdict of a trial, its networks and their held-out predictions.

    With `along`, the network of all rows is trained with them if the backend supports that.
    """

    def fold(number: int, learnt: NDArray[np.intp], held_out: NDArray[np.intp]) -> trial.Fold:
        part, held = rows.take(learnt), rows.take(held_out)
        network = untrained_like(fitted.network, settings.backend, part)
        rng = np.random.default_rng([fitted.seeds.training, number])
        return trial.Fold(network, part, rng, held, lambda: predict(network, held.x))

    labels = rows.target.argmax(axis=1)
    parts = trial.split(labels, fitted.seeds.split, every_part=settings.every_fold)
    folds = [fold(i, *part) for i, part in enumerate(parts)]
    n_networks = len(folds) + 1  # the last one is trained along or afterwards
    bar.expect(n_networks * plan.max_epochs)
    verdict = trial.run_trial(
        folds,
        plan,
        whole=Learner(fitted.network, rows, fitted.rng) if along else None,
        temperature=settings.temperature,
        channel=fitted.channel,
        choose_average=settings.choose_average,
        on_epoch=lambda row, n: bar.advance(n * row["epoch"], row),
        keep_on_interrupt=settings.keep_on_interrupt,
    )
    fitted.trial, fitted.interrupted = verdict.rounds, verdict.interrupted
    if settings.temperature is None:
        fitted.temperature = verdict.temperature
    if verdict.whole is not None:
        fitted.history, fitted.n_iter = verdict.whole, len(verdict.whole)
    if not verdict.proba:
        return verdict, [], None
    members = [rebuilt(fold.network, settings.backend) for fold in folds]
    held_out = _held_out(rows, [held for _, held in parts], verdict.proba)
    if settings.temperature is None and settings.many_classes:
        _choose_temperature(fitted, held_out, settings)
    return verdict, members, held_out


def _choose_temperature(fitted: Fitted, held: HeldOut, settings: Settings) -> None:
    """Set the temperature that held-out rows choose, and with many classes its slope."""
    if settings.many_classes:
        fitted.temperature, fitted.slope = trial.choose_slope(held.proba, held, fitted.channel)
    else:
        fitted.temperature = trial.choose_temperature(held.proba, held, fitted.channel)


def _held_out(
    rows: Rows, parts: list[NDArray[np.intp]], proba: list[NDArray[np.float64]]
) -> HeldOut:
    """Return the predictions for the held-out rows of all folds, in the order of the rows."""
    row = np.concatenate(parts)
    order = np.argsort(row)
    row = row[order]
    return HeldOut(
        row=row,
        fold=np.repeat(np.arange(len(parts)), [len(part) for part in parts])[order],
        proba=np.concatenate(proba)[order],
        target=rows.target[row],
        weight=rows.weight[row],
        n_rows=len(rows.x),
    )


def _familiar(fitted: Fitted, rows: Rows, others: Rows, held_out: HeldOut) -> list[Familiar]:
    """Return what training rows look like to each network that has not seen some of `others`.

    Nothing is returned for backends that keep the features to themselves.
    """
    labels = rows.target.argmax(axis=1)
    rng = np.random.default_rng([fitted.seeds.split, 1])
    found = []
    for fold, network in enumerate(fitted.unseeing):
        if not isinstance(network, ReturnsFeatures):
            return []
        unseen = held_out.row[held_out.fold == fold]
        seen = np.arange(len(rows.x))
        if others is rows:
            seen = np.setdiff1d(seen, unseen)
        found.append(learn_familiar(network, rows.x[seen], labels[seen], others.x[unseen], rng))
    return found


def _train(
    fitted: Fitted,
    rows: Rows,
    held: Rows | None,
    plan: TrainingPlan,
    settings: Settings,
    predict: Predict,
    observer: Observer,
    patience: int | None,
    bar: Progress,
) -> None:
    """Train the network, count its epochs and keep its history.

    With a `patience`, training stops after so many epochs without a better val_nll, and the best
    weights are restored.
    """
    given = settings.temperature
    temperature, slope = (fitted.temperature, fitted.slope) if given is None else (given, 0.0)
    best, best_epoch, best_state = math.inf, 0, fitted.network.state() if patience else {}
    before = bar.done
    observer.begin(plan.max_epochs)
    try:
        for row in epochs(fitted.network, rows, plan, fitted.rng):
            if held is not None:
                proba = tempered(predict(fitted.network, held.x), temperature, slope)
                row |= validation_scores(proba, held, fitted.channel)
            fitted.n_iter += 1
            fitted.history.append(row | {"epoch": fitted.n_iter})
            stop = observer.end_epoch(fitted.history[-1])
            bar.advance(before + row["epoch"], row)
            if patience:
                epoch = int(row["epoch"])
                if row["val_nll"] < best:
                    best, best_epoch, best_state = row["val_nll"], epoch, fitted.network.state()
                stop |= epoch - best_epoch >= patience
            if stop:
                break
    except KeyboardInterrupt:
        if not (settings.keep_on_interrupt and fitted.n_iter):
            raise
        trial.warn_of_interruption(fitted.n_iter)
        fitted.interrupted = True
    except NonFiniteLossError:
        if best_epoch:
            fitted.network.load_state(best_state)
        # The optimiser's moments may not be finite either.
        fitted.network = rebuilt(fitted.network, settings.backend)
        raise
    if patience and best_epoch:
        fitted.network.load_state(best_state)
    observer.end()
