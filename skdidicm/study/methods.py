"""The methods that a study compares: this library's variants, and plain networks as peers.

Peers are the trunk alone, trained by cross-entropy through the same loop: the same augmentation,
batches, optimiser, learning-rate curve and number of epochs, but no mixup unless the name says so.
"""

import functools
import importlib
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.model_selection import train_test_split

from skdidicm.classifier import DiDiClassifier
from skdidicm.datasets import Split
from skdidicm.defaults import resolve

_PLAIN = "skdidicm_torch.plain"  # the module of the backend that builds the trunk alone
_HELD_OUT = 0.1
_MEMBERS = 5
_SMOOTHING = 0.1

Settings = dict[str, Any]


class Answer(NamedTuple):
    """Test probabilities of a method, what they took, and network calls per row."""

    proba: NDArray[np.float64]
    fit_seconds: float
    predict_seconds: float
    calls: int


Method = Callable[[Split, Settings], Answer]


def answer(method: str, split: Split, seed: int, budget: float, changes: Settings) -> Answer:
    """Train a method on the training rows of a split and answer for its test rows."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {tuple(METHODS)}.")
    settings = {"random_state": seed, **changes}
    settings["max_epochs"] = epochs(split, budget, settings.get("max_epochs", "auto"))
    return METHODS[method](split, settings)


def epochs(split: Split, budget: float, given: int | str = "auto") -> int:
    """Return the epochs that the defaults take on these rows, times the budget."""
    names = ("batch_size", "learning_rate", "weight_decay", "n_draws", "mixup")
    settings = {**dict.fromkeys(names, "auto"), "max_epochs": given}
    n_classes = len(np.unique(split.y_train))
    shape = split.X_train.shape[1:]
    whole: int = resolve(settings, shape, len(split.X_train), n_classes)["max_epochs"]
    return max(1, round(budget * whole))


def _didicm(split: Split, settings: Settings, **changes: Any) -> Answer:
    classifier = DiDiClassifier(**{**changes, **settings})
    start = time.perf_counter()
    classifier.fit(split.X_train, split.y_train)
    middle = time.perf_counter()
    proba = classifier.predict_proba(split.X_test)
    calls = classifier.steps * (classifier.n_chains if classifier.sampler == "cl" else 1)
    return Answer(proba, middle - start, time.perf_counter() - middle, calls)


def _plain(split: Split, settings: Settings, smoothing: float = 0.0, **changes: Any) -> Answer:
    classifier = DiDiClassifier(
        steps=1,
        backend=importlib.import_module(_PLAIN).build_network,
        parameterization="posterior",
        objective="cross_entropy",
        conditioning="last",
        n_draws=1,
        **{"mixup": 0.0, **changes, **settings},
    )
    classes, index = np.unique(split.y_train, return_inverse=True)
    q_0 = (1 - smoothing) * np.eye(len(classes))[index] + smoothing / len(classes)
    start = time.perf_counter()
    classifier.fit_soft(split.X_train, q_0, classes)
    middle = time.perf_counter()
    proba = classifier.predict_proba(split.X_test)
    return Answer(proba, middle - start, time.perf_counter() - middle, 1)


def _temperature(split: Split, settings: Settings) -> Answer:
    """Hold rows out of the training, and choose there what to divide the logits by."""
    x, held_x, y, held_y = train_test_split(
        split.X_train, split.y_train, test_size=_HELD_OUT, random_state=settings["random_state"]
    )
    both = np.concatenate([held_x, split.X_test])
    found = _plain(split._replace(X_train=x, y_train=y, X_test=both), settings)
    logits = np.log(np.clip(found.proba, 1e-12, None))
    index = np.searchsorted(np.unique(y), held_y)
    held = logits[: len(held_y)]

    def nll(log_t: float) -> float:
        return -float(
            log_softmax(held / math.exp(log_t), axis=1)[np.arange(len(held)), index].mean()
        )

    best = scipy.optimize.minimize_scalar(nll, bounds=(-3.0, 3.0), method="bounded").x
    return found._replace(proba=softmax(logits[len(held) :] / math.exp(best), axis=1))


def _ensemble(split: Split, settings: Settings) -> Answer:
    """Average the probabilities of members that differ in their seed."""
    seed = settings["random_state"]
    members = [
        _plain(split, {**settings, "random_state": seed * _MEMBERS + i}) for i in range(_MEMBERS)
    ]
    proba = np.mean([member.proba for member in members], axis=0)
    fit_seconds = sum(member.fit_seconds for member in members)
    predict_seconds = sum(member.predict_seconds for member in members)
    return Answer(proba, fit_seconds, predict_seconds, _MEMBERS)


_SCORE: Settings = {"parameterization": "score", "objective": "score_entropy", "mixup": 0.0}

METHODS: dict[str, Method] = {
    "didicm": _didicm,
    "didicm-chains": functools.partial(_didicm, sampler="cl"),
    "didicm-no-mixup": functools.partial(_didicm, mixup=0.0),
    "score": functools.partial(_didicm, **_SCORE),
    "score-mixup": functools.partial(_didicm, **{**_SCORE, "mixup": 0.2}),
    "paper": functools.partial(_didicm, conditioning="blocks", n_draws=1, **_SCORE),
    "cross-entropy": _plain,
    "cross-entropy-mixup": functools.partial(_plain, mixup=1.0),
    "label-smoothing": functools.partial(_plain, smoothing=_SMOOTHING),
    "temperature": _temperature,
    "ensemble": _ensemble,
}
"""Method by name; "ensemble" has five members, "temperature" holds out a tenth of the rows."""
