"""The temperature and the mean of the networks with many classes: four answers of each fit.

    python docs/studies/many_classes.py run RESULTS.jsonl
    python docs/studies/many_classes.py show RESULTS.jsonl

Needs the Japanese fonts that `skdidicm.study.fonts` names. One CPU thread, about two minutes a fit.
`run` continues where it was stopped.
"""

import argparse

import json_lines
import numpy as np
import torch

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities
from skdidicm.predict.pooling import pooled
from skdidicm.predict.temperature import tempered
from skdidicm.study import Cell
from skdidicm.study.changes import floats, noisy, shrunk
from skdidicm.study.data import load
from skdidicm.study.fonts import load_fonts

KANA = [chr(code) for first in (0x3042, 0x30A2) for code in range(first, first + 82)]
TASKS = {  # data, training images, share of a class, pixels, noise, seed
    "choosing": (
        ("fonts:25", None, 1.0, 12, 0.5, 10),
        ("fonts:30", None, 1.0, 12, 0.5, 10),
        ("fonts:30", None, 1.0, 16, 1.0, 11),
        ("fonts:50", None, 1.0, 12, 0.5, 10),
        ("fonts:50", None, 1.0, 16, 1.0, 11),
        ("fonts:100", None, 1.0, 12, 0.5, 10),
        ("fonts:300", None, 0.3, 12, 0.5, 10),
        ("fonts:400", None, 0.5, 12, 0.5, 10),
        ("fonts:1000", None, 0.25, 16, 0.5, 10),
    ),
    "unseen": (
        ("kana", None, 0.5, 12, 0.5, 11),
        ("kana", None, 1.0, 8, 0.0, 11),
        ("typefaces:100", None, 1.0, 16, 0.5, 11),
        ("photos", 1000, 1.0, None, 0.0, 11),
    ),
}


def rows_of(data, n, ratio, pixels, noise, seed):
    """Return training and test rows with their labels; kana are hiragana and katakana."""
    if data != "kana":
        return load(Cell(data, n, noise, pixels, seed, "didicm", ratio=ratio))
    split, rng = load_fonts(seed, KANA), np.random.default_rng(seed)
    scale = floats(split.X_train).std()
    kept = rng.random(len(split.X_train)) < ratio
    x, new = (
        noisy(shrunk(floats(rows), pixels), noise * scale, rng)
        for rows in (split.X_train[kept], split.X_test)
    )
    return split._replace(X_train=x, y_train=split.y_train[kept], X_test=new)


def measure(task, kind):
    """Return a row of results for each of the four answers of one fit."""
    split, seed = rows_of(*task), task[-1]
    model = DiDiClassifier(random_state=seed, device="cpu").fit(split.X_train, split.y_train)
    best = min(model.trial_, key=lambda row: row["val_nll"])
    scalings = {
        "temperature": (best["temperature"], 0.0),
        "slope": (model.temperature_, model.temperature_slope_),
    }
    laws = np.moveaxis(model.predict_members(split.X_test), 1, 0)
    laws = laws if model.resolved_params_["ensemble"] else laws[:1]
    for scaling, numbers in scalings.items():
        for geometric in (False, True) if len(laws) > 1 else (False,):
            proba = tempered(pooled(laws, geometric=geometric), *numbers)
            scores = score_probabilities(split.y_test, proba)
            yield {
                "kind": kind,
                "task": list(task),
                "n": len(split.X_train),
                "k": len(model.classes_),
                "networks": len(laws),
                "scaling": scaling,
                "geometric": geometric,
                "numbers": [float(number) for number in numbers],
                **{name: float(scores[name]) for name in ("accuracy", "nll", "ece")},
            }


def run(file):
    """Add what the file lacks."""
    torch.set_num_threads(1)
    done = {tuple(row["task"]) for row in json_lines.read(file)}
    for kind, tasks in TASKS.items():
        for task in tasks:
            if task not in done:
                json_lines.append(file, *measure(task, kind))


def show(file):
    """Print accuracy, NLL and ECE, a line for each task."""
    rows = json_lines.read(file)
    for task in dict.fromkeys(tuple(row["task"]) for row in rows):
        own = [row for row in rows if tuple(row["task"]) == task]
        scores = "  ".join(
            f"{row['scaling']}{' geometric' * row['geometric']} {100 * row['accuracy']:.1f} "
            f"{row['nll']:.3f} {100 * row['ece']:.1f} ({row['numbers'][0]:.2f}, "
            f"{row['numbers'][1]:.2f})"
            for row in own
        )
        first = own[0]
        print(first["kind"], *task, first["n"], first["k"], first["networks"], scores)


def main():
    """Run or show the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["run", "show"])
    parser.add_argument("file")
    given = parser.parse_args()
    (run if given.action == "run" else show)(given.file)


if __name__ == "__main__":
    main()
