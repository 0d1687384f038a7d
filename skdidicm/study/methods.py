"""The methods that a study compares: variants of this library, and ordinary classifiers as peers.

A peer is the same network without label and noise, `conditioning="none"`, trained with
cross-entropy by the same loop on any backend. It has the same augmentation, batches, optimiser,
largest number of epochs and trial that chooses the epochs. Mixup, weight averaging, the
ensemble of the trial's networks, the additive model and the trees are off unless the name of the
method includes them.
"""

import functools
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import BuildNetwork, NetworkConfig, ScoreNetwork
from skdidicm.classifier import DiDiClassifier
from skdidicm.datasets import Split
from skdidicm.fit.defaults import resolve, resolve_trial
from skdidicm.networks import PASSES
from skdidicm.predict.temperature import best_temperature, tempered
from skdidicm.registry import get_backend
from skdidicm.study.split import held_out

AUTO = "auto"
"""The budget at which the classifier chooses the epochs."""
_HELD_OUT = 0.1
_MEMBERS = 5
_SMOOTHING = 0.1
_DROPOUT = 0.1
_PLAINLY = {
    "mixup": 0.0,
    "average": False,
    "temperature": 1.0,
    "ensemble": False,
    "additive": False,
    "trees": False,
}

Parameters = dict[str, Any]
"""Parameters of `DiDiClassifier` by name."""


class Answer(NamedTuple):
    """Test probabilities of a method, its times and epochs, and its network calls per row."""

    proba: NDArray[np.float64]
    fit_seconds: float
    predict_seconds: float
    calls: int
    epochs: int


Method = Callable[[Split, Parameters], Answer]


def answer(
    method: str, split: Split, seed: int, budget: float | str, changes: Parameters
) -> Answer:
    """Train a method on the training rows of a split and predict its test rows.

    With the budget "auto", a trial chooses the epochs if it would by default. `changes` are
    parameters of the classifier. Consecutive calls that differ only in "steps" share a training.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {tuple(METHODS)}.")
    if "steps" in changes and method not in STEPPED:
        raise ValueError(f"method {method!r} takes no steps; expected one of {STEPPED}.")
    trial = budget == AUTO and resolve_trial(AUTO, AUTO, len(split.X_train))
    settings = {"random_state": seed, "choose_epochs": trial, **changes}
    budget = 1.0 if isinstance(budget, str) else budget
    settings["max_epochs"] = epochs(split, budget, settings.get("max_epochs", "auto"))
    return METHODS[method](split, settings)


def epochs(split: Split, budget: float, given: int | str = "auto") -> int:
    """Return the largest number of epochs that the defaults allow here, times the budget."""
    parameters = DiDiClassifier(max_epochs=given).get_params(deep=False)
    shape, n_classes = split.X_train.shape[1:], len(np.unique(split.y_train))
    settings = resolve(parameters, shape, len(split.X_train), n_classes)
    return max(1, round(budget * settings.max_epochs))


def _didicm(split: Split, settings: Parameters, **changes: Any) -> Answer:
    parameters = {**changes, **settings}
    steps = parameters.pop("steps", None)
    classifier, fit_seconds = (_trained if steps is None else _trained_once)(split, parameters)
    if steps is not None:
        classifier.set_params(steps=steps)
    calls = classifier.steps * (classifier.n_chains if classifier.sampler == "cl" else 1)
    calls *= len(classifier._networks)
    return _answer(classifier, split, fit_seconds, calls)


_last: tuple[Split, Parameters, DiDiClassifier, float] | None = None


def _trained(split: Split, parameters: Parameters) -> tuple[DiDiClassifier, float]:
    classifier = DiDiClassifier(**parameters)
    return classifier, _seconds(lambda: classifier.fit(split.X_train, split.y_train))


def _trained_once(split: Split, parameters: Parameters) -> tuple[DiDiClassifier, float]:
    """Return the previous training if it was the same: cells that differ in steps are adjacent."""
    global _last
    last = _last  # read once: cells may run in threads
    if last is None or last[0] is not split or last[1] != parameters:
        last = _last = (split, parameters, *_trained(split, parameters))
    return last[2:]


def _answer(classifier: DiDiClassifier, split: Split, fit_seconds: float, calls: int) -> Answer:
    found: list[NDArray[np.float64]] = []
    seconds = _seconds(lambda: found.append(classifier.predict_proba(split.X_test)))
    return Answer(found[0], fit_seconds, seconds, calls, classifier.n_iter_)


def _seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this process, which do not depend on other jobs on the machine.

    On a GPU these are the seconds of the process that feeds it.
    """
    start = time.process_time()
    work()
    return time.process_time() - start


def _plain(split: Split, settings: Parameters, *, dropout: float = 0.0, **changes: Any) -> Answer:
    classifier, fit_seconds = _plain_trained(split, settings, dropout=dropout, **changes)
    return _answer(classifier, split, fit_seconds, calls=PASSES if dropout else 1)


