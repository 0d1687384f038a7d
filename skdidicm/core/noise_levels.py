"""The noise levels at which a network is trained, and the weight of the loss at each."""

import math

from skdidicm.core.arrays import Array, namespace
from skdidicm.core.schedules import EPS_T, Schedule

TIMES = ("uniform", "log_odds")
"""Laws of the time in training."""

_TELLING = 3.0
"""Log odds up to which cross-entropies are trained with "log_odds".

The noisy label makes its own class e^3 + 1 = 21 times as likely as any other there.
"""


def noise_levels(
    u: Array,
    schedule: Schedule,
    n_classes: int,
    *,
    times: str = "uniform",
    objective: str = "score_entropy",
    eps_t: float = EPS_T,
) -> tuple[Array, Array]:
    """Return total noise and the weight of the loss for evenly spread numbers; equation (15).

    Parameters
    ----------
    u : array (...)
        Numbers in [0, 1], drawn uniformly; 0 is the smallest time.
    schedule : Schedule
        Its noise at `eps_t` and at 1 bounds the levels.
    n_classes : int
        Number of classes K.
    times : {"uniform", "log_odds"}
        What is uniform: the time (the paper), or log(a K / (1 - a)) with a = exp(-sigma), the log
        odds of the noisy label. The score entropy is weighted such that its mean is the same for
        both. A cross-entropy has the weight 1, so its objective changes, but not its optimum; its
        log odds lie within [-3, 3], where the label tells neither nothing nor everything.
    objective : {"score_entropy", "bayes_cross_entropy", "cross_entropy"}
        The loss that is weighted.
    eps_t : float, default=1e-3
        Smallest time.

    Returns
    -------
    sigma : array (...)
        Total noise.
    weight : array (...)
        Weight of the loss.

    Examples
    --------
    >>> import numpy as np
    >>> from skdidicm.core import LogLinear
    >>> for times in TIMES:
    ...     sigma, weight = noise_levels(np.array([0, 0.5, 1]), LogLinear(), 1000, times=times)
    ...     print(times, [float(round(x, 2)) for x in (*sigma, *weight)])
    uniform [0.0, 0.69, 6.91, 1.0, 2.0, 999.0]
    log_odds [0.0, 0.69, 6.91, 0.01, 6.91, 13.81]
    """
    weighted = objective == "score_entropy"
    if times == "uniform":
        t = eps_t + (1 - eps_t) * u
        return schedule.total(t), schedule.rate(t) if weighted else 0 * t + 1
    high, low = (_log_odds(float(schedule.total(t)), n_classes) for t in (eps_t, 1.0))
    if not weighted:
        low, high = -_TELLING, _TELLING
    xp = namespace(u)
    odds = xp.exp(math.log(n_classes) - high + (high - low) * u)  # (1 - a) / a
    # The mean over times in [eps_t, 1] of a loss that is weighted by dsigma/dt is its integral over
    # sigma, over 1 - eps_t; and dsigma = (1 - a) d(log odds).
    slope = (high - low) / (1 - eps_t) * odds / (1 + odds)
    return xp.log1p(odds), slope if weighted else 0 * u + 1


def _log_odds(sigma: float, n_classes: int) -> float:
    """Return log(a K / (1 - a)) with a = exp(-sigma)."""
    return math.log(n_classes) - math.log(math.expm1(sigma))
