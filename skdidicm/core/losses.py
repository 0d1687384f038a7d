"""Log scores from the output of a network, and training losses.

`output` is what the network returns for (image, noisy label, sigma), an array (..., k). The
parameterization defines its meaning:

* "score": the output is log s, with its entry at the noisy label set to zero;
* "posterior": the output is the logits of q_0, from which (2) and (3) give the scores.
"""

from skdidicm.core.arrays import (
    Array,
    log_softmax,
    namespace,
    one_hot,
    softmax,
    take_label,
)
from skdidicm.core.channel import Channel
from skdidicm.core.process import Process

PARAMETERIZATIONS = ("score", "posterior")
OBJECTIVES = ("score_entropy", "bayes_cross_entropy", "cross_entropy")

_TINY = 1e-30  # smaller float32 ratios do not change a sum, and their logarithms overflow


def log_score(
    output: Array, label: Array, sigma: Array, *, process: Process, parameterization: str = "score"
) -> Array:
    """Return log s(i) ~ log q_t(i) / q_t(label), (..., k), exactly 0 at `label`; equation (4).

    Examples
    --------
    >>> import numpy as np
    >>> from skdidicm.core import UniformProcess
    >>> log_score(np.array([[0.3, 2.0]]), np.array([0]), 1.0, process=UniformProcess(2))
    array([[0., 2.]])
    """
    xp = namespace(output)
    if parameterization == "score":
        return output * (1 - one_hot(label, output.shape[-1], output.dtype))
    log_q_t = xp.log(xp.clip(process.diffuse(softmax(output), sigma), min=_TINY))
    return log_q_t - take_label(log_q_t, label)


def score_entropy(log_score: Array, ratio: Array) -> Array:
    """Return the score entropy without the time weight dsigma/dt; equation (5).

    Parameters
    ----------
    log_score : array (..., k)
        Logarithm of the estimated concrete score, 0 at the noisy label.
    ratio : array (..., k)
        True concrete score q_t(i) / q_t(label) >= 0, 1 at the noisy label.

    Returns
    -------
    array (...)
        Mean over the K classes, >= 0, and 0 where the two agree.

    Examples
    --------
    >>> import numpy as np
    >>> score_entropy(np.log([[1.0, 3.0]]), np.array([[1.0, 3.0]]))
    array([0.])
    """
    xp = namespace(log_score)
    # r (e^u - 1 - u) with u = log(s / r) equals s - r log s + r (log r - 1) without cancellation.
    positive = ratio > _TINY
    safe = xp.where(positive, ratio, 1.0)
    u = log_score - xp.log(safe)
    terms = xp.where(positive, safe * (xp.expm1(u) - u), xp.exp(log_score))
    return xp.sum(terms, axis=-1) / log_score.shape[-1]


def bayes_cross_entropy(
    output: Array, label: Array, sigma: Array, q_0: Array, process: Process
) -> Array:
    """Return the cross-entropy of the posterior given image and noisy label; equation (11).

    Parameters
    ----------
    output : array (..., k)
        Logits of q_0 given the image alone.
    label : int array (...)
        Noisy label c_t.
    sigma : float or array (...)
        Total noise at which it was drawn.
    q_0 : array (..., k)
        Clean class probabilities, one-hot or soft. If they are soft, the noisy label carries
        information about the clean one, so the target is P(c_0 | label) ~ q_0 P(label | c_0).
    process : Process
        Gives P(c_t = label | c_0), which turns the logits into those of P(c_0 | image, c_t).

    Returns
    -------
    array (...)
        In nats, >= 0.
    """
    target, correction = bayes_targets(label, sigma, q_0, process, output.dtype)
    return cross_entropy(output + correction, target)


def bayes_targets(
    label: Array, sigma: Array, q_0: Array, process: Process, dtype: object
) -> tuple[Array, Array]:
    """Return P(c_0 | label) by q_0, and log P(label | c_0), which is added to logits; (..., k)."""
    likelihood = process.likelihood(label, sigma, dtype)
    xp = namespace(likelihood)
    likelihood = xp.clip(likelihood, min=_TINY)
    target = q_0 * likelihood
    return target / xp.sum(target, axis=-1, keepdims=True), xp.log(likelihood)


def cross_entropy(output: Array, q_0: Array) -> Array:
    """Return the cross-entropy of an ordinary classifier, (...), in nats.

    Parameters
    ----------
    output : array (..., k)
        Logits of q_0.
    q_0 : array (..., k)
        Clean class probabilities, one-hot or soft.

    Examples
    --------
    >>> import numpy as np
    >>> cross_entropy(np.log([[0.25, 0.75]]), np.array([[1.0, 0.0]])).round(4)
    array([1.3863])
    """
    return -namespace(output).sum(q_0 * log_softmax(output), axis=-1)


