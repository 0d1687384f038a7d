"""Measured coverage and size of prediction sets, beside MAPIE's cross-conformal sets.

python coverage.py OUTPUT.jsonl [--fashion FOLDER] [--splits 10]

Each data set is split 10 times into training and test rows. `DiDiClassifier` is fitted once and
gives sets by `predict_set`; MAPIE's CrossConformalClassifier fits the same estimator five times,
with as many epochs, and a sixth time on all rows. Every split is one line of the output; splits
that the output has are not run again.
"""

import argparse
import time
import warnings
from pathlib import Path

import json_lines
import numpy as np
from mapie.classification import CrossConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_fashion_mnist

LEVELS = (0.8, 0.9, 0.95)
SIZES = {"wine": 100, "breast cancer": 300, "digits": 300, "Fashion-MNIST": 200}
EPOCHS = {"wine": 60, "breast cancer": 60, "digits": 40, "Fashion-MNIST": 8}  # few, to be quick


def load(name, fashion):
    if name == "Fashion-MNIST":
        data = load_fashion_mnist(fashion)
        return data[0][:10_000:4], data[1][:10_000:4]
    loaders = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
    return loaders[name](return_X_y=True)


def measure(sets, y):
    return {"coverage": float(sets[np.arange(len(y)), y].mean()), "size": float(sets.sum(1).mean())}


def ours(settings, X, y, X_test, y_test):
    start = time.process_time()
    model = DiDiClassifier(choose_epochs=True, **settings).fit(X, y)
    fitted = time.process_time()
    rows = []
    for score in ("lac", "aps"):
        for level in LEVELS:
            sets = model.predict_set(X_test, level, score=score, allow_empty=True)
            rows.append({"method": score, "level": level, **measure(sets, y_test)})
            sets = model.predict_set(X_test, level, score=score)
            full = measure(sets, y_test)
            rows.append({"method": f"{score}, never empty", "level": level, **full})
    predicted = (time.process_time() - fitted) / len(rows)
    cost = {"fit_seconds": fitted - start, "predict_seconds": predicted}
    return [row | cost for row in rows], model


def mapie(settings, X, y, X_test, y_test):
    flat = X.reshape(len(X), -1)  # MAPIE takes tables only
    estimator = OfFlatRows(DiDiClassifier(**settings), X.shape[1:])
    start = time.process_time()
    sets = CrossConformalClassifier(
        estimator, confidence_level=list(LEVELS), conformity_score="lac", cv=5, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sets.fit_conformalize(flat, y)
        fitted = time.process_time()
        found = sets.predict_set(X_test.reshape(len(X_test), -1), agg_scores="crossval")[1]
    predicted = (time.process_time() - fitted) / len(LEVELS)
    cost = {"fit_seconds": fitted - start, "predict_seconds": predicted}
    return [
        {"method": "MAPIE lac", "level": level, **measure(found[..., i], y_test), **cost}
        for i, level in enumerate(LEVELS)
    ]


class OfFlatRows(ClassifierMixin, BaseEstimator):
    """A classifier of images that takes them as flat rows, for libraries that know tables only."""

    def __init__(self, classifier, shape):
        self.classifier, self.shape = classifier, shape

    def fit(self, X, y):
        self.classifier_ = clone(self.classifier).fit(X.reshape(len(X), *self.shape), y)
        self.classes_ = self.classifier_.classes_
        return self

    def predict_proba(self, X):
        return self.classifier_.predict_proba(X.reshape(len(X), *self.shape))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--splits", type=int, default=10)
    given = parser.parse_args()
    done = {(row["data"], row["split"]) for row in json_lines.read(given.output)}
    for split in range(given.splits):
        for name, n in SIZES.items():
            if (name, split) in done:
                continue
            X, y = load(name, given.fashion)
            X, X_test, y, y_test = train_test_split(
                X, y, train_size=n, stratify=y, random_state=split
            )
            X_test, y_test = X_test[:600], y_test[:600]
            settings = {"max_epochs": EPOCHS[name], "random_state": split, "device": "cpu"}
            rows, model = ours(settings, X, y, X_test, y_test)
            rows += mapie(settings | {"max_epochs": model.max_epochs_}, X, y, X_test, y_test)
            line = {"data": name, "split": split, "n": n, "n_test": len(y_test), "rows": rows}
            json_lines.append(given.output, line)


if __name__ == "__main__":
    main()
