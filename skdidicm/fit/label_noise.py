"""Unknown label noise: its channel, estimated from answers to rows that were held out."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import Channel, ConfusionNoise
from skdidicm.fit.confusions import smoothed, symmetric
from skdidicm.fit.state import Fitted, HeldOut
from skdidicm.metrics import negative_log_likelihood
from skdidicm.predict.temperature import tempered

_ANCHORS = 0.25  # share of a class's rows that count as certain
_FEWEST = 3  # rows of a class that count as certain at least
_NEGLIGIBLE = 0.02  # rate of wrong labels for which no other fit is tried
_TELLING = 2.0  # nats by which held-out labels must be more likely with noise than without
_SUSPECT = 0.05  # rate of wrong labels that is worth a warning where the data do not tell
_PRIORS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)  # weights relative to the rows
_LOWEST = 1e-4  # rate of the prior
_REFITS = 4  # through estimated channels
_ITERATIONS = 100


def fit_unknown_noise(train: Callable[[Channel | None], Fitted]) -> Fitted:
    """Return the fit through the label noise that makes held-out labels most likely.

    The first fit has no noise. Its held-out answers give the largest channel that they allow, by
    `anchored`. The answers of the fit through that channel give a better one, by
    `most_likely_confusion`, and so on while held-out labels get more likely: this is
    expectation-maximisation with answers out of fold. A fit with noise is returned only if held-out
    labels are clearly more likely under it. No fit follows one that was interrupted and kept.

    Parameters
    ----------
    train : callable
        Trains through a channel, or None, and returns the result.
    """
    plain = train(None)
    if plain.interrupted:
        return plain
    if plain.held_out is None:
        warnings.warn(
            "label_noise='auto' needs rows that were held out, but this fit had none; labels were "
            "taken to be right. Call fit with choose_epochs=True, or pass more rows.",
            UserWarning,
            stacklevel=2,
        )
        return plain
    held = plain.held_out
    proba = held_out_answers(plain, held)
    without = float(negative_log_likelihood(held.target, proba) @ held.weight)
    confusion = anchored(proba)
    if _rate(confusion) < _NEGLIGIBLE:
        return plain
    best, nll, found = plain, np.inf, confusion
    for _ in range(_REFITS):
        fitted = train(ConfusionNoise(confusion))
        if fitted.interrupted:
            break
        held = fitted.held_out or held
        proba = held_out_answers(fitted, held)
        before = nll
        own = float(negative_log_likelihood(held.target, proba @ confusion.T) @ held.weight)
        if own >= before:
            break
        best, nll, found = fitted, own, confusion
        if before - own < _TELLING:
            break
        confusion = most_likely_confusion(proba, held.target, held.weight, confusion)
    if without - nll > _TELLING:
        return best
    if without - nll > -_TELLING and _rate(found) > _SUSPECT:
        warnings.warn(
            f"held-out rows do not tell whether about {_rate(found):.0%} of the labels are wrong "
            "or classes overlap; labels were taken to be right. Pass a rate or a matrix as "
            "label_noise if you know it.",
            UserWarning,
            stacklevel=2,
        )
    return plain


def anchored(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the confusions (k, k) of rows whose true class is almost certain.

    Parameters
    ----------
    proba : ndarray (n, k)
        Probabilities of the observed label.

    Notes
    -----
    Column j is the mean answer to the rows that are most likely to be observed as j: where the true
    class is certain, the observed label has the law T[:, j]. Where classes overlap everywhere, the
    overlap counts as noise, so that this is the largest channel that the answers allow.

    Examples
    --------
    >>> anchored(np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]).repeat(3, axis=0))
    array([[0.8, 0.3],
           [0.2, 0.7]])
    """
    n, k = proba.shape
    size = min(n, max(_FEWEST, round(_ANCHORS * n / k)))
    surest = np.argsort(-proba, axis=0, kind="stable")[:size]
    return np.stack([proba[surest[:, j]].mean(axis=0) for j in range(k)], axis=1)


def most_likely_confusion(
    proba: NDArray[np.float64],
    target: NDArray[np.floating],
    weight: NDArray[np.floating],
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the confusions (k, k) that make observed labels most likely.

    Parameters
    ----------
    proba : ndarray (n, k)
        Probabilities of the true class, by networks that have not seen the label.
    target, weight : ndarray (n, k), (n,)
        Observed labels as probabilities, and weights of the rows.
    start : ndarray (k, k)
        Where the expectation-maximisation starts.

    Notes
    -----
    Every column has a Dirichlet prior with symmetric noise of the same rate as its mean. Its weight
    is the one of the highest evidence, so that noise stays symmetric unless the rows show what
    classes are taken for. Few rows could not determine k (k - 1) entries one by one.
    """
    k = len(start)
    given = target * weight[:, None]
    weights = np.array(_PRIORS) * given.sum() / k
    confusion = start
    for _ in range(_ITERATIONS):
        seen = np.maximum(proba @ confusion.T, np.finfo(np.float64).tiny)
        counts = confusion * ((given / seen).T @ proba)
        rate = np.clip(_rate(counts / counts.sum() * k), _LOWEST, 1 - 1 / k)
        confusion = smoothed(counts, symmetric(rate, k), weights)
    return confusion


def held_out_answers(fitted: Fitted, held: HeldOut) -> NDArray[np.float64]:
    """Return the probabilities (m, k) of the true class of held-out rows.

    They are those of `predict_proba`, without a calibrator.
    """
    last = fitted.trees or fitted.additive or fitted
    return tempered(held.answer(fitted.additive, fitted.trees), last.temperature, fitted.slope)


def _rate(confusion: NDArray[np.float64]) -> float:
    """Return the mean share of wrong labels of the classes."""
    return float(1 - np.trace(confusion) / len(confusion))
