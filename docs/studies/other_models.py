"""Compare the `didicm` results of a study on tables with other models of scikit-learn.

Run it in the folder that holds the CSV files of the tables:
python docs/studies/other_models.py sixty/cells.jsonl [...]
"""

import sys
from collections import defaultdict

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from skdidicm.metrics import score_probabilities
from skdidicm.study import Cell, finished
from skdidicm.study.data import load

MODELS = {
    "logistic regression": LogisticRegression(max_iter=2000),
    "random forest": RandomForestClassifier(500, random_state=0),
    "boosted trees": HistGradientBoostingClassifier(random_state=0),
}

found = defaultdict(lambda: defaultdict(list))  # (NLL, accuracy) by model and table
for row in (row for path in sys.argv[1:] for row in finished(path) if row["method"] == "didicm"):
    split = load(Cell(row["data"], row["n"], row["noise"], None, row["seed"], "didicm"))
    k = len(np.unique(split.y_train))
    for name, model in MODELS.items():
        proba = model.fit(split.X_train, split.y_train).predict_proba(split.X_test)
        proba = np.clip(proba, 1e-3 / k, None)  # the lower limit of DiDiClassifier
        scores = score_probabilities(split.y_test, proba / proba.sum(axis=1, keepdims=True))
        found[name][row["data"]].append((scores["nll"], scores["accuracy"]))
    found["didicm"][row["data"]].append((row["nll"], row["accuracy"]))

means = {
    name: np.array([np.mean(of, axis=0) for of in tables.values()])
    for name, tables in found.items()
}
nll, accuracy = means["didicm"].T
for name in MODELS:
    ratio = nll / means[name][:, 0]
    points = 100 * (accuracy - means[name][:, 1]).mean()
    print(f"didicm over {name}: NLL {np.exp(np.log(ratio).mean()):.2f}, lower on "
          f"{(ratio < 1).sum()} of {len(ratio)} tables, accuracy {points:+.1f} points")  # fmt: skip