def denoising_loss(
    output: Array,
    label: Array,
    sigma: Array,
    q_0: Array,
    *,
    process: Process,
    parameterization: str = "score",
    objective: str = "score_entropy",
    channel: Channel | None = None,
) -> Array:
    """Return the training loss of every row without its weight, (...).

    `objective` is "score_entropy", equation (5), "bayes_cross_entropy", equation (11), or
    "cross_entropy", which ignores noisy label and noise. The last two need the posterior
    parameterization. With a `channel`, q_0 is the law of the observed label. Logits then stay those
    of the true class, equation (13); log scores are those of the observed label.
    """
    if channel is not None and parameterization == "posterior":
        output = channel.observed_logits(output)
    if objective == "cross_entropy":
        return cross_entropy(output, q_0)
    if objective == "bayes_cross_entropy":
        return bayes_cross_entropy(output, label, sigma, q_0, process)
    scores = log_score(output, label, sigma, process=process, parameterization=parameterization)
    return score_entropy(scores, process.ratio(process.diffuse(q_0, sigma), label))


def denoising_loss_and_gradient(
    output: Array,
    label: Array,
    sigma: Array,
    q_0: Array,
    *,
    process: Process,
    parameterization: str = "score",
    objective: str = "score_entropy",
    channel: Channel | None = None,
) -> tuple[Array, Array]:
    """Return `denoising_loss`, (...), and its gradient with respect to the output, (..., k).

    For cross-entropies the gradient is that of every softmax: the law that the network states minus
    the one that is true. For the score entropy it is (s - ratio) / K with respect to the log score.
    A channel carries the gradient back to the logits of the true class.

    Examples
    --------
    >>> import numpy as np
    >>> from skdidicm.core import UniformProcess
    >>> output, label, q_0 = np.zeros((1, 2)), np.array([0]), np.array([[0.5, 0.5]])
    >>> denoising_loss_and_gradient(output, label, 1.0, q_0, process=UniformProcess(2))
    (array([0.]), array([[0., 0.]]))
    """
    xp = namespace(output)
    if channel is not None and parameterization == "posterior":
        p = softmax(output)
        loss, slope = denoising_loss_and_gradient(
            channel.observed_logits(output),
            label,
            sigma,
            q_0,
            process=process,
            parameterization=parameterization,
            objective=objective,
        )
        slope = channel.adjoint(slope / xp.clip(channel.observe(p), min=_TINY))
        return loss, _through_softmax(slope, p)
    if objective != "score_entropy":
        target = q_0
        if objective == "bayes_cross_entropy":
            target, correction = bayes_targets(label, sigma, q_0, process, output.dtype)
            output = output + correction
        log_p = log_softmax(output)
        return -xp.sum(target * log_p, axis=-1), xp.exp(log_p) - target
    ratio = process.ratio(process.diffuse(q_0, sigma), label)
    other = 1 - one_hot(label, output.shape[-1], output.dtype)
    if parameterization == "score":
        scores = output * other
        slope = (xp.exp(scores) - ratio) * other / output.shape[-1]
        return score_entropy(scores, ratio), slope
    p = softmax(output)
    q_t = xp.clip(process.diffuse(p, sigma), min=_TINY)
    log_q_t = xp.log(q_t)
    scores = log_q_t - take_label(log_q_t, label)
    slope = (xp.exp(scores) - ratio) * other / output.shape[-1]
    slope = slope - (1 - other) * xp.sum(slope, axis=-1, keepdims=True)  # the score's denominator
    return score_entropy(scores, ratio), _through_softmax(process.adjoint(slope / q_t, sigma), p)


def _through_softmax(slope: Array, p: Array) -> Array:
    """Return the gradient at logits, for the one at their softmax p."""
    return p * (slope - namespace(p).sum(p * slope, axis=-1, keepdims=True))


def check_objective(parameterization: str, objective: str, conditioning: str = "none") -> None:
    """Raise ValueError unless the names exist and are compatible.

    `conditioning` is where label and noise enter the network. The plain cross-entropy is for
    networks that see neither: "none".
    """
    if parameterization not in PARAMETERIZATIONS:
        raise ValueError(
            f"parameterization is {parameterization!r}; expected one of {PARAMETERIZATIONS}."
        )
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}; expected one of {OBJECTIVES}.")
    if objective != "score_entropy" and parameterization != "posterior":
        raise ValueError(
            f"objective={objective!r} needs class logits; set parameterization='posterior' too."
        )
    if objective == "cross_entropy" and conditioning != "none":
        raise ValueError(
            f"objective='cross_entropy' trains an ordinary classifier, but conditioning is "
            f"{conditioning!r}; set conditioning='none' too, or objective='bayes_cross_entropy'."
        )
