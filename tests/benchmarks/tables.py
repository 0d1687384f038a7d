"""Small tables with the defaults: fit and prediction against scikit-learn's MLPClassifier.

The two run by turns, on one thread, and are timed in seconds of CPU, which other processes lengthen
less than those of the clock.
"""

import os
import time

import numpy as np
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skdidicm import DiDiClassifier
from tests.benchmarks.timing import Row, ratio

SETS = {  # a quarter of the rows is held out
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "1,000 rows": lambda **_: make_classification(
        1333, 20, n_informative=8, n_classes=4, flip_y=0.1, random_state=0
    ),
}


def rows():
    """Yield seconds of CPU, ratios and the negative log-likelihood of each table."""
    torch.set_num_threads(1)
    DiDiClassifier(max_epochs=2, random_state=0).fit(*load_iris(return_X_y=True))
    for name, load in SETS.items():
        yield from table_rows(name, *load(return_X_y=True))
    yield threads_row(*SETS["1,000 rows"]())


def threads_row(X, y):
    """Return the time of a fit with the threads that torch and BLAS start by themselves."""
    model, n = DiDiClassifier(random_state=0), os.cpu_count()

    def fit(threads):
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            model.fit(X, y)

    found = ratio(lambda: fit(n), lambda: fit(1), rounds=3)
    torch.set_num_threads(1)
    return Row(f"1,000 rows: seconds of a fit with {n} threads over one", found, "<= 1")


def table_rows(name, X, y):
    """Yield the rows of one table."""
    x, x_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    peer = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=1000))
    model = DiDiClassifier(random_state=0)
    peer_seconds, seconds = (cpu_seconds(lambda m=m: m.fit(x, y)) for m in (peer, model))
    yield Row(f"{name}: seconds of CPU of a fit", seconds, "<= 2; 1,000 rows: 3")
    yield Row(f"{name}: fit over MLPClassifier", seconds / peer_seconds, "<= 10")
    for m in (peer, model):
        kind = "MLPClassifier" if m is peer else "DiDiClassifier"
        nll = log_loss(y_test, m.predict_proba(x_test), labels=model.classes_)
        yield Row(f"{name}: NLL of {kind}", nll, "-")
    one = best_of(lambda: [model.predict_proba(x_test[:1]) for _ in range(10)]) / 10
    yield Row(f"{name}: milliseconds of CPU to predict one row", 1e3 * one, "<= 2")
    many = np.resize(x_test, (10_000, x.shape[1]))
    peer_seconds, seconds = (best_of(lambda m=m: m.predict_proba(many)) for m in (peer, model))
    yield Row(f"{name}: 10,000 rows over MLPClassifier", seconds / peer_seconds, "<= 3")


def cpu_seconds(call):
    """Return the seconds of CPU of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def best_of(call, rounds=5):
    """Return the least of some."""
    return min(cpu_seconds(call) for _ in range(rounds))
