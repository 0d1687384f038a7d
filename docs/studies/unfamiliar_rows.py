"""Which number tells rows unlike the training rows: AUROC of familiarity, entropy and others.

python unfamiliar_rows.py OUTPUT.jsonl [--fashion FOLDER] [--seeds 3]

One line of the output for every seed and kind of unfamiliar row; what the output has is not run
again. Networks are trained for few epochs, to be quick.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import json_lines
import numpy as np
from scipy.ndimage import zoom
from scipy.stats import entropy
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_fashion_mnist
from skdidicm.metrics import uncertainty


def table(load, seed, _):
    """Rows of a table; as unfamiliar rows, scaled, permuted and noisy copies of test rows."""
    X, y = load(return_X_y=True)
    X, test, y, _ = train_test_split(X, y, test_size=0.4, stratify=y, random_state=seed)
    rng = np.random.default_rng(seed)
    columns = rng.permutation(X.shape[1])
    return (
        X,
        y,
        test,
        {
            "times 1,000": 1000 * test,
            "times 2": 2 * test,
            "columns permuted": test[:, columns],
            "each column shuffled": np.stack([rng.permutation(c) for c in test.T], axis=1),
            "noise of 2 deviations": test + 2 * X.std(0) * rng.normal(size=test.shape),
        },
    )


def digits(seed, _):
    """Digits 0 to 7; unfamiliar are 8 and 9."""
    images, labels = load_digits().images, load_digits().target
    known = labels < 8
    X, test, y, _ = train_test_split(
        images[known], labels[known], train_size=500, test_size=500, random_state=seed
    )
    return X, y, test, {"8 and 9": images[~known]}


def fashion(seed, folder):
    """Clothes; unfamiliar are digits in the same pixels."""
    X, y, *_ = load_fashion_mnist(folder)
    some = np.random.default_rng(seed).choice(len(X), 1300, replace=False)
    larger = zoom(load_digits().images[::4], (1, 3.5, 3.5), order=1) * 255 / 16
    others = larger.clip(0, 255).astype(np.uint8)
    return X[some[:800]], y[some[:800]], X[some[800:]], {"digits": others}


TASKS = {  # how to load rows, and the bound on epochs
    "wine": (partial(table, load_wine), 100),
    "breast cancer": (partial(table, load_breast_cancer), 60),
    "digits 0 to 7": (digits, 20),
    "Fashion-MNIST": (fashion, 12),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    done = {(row["data"], row["seed"]) for row in json_lines.read(given.output)}
    for seed in range(given.seeds):
        for name, (load, epochs) in TASKS.items():
            if (name, seed) in done:
                continue
            found = measure(*load(seed, given.fashion), epochs, seed)
            rows = [{"data": name, "seed": seed, **row} for row in found]
            json_lines.append(given.output, *rows)


def measure(X, y, test, unfamiliar, epochs, seed):
    model = DiDiClassifier(
        max_epochs=epochs, choose_epochs=True, random_state=seed, device="cpu"
    ).fit(X, y)
    forest = IsolationForest(n_estimators=200, random_state=0).fit(X.reshape(len(X), -1))

    def scores(x):
        p = model.predict_proba(x)
        start = time.process_time()
        familiar = model.familiarity(x)
        return {
            "familiarity": -familiar,
            "entropy": entropy(p, axis=1),
            "epistemic": uncertainty(model.predict_members(x)).epistemic,
            "isolation forest": -forest.score_samples(x.reshape(len(x), -1)),
        }, {"confidence": p.max(axis=1).mean(), "seconds": time.process_time() - start}

    known, _ = scores(test)
    for kind, x in unfamiliar.items():
        found, more = scores(x)
        is_new = np.repeat([0, 1], [len(test), len(x)])
        aurocs = {
            name: float(roc_auc_score(is_new, np.r_[known[name], found[name]])) for name in found
        }
        false_alarms = float((known["familiarity"] >= -0.05).mean())
        yield {"kind": kind, **aurocs, "false alarms at 0.05": false_alarms, **more}


if __name__ == "__main__":
    main()
