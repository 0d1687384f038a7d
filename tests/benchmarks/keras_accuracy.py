"""The same fits on torch and on Keras, side by side: accuracies by seed.

`python -m tests.benchmarks.keras_accuracy FILE` appends one line of JSON for every fit that FILE
does not hold yet, and prints the table. Run it once for each engine, named by KERAS_BACKEND.
"""

import json
import sys
import time
from pathlib import Path

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split, load_fashion_mnist
from skdidicm.metrics import score_probabilities
from tests.benchmarks.fashion_mnist import FOLDER

SEEDS = (0, 1, 2)
EPOCHS = {"digits": 15, "fashion-mnist": 20}


def main(path, backends):
    """Fit what is missing, then print all that is there."""
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for seed in SEEDS:
        for data in EPOCHS:
            for backend in backends:
                name = backend if backend == "torch" else f"keras on {engine()}"
                if not any(
                    (r["seed"], r["data"], r["backend"]) == (seed, data, name) for r in found
                ):
                    row = {"data": data, "backend": name, "seed": seed} | fit(data, backend, seed)
                    found.append(row)
                    with path.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    for row in sorted(found, key=lambda r: (r["data"], r["seed"], r["backend"])):
        print("{data:<14} seed {seed}  {backend:<16} {accuracy:.4f}  {nll:.4f}".format(**row))


def engine():
    """Return the engine of Keras."""
    from skdidicm_keras import engine

    return engine.NAME


def fit(data, backend, seed):
    """Return accuracy and NLL on the test rows, and the seconds that fitting took."""
    X, y, X_test, y_test = rows(data, seed)
    start = time.perf_counter()
    classifier = DiDiClassifier(
        backend=backend, max_epochs=EPOCHS[data], random_state=seed, device="cpu"
    ).fit(X, y)
    seconds = time.perf_counter() - start
    scores = score_probabilities(y_test, classifier.predict_proba(X_test), classifier.classes_)
    return {"accuracy": scores["accuracy"], "nll": scores["nll"], "seconds": seconds}


def rows(data, seed):
    """Return training and test rows; 1,000 noisy images of Fashion-MNIST to train on."""
    if data == "digits":
        return load_digits_split()[:4]
    found = load_fashion_mnist(FOLDER, n_train=1000, noise=0.5, seed=seed)
    return found.X_train, found.y_train, found.X_test, found.y_test


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["torch", "keras"])
