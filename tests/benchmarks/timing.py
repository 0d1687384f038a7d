"""Time two things by turns."""

import statistics
import time
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table."""

    what: str
    value: float
    asked: str


def seconds(call, times=1):
    """Return the wall-clock seconds of one call, the mean of some; results are not kept."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def ratio(numerator, denominator, *, rounds=7, inner=(1, 1)):
    """Return median time of one call over that of another, timed by turns after a warm-up.

    `inner` says how often each is called per round, for things too short to time alone.
    """
    numerator()
    denominator()
    times = ([], [])
    for _ in range(rounds):
        for calls, call, found in zip(inner, (numerator, denominator), times, strict=True):
            found.append(seconds(call, calls))
    return statistics.median(times[0]) / statistics.median(times[1])
