"""All of scikit-learn's checks on the defaults: `check_estimator`."""

import os
import time

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported; one check asks for it

from sklearn.utils.estimator_checks import check_estimator

from skdidicm import DiDiClassifier
from tests.benchmarks.timing import Row


def rows():
    """Yield the seconds that the checks take by the clock, and of a processor."""
    start, cpu = time.perf_counter(), time.process_time()
    check_estimator(DiDiClassifier(), on_skip=None)
    yield Row("check_estimator, seconds", time.perf_counter() - start, "< 300 on 2 cores")
    yield Row(
        "    seconds of CPU, which other processes do not lengthen", time.process_time() - cpu, "-"
    )
