"""Defaults on Fashion-MNIST, 1,000 training images, noise 0.5, against plain cross-entropy.

Set FASHION_MNIST to the folder with the four idx files; without it the benchmark is left out.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch
from skdidicm_torch import create_network
from torch.nn import functional

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_fashion_mnist
from skdidicm.fit.augmentation import shift
from skdidicm.fit.training import learning_rate_at
from skdidicm.metrics import score_probabilities
from tests.benchmarks.predict import forward
from tests.benchmarks.timing import Row

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
RATE, DECAY, BATCH = 6e-3, 5e-2, 64


def rows(seeds=(0, 1, 2)):
    """Yield accuracy and NLL by seed, and training time over that of cross-entropy."""
    if not FOLDER.is_dir():
        print(f"fashion_mnist left out: {FOLDER} is no folder; set FASHION_MNIST.")
        return
    for seed in seeds:
        data = load_fashion_mnist(FOLDER, n_train=1000, noise=0.5, seed=seed)
        classifier = DiDiClassifier(random_state=seed, device="cpu")
        start = time.perf_counter()
        classifier.fit(data.X_train, data.y_train)
        middle = time.perf_counter()
        p_plain = cross_entropy(data, classifier.n_iter_, seed)
        end = time.perf_counter()
        p = classifier.predict_proba(data.X_test)
        found = score_probabilities(data.y_test, p, classifier.classes_)
        baseline = score_probabilities(data.y_test, p_plain, classifier.classes_)
        for name, bound in (("accuracy", ">= 0.81"), ("nll", "<= 0.56"), ("ece", "-")):
            yield Row(f"Fashion-MNIST 1000, noise 0.5, seed {seed}: {name}", found[name], bound)
            yield Row(f"    cross-entropy on the same trunk: {name}", baseline[name], "-")
        yield Row(
            "    training time over cross-entropy's", (middle - start) / (end - middle), "<= 2"
        )


def cross_entropy(data, epochs, seed):
    """Return test probabilities of the same trunk, trained by cross-entropy in the same way."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = create_network("didirn-tiny", 10, 1, "none", image_size=(28, 28))
    module.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=DECAY, fused=True)
    mean, scale = data.X_train.mean(), data.X_train.std()
    n_batches = -(-len(data.X_train) // BATCH)
    for epoch in range(epochs):
        order = rng.permutation(len(data.X_train))
        for i, index in enumerate(np.array_split(order, n_batches)):
            rate = learning_rate_at(epoch * n_batches + i, epochs * n_batches, RATE)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            x = (shift(data.X_train[index], rng) - mean) / scale
            (logits,) = module.encode(torch.from_numpy(x)[:, None])
            functional.cross_entropy(logits, torch.from_numpy(data.y_train[index])).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
    module.eval()
    parts = np.array_split((data.X_test - mean) / scale, 20)
    p = np.concatenate([forward(module, part) for part in parts]).astype(np.float64)
    return p / p.sum(axis=1, keepdims=True)
