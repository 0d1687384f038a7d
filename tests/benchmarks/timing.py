"""Time two things by turns."""

import statistics
import time
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table."""

    what: str
    ratio: float
    asked: str


def seconds(call):
    """Return the wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(numerator, denominator, *, rounds=7, inner=(1, 1)):
    """Return median time of one call over that of another, timed by turns after a warm-up.

    `inner` says how often each is called per round, for things too short to time alone.
    """
    numerator()
    denominator()
    times = ([], [])
    for _ in range(rounds):
        for calls, call, found in zip(inner, (numerator, denominator), times, strict=True):
            found.append(seconds(lambda n=calls, f=call: [f() for _ in range(n)]) / calls)
    return statistics.median(times[0]) / statistics.median(times[1])