def _plain_trained(
    split: Split,
    settings: Parameters,
    *,
    smoothing: float = 0.0,
    dropout: float = 0.0,
    **changes: Any,
) -> tuple[DiDiClassifier, float]:
    parameters = {**_PLAINLY, **changes, **settings}
    if dropout:
        backend = parameters.get("backend", "auto")
        parameters["backend"] = functools.partial(_with_dropout, backend=backend, share=dropout)
    classifier = DiDiClassifier(
        steps=1, conditioning="none", objective="cross_entropy", n_draws=1, **parameters
    )
    classes, index = np.unique(split.y_train, return_inverse=True)
    q_0 = (1 - smoothing) * np.eye(len(classes))[index] + smoothing / len(classes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "all rows of q_0 have the same two")  # that is smoothing
        fit_seconds = _seconds(lambda: classifier.fit_soft(split.X_train, q_0, classes))
    return classifier, fit_seconds


def _with_dropout(
    config: NetworkConfig, /, *, backend: str | BuildNetwork, share: float
) -> ScoreNetwork:
    """Return an ordinary classifier with dropout of channels in training and prediction."""
    return get_backend(backend)(replace(config, dropout=share))


def _temperature(split: Split, settings: Parameters) -> Answer:
    """Fit a temperature on the held-out rows of the trial, or else on a tenth of the rows."""
    if settings.get("choose_epochs"):
        return _plain(split, settings, temperature="auto")
    trial = held_out(split, settings["random_state"], _HELD_OUT)
    both = np.concatenate([trial.X_test, split.X_test])
    found = _plain(trial._replace(X_test=both), settings)
    index = np.searchsorted(np.unique(trial.y_train), trial.y_test)
    held, test = found.proba[: len(index)], found.proba[len(index) :]
    temperature, _ = best_temperature(held, np.eye(held.shape[1])[index])
    return found._replace(proba=tempered(test, temperature))


def _ensemble(split: Split, settings: Parameters, **changes: Any) -> Answer:
    """Average the probabilities of members with different seeds; only the first has a trial."""
    first, fit_seconds = _plain_trained(split, settings, **changes)
    members = [_answer(first, split, fit_seconds, calls=1)]
    chosen = {
        **changes,
        **settings,
        "choose_epochs": False,
        "max_epochs": first.n_iter_,
        "temperature": first.temperature_,
    }
    seed = settings["random_state"]
    members += [
        _plain(split, {**chosen, "random_state": seed + 1000 * i}) for i in range(1, _MEMBERS)
    ]
    proba = np.mean([member.proba for member in members], axis=0)
    fit_seconds = sum(member.fit_seconds for member in members)
    predict_seconds = sum(member.predict_seconds for member in members)
    return Answer(proba, fit_seconds, predict_seconds, _MEMBERS, first.n_iter_)


_SCORE: Parameters = {
    "parameterization": "score",
    "objective": "score_entropy",
    "mixup": 0.0,
    "ensemble": False,
    "additive": False,
    "trees": False,
}
_VARIANTS: dict[str, Parameters] = {
    "didicm": {},
    "didicm-chains": {"sampler": "cl"},
    "didicm-no-additive": {"additive": False},
    "didicm-no-trees": {"trees": False},
    "didicm-no-average": {"average": False},
    "didicm-no-ensemble": {"ensemble": False},
    "didicm-no-mixup": {"mixup": 0.0},
    "didicm-no-temperature": {"temperature": 1.0},
    "posterior": {"parameterization": "posterior", "objective": "bayes_cross_entropy"},
    "score": _SCORE,
    "score-mixup": _SCORE | {"mixup": 0.2},
    "paper": _SCORE | {"conditioning": "blocks", "n_draws": 1, "average": False},
}
_PEERS: dict[str, Method] = {
    "cross-entropy": _plain,
    "cross-entropy-mixup": functools.partial(_plain, mixup="auto"),
    "cross-entropy-all": functools.partial(
        _plain,
        mixup="auto",
        average=True,
        temperature="auto",
        ensemble="auto",
        additive="auto",
        trees="auto",
    ),
    "label-smoothing": functools.partial(_plain, smoothing=_SMOOTHING),
    "mc-dropout": functools.partial(_plain, dropout=_DROPOUT),
    "temperature": _temperature,
    "ensemble": _ensemble,
    "ensemble-all": functools.partial(_ensemble, mixup="auto", average=True, temperature="auto"),
}

METHODS: dict[str, Method] = {
    **{name: functools.partial(_didicm, **changes) for name, changes in _VARIANTS.items()},
    **_PEERS,
}
"""Methods by name: variants of this library, then peers.

"cross-entropy-all" has mixup, weight averaging, a temperature, the ensemble of the trial, the
additive model and the trees. "ensemble" has five members, and "ensemble-all" five with mixup,
weight averaging and a temperature. "temperature" without a trial holds out a tenth of the rows.
"""
STEPPED = tuple(_VARIANTS)
"""Methods that predict in steps."""
