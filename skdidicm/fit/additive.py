"""Learning of the additive model beside the networks, and of its share in their answer."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from skdidicm.core import Channel, UniformProcess, denoising_loss_and_gradient
from skdidicm.fit.beside import choose_share, out_of_fold, total_nll
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows
from skdidicm.fit.trial import choose_temperature
from skdidicm.predict.additive import Additive, Shape
from skdidicm.predict.beside import mixed

ReadOut = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Keeps class probabilities away from zero, as networks do."""

_PIECES = 16  # of a column: its quantiles are their ends
_STRENGTHS = (0.01, 0.1, 1.0)  # inverse strengths of the penalty, from which held-out rows choose
_ITERATIONS = 300
_TOLERANCE = 1e-3
_NEVER = -30.0  # logit of a class that no row has
_QUARTILES = 1.349  # between the quartiles of a normal distribution, in its deviations


def learn_additive(
    rows: Rows,
    held: HeldOut,
    read_out: ReadOut,
    temperature: float | None,
    channel: Channel | None = None,
) -> tuple[Additive, HeldOut]:
    """Return the additive model of the rows, and the held-out rows with its answers to them.

    Every fold's held-out rows are answered by a model of the others, for several strengths of the
    penalty. The strength with the lowest NLL is used for a model of all rows. Its share is that
    with the lowest NLL of the mixture with the networks' answers, and the temperature the best one
    of that mixture.

    Parameters
    ----------
    rows : Rows
        All training rows, of a table.
    held : HeldOut
        What the networks of a trial say of held-out rows; `row` is the place among `rows`.
    read_out : callable
        Keeps class probabilities away from zero.
    temperature : float or None
        The temperature, or None for that of the held-out rows.
    channel : Channel, optional
        Label noise through which the model learns and held-out rows are scored.
    """
    # Its products of matrices are many and small, so threads of BLAS would wait for each other for
    # up to ten times as long as one thread computes.
    with threadpool_limits(1, user_api="blas"):
        answers = read_out(out_of_fold(rows, held, lambda seen: _fitted(seen, _STRENGTHS, channel)))
        best = int(np.argmin([total_nll(answer, held, channel) for answer in answers]))
        (model,) = _fitted(rows, _STRENGTHS[best : best + 1], channel)
    share = choose_share(held.proba, answers[best], held, channel)
    if temperature is None:
        temperature = choose_temperature(mixed(held.proba, answers[best], share), held, channel)
    learnt = replace(model, share=share, temperature=temperature)
    return learnt, replace(held, additive=answers[best])


def learn_shape(x: NDArray[Any]) -> Shape:
    """Return how an additive model sees the columns of training rows (n, d).

    Examples
    --------
    >>> shape = learn_shape(np.array([[0.0], [1.0], [2.0], [4.0]]))
    >>> shape.centre, shape(np.array([[1.5]])).shape
    (array([1.5]), (1, 17))
    """
    x = x.astype(np.float64)
    ends = np.quantile(x, np.linspace(0, 1, _PIECES + 1), axis=0)
    lower, centre, upper = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    deviation, half = (upper - lower) / _QUARTILES, (ends[-1] - ends[0]) / 2
    scale = np.where(deviation > 0, deviation, np.where(half > 0, half, 1.0))
    column, low, width = [], [], []
    for i in range(x.shape[1]):
        steps = np.unique(ends[:, i])
        if len(np.unique(x[:, i])) > 2:  # else one piece, which is the column itself
            column.append(np.full(len(steps) - 1, i))
            low.append(steps[:-1])
            width.append(np.diff(steps))
    pieces = [np.concatenate([[], *parts]) for parts in (column, low, width)]
    return Shape(centre, scale, pieces[0].astype(np.intp), pieces[1], pieces[2])


def _fitted(rows: Rows, strengths: tuple[float, ...], channel: Channel | None) -> list[Additive]:
    """Return a model for every inverse strength of the penalty on squared weights."""
    if channel is not None:
        return _fitted_through(channel, rows, strengths)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    shape = learn_shape(rows.x)
    row, label = np.nonzero(rows.target)  # a soft label counts as several rows
    seen, weight = shape(rows.x)[row], rows.weight[row] * rows.target[row, label]
    present, k = np.unique(label), rows.target.shape[1]
    coef, intercept = np.zeros((seen.shape[1], k)), np.full(k, _NEVER)
    intercept[present] = 0.0
    if len(present) == 1:
        return [Additive(shape, coef, intercept)] * len(strengths)
    found = []
    model = LogisticRegression(max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True)
    for strength in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge the result
            model.set_params(C=strength).fit(seen, label, sample_weight=weight)
        coef, intercept = coef.copy(), intercept.copy()
        if len(present) == 2:
            coef[:, present[1]], intercept[present[1]] = model.coef_[0], model.intercept_[0]
        else:
            coef[:, present], intercept[present] = model.coef_.T, model.intercept_
        found.append(Additive(shape, coef, intercept))
    return found


def _fitted_through(channel: Channel, rows: Rows, strengths: tuple[float, ...]) -> list[Additive]:
    """Return the models that learn the true class from noisy labels; equation (13).

    scikit-learn's logistic regression has no label noise.
    """
    shape = learn_shape(rows.x)
    seen, k = shape(rows.x), rows.target.shape[1]
    d = seen.shape[1]
    process = UniformProcess(k)  # plays no part in a cross-entropy

    def penalised(parameters: NDArray[np.float64], strength: float) -> Any:
        both = parameters.reshape(d + 1, k)
        coef, intercept = both[:-1], both[-1]
        loss, slope = denoising_loss_and_gradient(
            seen @ coef + intercept,
            none,
            none,
            rows.target,
            process=process,
            parameterization="posterior",
            objective="cross_entropy",
            channel=channel,
        )
        slope = rows.weight[:, None] * slope
        gradient = np.vstack([seen.T @ slope + coef / strength, slope.sum(axis=0)])
        return rows.weight @ loss + (coef**2).sum() / (2 * strength), gradient.ravel()

    none = np.zeros(len(seen), dtype=np.intp)
    found, parameters = [], np.zeros((d + 1) * k)
    for strength in strengths:
        result = scipy.optimize.minimize(
            penalised,
            parameters,
            (strength,),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": _ITERATIONS},
        )
        parameters = result.x
        both = parameters.reshape(d + 1, k)
        found.append(Additive(shape, both[:-1], both[-1]))
    return found
